"""Packed arrays: every sample decoded and resized, or tokenized, once; mapped rather than loaded."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlpipe.config import ConfigError, parse
from tlpipe.csv_files import read_columns
from tlpipe.data.targets import Targets
from tlpipe.data.tokens import Tokens
from tlpipe.preprocess import AnyPreprocess
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.tasks import facet

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Packed:
    """The folder that `prepare` writes.

    `images.npy` (N, R, R, 3) uint8 or the arrays of `Tokens`, `labels.npy` (N,) int64, `manifest.csv` with one line a
    row (row, id, label, split, group, fold, sha256 of the raw bytes, and width, height of the raw image or tokens,
    truncated of the text), `dataset.json` with classes, counts, folds, task, preprocessing and fingerprint. Rows are
    ordered train (by fold), validation, test; beside tokens are the raw `texts.jsonl` and their `tokenizer.json`.

    With folds there is no validation split on disk: `parts` are views of which each holds one fold out as its
    validation split, and `whole` is the view that what ships is trained on.

    A sample is one row, but where long texts are cut into windows it is several, one after the other and with one id;
    there `labels.npy` is (T,), aligned with the tokens.
    """

    folder: Path
    samples: Any
    """Indexed with row numbers or a slice, it gives an array of them."""
    labels: NDArray[np.int64]
    """(N,), or of each token; `targets` knows which."""
    classes: tuple[str, ...]
    """Names of the outputs, in the order of the labels."""
    task: str
    """Kind of the task that the rows are labelled for."""
    preprocess: AnyPreprocess
    ranges: dict[str, tuple[int, int]]
    fingerprint: str
    """sha256 over the raw bytes' hashes, labels, splits, folds and preprocessing: equal data, equal fingerprint."""
    folds: tuple[tuple[int, int], ...] = ()
    """Row range [low, high) of every fold, in order; together they are all labelled rows. Empty = one split."""
    refit: bool = False
    """Whether what ships is trained on all labelled rows, after everything was chosen on those held out."""
    held: tuple[int, int] | None = None
    """Row range that this view holds out for validation; None = what the files say."""

    @classmethod
    def open(cls, folder: Path) -> "Packed":
        """Map an existing folder; nothing but the labels is read into memory. Raises ConfigError for an older one's."""
        about = json.loads((folder / "dataset.json").read_text())
        if "task" not in about:
            raise ConfigError(
                f"{folder} was packed by another version of tlpipe; run `dvc repro prepare` to pack it anew"
            )
        preprocess: AnyPreprocess = parse(about["preprocess"], AnyPreprocess, str(folder / "dataset.json"))
        return cls(
            folder=folder,
            samples=_samples(folder, preprocess),
            labels=np.load(folder / "labels.npy"),
            classes=tuple(about["classes"]),
            task=about["task"],
            preprocess=preprocess,
            ranges={name: (low, high) for name, (low, high) in about["ranges"].items()},
            fingerprint=about["fingerprint"],
            folds=tuple((low, high) for low, high in about.get("folds", ())),
            refit=about.get("refit", False),
        )

    @property
    def labelled(self) -> int:
        """Number of rows of the train and validation splits, which come before those of the test split."""
        return self.ranges["test"][0]

    @property
    def learnt(self) -> int:
        """Number of rows that what ships is trained on."""
        return self.labelled if self.refit else len(self.rows("train"))

    @property
    def parts(self) -> "tuple[Packed, ...]":
        """Views to cross-fit on, which hold out one fold each; the arrays as they are where there is one split."""
        return tuple(replace(self, held=fold) for fold in self.folds) or (self,)

    @property
    def whole(self) -> "Packed":
        """View in which all labelled rows train, and none validates."""
        return replace(self, held=(self.labelled, self.labelled))

    @property
    def pooled(self) -> "Packed":
        """View whose validation split is what `parts` hold out, one after the other."""
        return replace(self, held=(0, self.labelled)) if self.folds else self

    @property
    def cached(self) -> dict[str, tuple[int, int]]:
        """Row ranges for which activations of training views and of evaluation views are computed, for all views."""
        labelled = (0, self.labelled)
        train = labelled if self.refit else self.ranges["train"]
        return {"train": train, "validation": labelled if self.folds else self.ranges["validation"]}

    @property
    def validated(self) -> tuple[int, int]:
        """Row range of the validation split of this view."""
        return self.held or self.ranges["validation"]

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Row numbers of one split of this view, ascending."""
        return np.concatenate([np.arange(low, high, dtype=np.int64) for low, high in self.spans(split)])

    def spans(self, split: Split) -> list[tuple[int, int]]:
        """Row ranges of one split of this view, ascending."""
        if split == "validation":
            return [self.validated]
        if split == "test" or self.held is None:
            return [self.ranges[split]]
        low, high = self.held
        if (low, high) == (0, self.labelled):
            return [self.held]
        return [span for span in ((0, low), (high, self.labelled)) if span[0] < span[1]]

    def marks(self, split: Split) -> NDArray[np.int64]:
        """Numbers of the marks (see `Targets`) of one split's rows in this view, ascending."""
        return np.concatenate([np.arange(*self.targets.range(*span)) for span in self.spans(split)])

    @cached_property
    def targets(self) -> Targets:
        """What the rows, or tokens of them, are labelled with."""
        targets: Targets = facet(self.task, "samples:targets")(self.labels, self.samples)
        return targets

    @cached_property
    def sample_of(self) -> NDArray[np.int64]:
        """(N,) number of the sample that each row is of, or is a window of."""
        new = [before != after for before, after in zip(self.ids, self.ids[1:], strict=False)]
        return np.cumsum([0, *new], dtype=np.int64)

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Tokens of every row; None where all samples have one size."""
        return self.samples.lengths if isinstance(self.samples, Tokens) else None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The source's sample id of every row: `source.read(id)` gives its raw bytes."""
        return self._column("id")

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """What every row's sample hangs together with (a patient, a document); empty where it stands alone."""
        return self._column("group")

    def _column(self, name: str) -> tuple[str, ...]:
        return tuple(line.get(name, "") for line in read_columns(self.folder / "manifest.csv"))


def _samples(folder: Path, preprocess: Any) -> Any:
    """The arrays of a folder, mapped: images, or tokens."""
    if isinstance(preprocess, ImagePreprocess):
        return np.load(folder / "images.npy", mmap_mode="r")
    return Tokens.open(folder, preprocess)
