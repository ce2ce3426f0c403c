"""The Hugging Face side: `transformers.Trainer` with torchvision's network wrapped as it expects models.

Trainer has no notion of freezing: each phase sets `requires_grad` and is a Trainer of its own, which is what its users
do. Batch norms of frozen layers stay in train mode, because Trainer puts the whole model there.
"""

import tempfile
import time
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import EvalPrediction, Trainer, TrainingArguments

from benchmarks.peers.job import RATES, WARMUP, WEIGHT_DECAY, Answer, Job, Phase, answer
from benchmarks.peers.network import build, images, prepare, trains


class Wrapped(nn.Module):
    """(pixel_values, labels) -> {loss, logits}."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """(B, 3, H, W) float images; labels (B,)."""
        logits: Tensor = self.network(pixel_values)
        found = {"logits": logits}
        return found if labels is None else {"loss": nn.functional.cross_entropy(logits, labels), **found}


class Named(Dataset[dict[str, Any]]):
    """The same images under the names that Trainer's default collator and the model want."""

    def __init__(self, job: Job, split: str) -> None:
        self.images = images(job, split)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image, label = self.images[index]
        return {"pixel_values": image, "labels": label}


def train(job: Job) -> Answer:
    """All phases, evaluating after every epoch."""
    prepare(job)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        model, data, found = Wrapped(build(job)), {split: Named(job, split) for split in ("train", "validation")}, 0.0
        for phase in job.phases:
            for name, parameter in model.network.named_parameters():
                parameter.requires_grad_(trains(job, name, phase.part))
            trainer = _trainer(model, job, phase, data, folder)
            trainer.train()
            found = next(entry["eval_accuracy"] for entry in reversed(trainer.state.log_history) if _evaluated(entry))
        seconds = time.perf_counter() - begun
        scored = trainer.evaluate(Named(job, "test"))
    return Answer(seconds, found, scored["eval_accuracy"], len(data["train"]))


def _evaluated(entry: dict[str, float]) -> bool:
    return "eval_accuracy" in entry


def _trainer(model: Wrapped, job: Job, phase: Phase, data: dict[str, Named], folder: str) -> Trainer:
    arguments = TrainingArguments(
        folder, per_device_train_batch_size=job.batch, per_device_eval_batch_size=job.batch,
        num_train_epochs=phase.epochs, learning_rate=RATES[phase.part], weight_decay=WEIGHT_DECAY,
        lr_scheduler_type="cosine", warmup_steps=WARMUP, eval_strategy="epoch", save_strategy="no", report_to="none",
        dataloader_num_workers=job.workers, dataloader_persistent_workers=job.workers > 0,
        dataloader_pin_memory=False, use_cpu=True, disable_tqdm=True, seed=job.seed, label_names=["labels"],
    )  # fmt: skip
    return Trainer(
        model, arguments, train_dataset=data["train"], eval_dataset=data["validation"], compute_metrics=_accuracy
    )


def _accuracy(scored: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float(np.mean(np.argmax(scored.predictions, axis=1) == scored.label_ids))}


if __name__ == "__main__":
    answer(train, ("transformers", "accelerate"))
