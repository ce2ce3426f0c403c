"""What a model says of packed arrays, batch by batch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed, Split
from tlpipe.data.read_texts import read_texts
from tlpipe.preprocess.ngrams import VOCABULARY, NgramPreprocess, Ngrams, pad
from tlpipe.train.hardware.batch_fitting import Fitting
from tlpipe.train.hardware.device import Machine
from tlpipe.train.model import About, load_held_out

Inputs = Callable[[int, int], NDArray[Any]]
"""What the network takes of rows `low` to `high` of the packed arrays."""


def inputs_of(folder: Path, about: About, packed: Packed) -> Inputs:
    """How the model of a folder reads the rows of `packed`: as they are, or the raw texts beside them."""
    if isinstance(about.preprocess, NgramPreprocess):
        ngrams, texts = Ngrams(folder / VOCABULARY, about.preprocess), read_texts(packed.folder)
        return lambda low, high: pad([ngrams.count(text) for text in texts[low:high]])
    return packed_inputs(about, packed)


def packed_inputs(about: About, packed: Packed) -> Inputs:
    """The packed rows as the network takes them.

    Raises:
        ConfigError: the model was trained on arrays with another preprocessing.
    """
    if about.preprocess != packed.preprocess:
        raise ConfigError(
            f"the model was trained on other arrays than {packed.folder} holds: its preprocessing is "
            f"{about.preprocess!r}, theirs is {packed.preprocess!r}; run `dvc repro`"
        )
    preprocess: Any = about.preprocess
    return lambda low, high: preprocess.evaluation(packed.samples[low:high])


def predict(
    model: nn.Module,
    about: About,
    packed: Packed,
    split: Split,
    batch_size: int,
    machine: Machine,
    inputs: Inputs | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Yield what is judged (m, C) of the marks of one split in row order: `Task.said` of logits / temperature.

    In a team each process yields its turns of the batches. `inputs` are `packed_inputs`, or those of
    `inputs_of`.

    In full precision whatever the machine trains in: the numbers are those of the exported model.

    Raises:
        ConfigError: the model and the arrays have other classes or another preprocessing.
    """
    _check(about, packed)
    inputs = inputs or packed_inputs(about, packed)
    placed, rows = machine.place(model.eval()), packed.rows(split)
    fitting = Fitting(machine, batch_size)

    def compute(view: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = placed(view.to(machine.device)).cpu().double()  # Apple's MPS knows no float64
            said: Tensor = about.task.said(logits / about.temperature)
            return said.float().numpy()

    for start in machine.team.turns(range(0, len(rows), batch_size)):
        low, high = rows[start], rows[min(start + batch_size, len(rows)) - 1] + 1
        said = np.concatenate(fitting.pieces(compute, torch.from_numpy(inputs(low, high))))
        yield packed.targets.select(np.arange(low, high), said)


def held_out(folder: Path, about: About) -> NDArray[np.float32]:
    """What is judged (M, C) of the marks that the models of `folder`'s training had not seen, as `predict` gives it."""
    judged: Tensor = about.task.said(load_held_out(folder) / about.temperature)
    return judged.float().numpy()


def _check(about: About, packed: Packed) -> None:
    if about.labels != packed.classes:
        given, found = set(about.labels), set(packed.classes)
        raise ConfigError(
            f"the model knows {len(given)} classes and {packed.folder} has {len(found)} (only the model: "
            f"{sorted(given - found)}, only the data: {sorted(found - given)}); run `dvc repro` to train on this data"
        )
