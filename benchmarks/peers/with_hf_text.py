"""The Hugging Face side for texts: `Trainer` on `AutoModelForSequenceClassification`, batches padded to their longest.

That is what the documentation of transformers shows for text classification; the batches are its default random ones.
"""

import csv
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)

from benchmarks.peers.job import Answer, TextJob


def train(job: TextJob) -> Answer:
    """From the tables to the trained model, evaluating after every epoch."""
    torch.set_num_threads(job.threads)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        tokenizer = AutoTokenizer.from_pretrained(job.bert)
        data = {split: _read(job, tokenizer, split) for split in ("train", "validation")}
        model = AutoModelForSequenceClassification.from_pretrained(job.bert, num_labels=2)
        trainer = Trainer(
            model, _arguments(job, folder), train_dataset=data["train"], eval_dataset=data["validation"],
            data_collator=DataCollatorWithPadding(tokenizer), compute_metrics=_accuracy,
        )  # fmt: skip
        trainer.train()
        log = reversed(trainer.state.log_history)
        found = next(entry["eval_accuracy"] for entry in log if "eval_accuracy" in entry)
        seconds = time.perf_counter() - begun
        scored = trainer.evaluate(_read(job, tokenizer, "test"))
    return Answer(seconds, found, scored["eval_accuracy"], len(data["train"]))


def _read(job: TextJob, tokenizer: Any, split: str) -> list[dict[str, Any]]:
    with (Path(job.texts) / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    encoded = tokenizer([line["text"] for line in lines], truncation=True, max_length=job.length)
    columns = {name: encoded[name] for name in encoded}
    return [
        {**{name: values[row] for name, values in columns.items()}, "labels": int(line["label"])}
        for row, line in enumerate(lines)
    ]


def _arguments(job: TextJob, folder: str) -> TrainingArguments:
    return TrainingArguments(
        folder, per_device_train_batch_size=job.batch, per_device_eval_batch_size=64, num_train_epochs=job.epochs,
        learning_rate=job.rate, weight_decay=job.decay, lr_scheduler_type="linear", warmup_steps=0.1,
        eval_strategy="epoch", save_strategy="no", report_to="none", dataloader_pin_memory=False, use_cpu=True,
        disable_tqdm=True, seed=job.seed,
    )  # fmt: skip


def _accuracy(scored: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float(np.mean(np.argmax(scored.predictions, axis=1) == scored.label_ids))}


if __name__ == "__main__":
    result = train(TextJob(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
    Path(sys.argv[2]).write_text(json.dumps(asdict(result)) + "\n", encoding="utf-8")
