"""One peer on one folder of labelled images, as its documentation says to fine-tune; prints a JSON line.

    python -m benchmarks.accuracy.peers PEER FOLDER WEIGHTS --size 128 --seed 0

FOLDER has train/ (the labelled images, all of them) and test/, a folder a class. No peer validates: each takes its last
epoch. PEER is fastai (`fine_tune(10)`), timm (its script's parts, 20 epochs), lightning (BackboneFinetuning, 20 epochs)
or trainer (Hugging Face, 20 epochs). The network, the weights, the view of the test images, the random resized crop
(area 0.5 to 1) and the flip are the same for all. Needs no tlpipe, so it runs in the peers' own environment.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.peers import job as given
from benchmarks.peers.job import Job, Phase

EPOCHS, BATCH = 20, 16
UNFREEZE = 10
"""`unfreeze_backbone_at_epoch` of BackboneFinetuning, its default."""


def fastai(job: Job) -> float:
    """`fine_tune(10)`: one epoch of the head, ten of everything, its rates; aug_transforms as its tutorials have."""
    from fastai.callback import progress, schedule  # noqa: F401  they give Learner its no_bar, fine_tune
    from fastai.data.block import CategoryBlock, DataBlock
    from fastai.data.transforms import Normalize, get_image_files, parent_label
    from fastai.learner import Learner
    from fastai.vision.augment import RandomResizedCrop, aug_transforms
    from fastai.vision.data import ImageBlock

    from benchmarks.peers.network import accuracy, build
    from benchmarks.peers.with_fastai import _groups

    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=lambda items: (range(len(items)), []),
        get_y=parent_label, item_tfms=RandomResizedCrop(given.SIZE, min_scale=given.SMALLEST_AREA),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(given.MEAN, given.STD)],
    )  # fmt: skip
    data = block.dataloaders(Path(job.images) / "train", bs=job.batch, num_workers=0)
    learner = Learner(data, build(job), splitter=lambda model: _groups(model, job))
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(10)
    return accuracy(learner.model, job, "test")


def timm(job: Job) -> float:
    """The parts of timm's training script, at AdamW's 1e-4 with a warm-up and a cosine."""
    from benchmarks.peers import with_timm
    from benchmarks.peers.network import build

    model = build(job).to(memory_format=torch.channels_last)
    with_timm._phase(model, job.phases[0], with_timm._loader(job, "train"), [])  # type: ignore[arg-type]
    return with_timm._validate(model, with_timm._loader(job, "test"))


def lightning(job: Job) -> float:
    """AdamW 1e-3 for the head, and BackboneFinetuning with its defaults for what lies below."""
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import BackboneFinetuning

    from benchmarks.peers.network import accuracy, loader
    from benchmarks.peers.with_lightning import Module

    module = Module(job)
    trainer = Trainer(
        max_epochs=EPOCHS, accelerator="cpu", callbacks=[BackboneFinetuning(UNFREEZE)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, loader(job, "train"))
    return accuracy(module, job, "test")


def trainer(job: Job) -> float:
    """AdamW at 1e-4 with a warm-up and a cosine."""
    from transformers import Trainer, TrainingArguments

    from benchmarks.peers.network import accuracy, build
    from benchmarks.peers.with_hf_trainer import Named, Wrapped

    model = Wrapped(build(job))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=job.batch, num_train_epochs=EPOCHS, learning_rate=given.RATES["all"],
            weight_decay=given.WEIGHT_DECAY, lr_scheduler_type="cosine", warmup_steps=given.WARMUP,
            eval_strategy="no", save_strategy="no", report_to="none", dataloader_pin_memory=False, use_cpu=True,
            disable_tqdm=True, seed=job.seed, label_names=["labels"],
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=Named(job, "train")).train()
    return accuracy(model.network, job, "test")


PEERS: dict[str, Callable[[Job], float]] = {
    "fastai": fastai,
    "timm": timm,
    "lightning": lightning,
    "trainer": trainer,
}


def main() -> None:
    """Train and test one peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    given.SIZE, given.RESIZE_TO = asked.size, round(asked.size * 1.14)  # before a module takes them over
    from benchmarks.peers.network import prepare

    classes = sum(path.is_dir() for path in (asked.folder / "train").iterdir())
    job = Job(
        (Phase("all", EPOCHS),), str(asked.folder), "mobilenet_v2", str(asked.weights), classes, BATCH, 1, 0,
        asked.seed, "fp32",
    )  # fmt: skip
    prepare(job)
    print(json.dumps({"test": round(PEERS[asked.peer](job), 4)}))


if __name__ == "__main__":
    main()
