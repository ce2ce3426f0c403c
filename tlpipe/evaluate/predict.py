"""What a model says of packed arrays, batch by batch."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed, Split
from tlpipe.train.batches import RowNumbers, alike, in_order
from tlpipe.train.device import Machine
from tlpipe.train.fitting import Fitting
from tlpipe.train.model import About, Classifier

Said = tuple[RowNumbers, NDArray[np.float32]]


def predict(
    model: Classifier, about: About, packed: Packed, split: Split, batch_size: int, machine: Machine
) -> Iterator[Said]:
    """Yield rows of one split and what is judged (m, C) of their marks: `Task.said` of logits / temperature.

    Texts of similar length come together (`together` has the marks in order again), and in a team each process yields
    its turns of the batches.

    In full precision whatever the machine trains in: the numbers are those of the exported model.

    Raises:
        ConfigError: the model and the arrays have other classes or another preprocessing.
    """
    _check(about, packed)
    placed = machine.place(model.eval())
    fitting = Fitting(machine, batch_size)

    def compute(view: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = placed(view.to(machine.device)).double()
            said: Tensor = about.task.said(logits / about.temperature)
            return said.float().cpu().numpy()

    for rows in machine.team.turns(alike(packed, packed.rows(split), batch_size)):
        view = about.preprocess.evaluation(packed.samples[rows])
        said = np.concatenate(fitting.pieces(compute, torch.from_numpy(view)))
        yield rows, packed.targets.select(rows, said)


def together(packed: Packed, found: Sequence[Said]) -> NDArray[np.float32]:
    """What `predict` yielded in all processes, in the order of the split's marks (M, C)."""
    parts, said = zip(*found, strict=True)
    return np.concatenate(said)[in_order(packed, parts)]


def _check(about: About, packed: Packed) -> None:
    if about.labels != packed.classes:
        given, found = set(about.labels), set(packed.classes)
        raise ConfigError(
            f"the model knows {len(given)} classes and {packed.folder} has {len(found)} (only the model: "
            f"{sorted(given - found)}, only the data: {sorted(found - given)}); run `dvc repro` to train on this data"
        )
    if about.preprocess != packed.preprocess:
        raise ConfigError(
            f"the model was trained on other arrays than {packed.folder} holds: its preprocessing is "
            f"{about.preprocess!r}, theirs is {packed.preprocess!r}; run `dvc repro`"
        )
