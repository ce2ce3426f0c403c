"""The Lightning side: a LightningModule, with `BackboneFinetuning` for the frozen backbone.

`BackboneFinetuning` unfreezes a backbone in one step. The staged run needs two and uses its base class,
`BaseFinetuning`, with the defaults of both (batch norms of frozen layers train). The rate is constant, because groups
that these callbacks add later are unknown to a scheduler that was made before.
"""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning
from torch import Tensor, nn

from benchmarks.peers.job import RATES, WEIGHT_DECAY, Answer, Job, answer
from benchmarks.peers.network import HEADS, TOPS, accuracy, build, loader, prepare

NEVER = 1_000_000


class Module(LightningModule):
    """The network as `backbone` and `head`, the names that BackboneFinetuning looks for."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        network = build(job)
        self.head = network.get_submodule(HEADS[job.backbone])
        setattr(network, HEADS[job.backbone], nn.Identity())
        self.backbone = network
        self.first, self.right, self.total = job.phases[0].part, 0, 0
        self.found = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, C)."""
        logits: Tensor = self.head(self.backbone(x))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """The loss of one batch."""
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        self.right = self.total = 0

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Count what is right."""
        self.right += int((self(batch[0]).argmax(1) == batch[1]).sum())
        self.total += len(batch[1])

    def on_validation_epoch_end(self) -> None:
        """Accuracy so far."""
        self.found = self.right / self.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW on what trains at the start; the callbacks add what they unfreeze."""
        training = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(training, RATES[self.first], weight_decay=WEIGHT_DECAY)


class Staged(BaseFinetuning):
    """The backbone's top after the head's epochs, the rest after the top's."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.tops = TOPS[job.backbone]
        self.starts = {"top": job.phases[0].epochs, "all": job.phases[0].epochs + job.phases[1].epochs}

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """All of the backbone."""
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        """Called at the start of every epoch."""
        backbone: Any = pl_module.backbone
        top = [backbone.get_submodule(name) for name in self.tops]
        if epoch == self.starts["top"]:
            self.unfreeze_and_add_param_group(top, optimizer, lr=RATES["top"])
        if epoch == self.starts["all"]:
            held = {id(part) for module in top for part in module.modules()}
            rest = [part for part in backbone.modules() if id(part) not in held and not any(part.children())]
            self.unfreeze_and_add_param_group(rest, optimizer, lr=RATES["all"])


def train(job: Job) -> Answer:
    """All phases in one fit; Lightning validates after every epoch."""
    prepare(job)
    begun = time.perf_counter()
    module, batches = Module(job), loader(job, "train")
    trainer = Trainer(
        max_epochs=sum(phase.epochs for phase in job.phases), accelerator="cpu", callbacks=_callbacks(job),
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, batches, loader(job, "validation"))
    seconds = time.perf_counter() - begun
    return Answer(seconds, module.found, accuracy(module, job, "test"), len(batches.dataset))  # type: ignore[arg-type]


def _callbacks(job: Job) -> list[Callback]:
    parts = [phase.part for phase in job.phases]
    if parts == ["head"]:
        return [BackboneFinetuning(unfreeze_backbone_at_epoch=NEVER)]
    return [Staged(job)] if parts == ["head", "top", "all"] else []


if __name__ == "__main__":
    answer(train, ("lightning", "torchmetrics"))
