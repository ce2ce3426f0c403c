"""The fastai side: a Learner on a DataBlock of the same folders, with the rates and cycles of its `fine_tune`.

Training everything is `fine_tune` itself. It knows two stages, frozen and not, so the staged run spells out the same
one-cycle fits with fastai's own `freeze`, `freeze_to` and `unfreeze`. Frozen batch norms train, as is its default.
"""

import time
from pathlib import Path

from fastai.callback import progress, schedule  # noqa: F401  they give Learner its no_bar, fine_tune, fit_one_cycle
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import GrandparentSplitter, Normalize, get_image_files, parent_label
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.vision.augment import Flip, RandomResizedCrop
from fastai.vision.data import ImageBlock
from torch import nn

from benchmarks.peers.job import MEAN, SIZE, SMALLEST_AREA, STD, Answer, Job, Part, Phase, answer
from benchmarks.peers.network import build, part_of, prepare

RATE, SPREAD = 2e-3, 100
"""`base_lr` and `lr_mult` of `Learner.fine_tune`, their defaults."""


def train(job: Job) -> Answer:
    """All phases; fastai validates after every epoch."""
    prepare(job)
    begun = time.perf_counter()
    data = _data(job)
    learner = Learner(data, build(job), splitter=lambda model: _groups(model, job), metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        for phase in job.phases:
            _fit(learner, phase, alone=len(job.phases) == 1)
        found = float(learner.recorder.values[-1][-1])
        seconds = time.perf_counter() - begun
        test = data.test_dl(get_image_files(Path(job.images) / "test"), with_labels=True)
        return Answer(seconds, found, float(learner.validate(dl=test)[1]), len(data.train_ds))


def _data(job: Job) -> DataLoaders:
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda folder: get_image_files(folder, folders=["train", "validation"]),
        splitter=GrandparentSplitter("train", "validation"),
        get_y=parent_label,
        item_tfms=RandomResizedCrop(SIZE, min_scale=SMALLEST_AREA),
        batch_tfms=[Flip(), Normalize.from_stats(MEAN, STD)],
    )
    return block.dataloaders(Path(job.images), bs=job.batch, num_workers=job.workers)


def _groups(model: nn.Module, job: Job) -> list[list[nn.Parameter]]:
    """The parameter groups of fastai: lower part, top, head."""
    found: dict[Part, list[nn.Parameter]] = {"all": [], "top": [], "head": []}
    for name, parameter in model.named_parameters():
        found[part_of(job, name)].append(parameter)
    return list(found.values())


def _fit(learner: Learner, phase: Phase, alone: bool) -> None:
    if phase.part == "all" and alone:
        learner.fine_tune(phase.epochs, RATE, freeze_epochs=0, lr_mult=SPREAD)
    elif phase.part == "all":
        learner.unfreeze()
        learner.fit_one_cycle(phase.epochs, slice(RATE / 2 / SPREAD, RATE / 2), pct_start=0.3, div=5.0)
    elif phase.part == "top":
        learner.freeze_to(-2)
        learner.fit_one_cycle(phase.epochs, slice(RATE / 2 / SPREAD, RATE / 2), pct_start=0.3, div=5.0)
    else:
        learner.freeze()
        learner.fit_one_cycle(phase.epochs, slice(RATE), pct_start=0.99)


if __name__ == "__main__":
    answer(train, ("fastai", "fastcore"))
