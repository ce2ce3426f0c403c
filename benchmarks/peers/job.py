"""What every side of the comparison is told, and what it answers: one JSON file each way. Standard library only."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

Part = Literal["head", "top", "all"]
SIZE, RESIZE_TO = 224, 256
"""Pixels that the network sees, and the shorter edge that evaluation images are resized to before the crop."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALLEST_AREA = 0.5
"""Of random resized crops: in place of ImageNet's 0.08, which loses the object of so small a set too often."""
RATES: dict[Part, float] = {"head": 1e-3, "top": 1e-4, "all": 1e-4}
"""AdamW's learning rate of each kind of phase, for the peers that leave the choice to their user."""
WEIGHT_DECAY, WARMUP = 0.02, 0.1


@dataclass(frozen=True)
class Phase:
    """So many passes over the training images, with this much of the network training."""

    part: Part
    epochs: int


@dataclass(frozen=True)
class Job:
    """One run of one side."""

    phases: tuple[Phase, ...]
    images: str
    """Folder with train/, validation/ and test/, each with a folder a class."""
    backbone: str
    """A name in torchvision.models."""
    weights: str
    """File with that model's state dict."""
    classes: int
    batch: int
    threads: int
    workers: int
    """Processes that load images; 0 = the training process itself."""
    seed: int
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of tlpipe; `auto` is what it chooses on this processor. The peers run in fp32, as they come."""
    comparison: bool = False
    """Whether tlpipe compares five strategies, each for the epochs of the last phase, instead."""

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Job":
        """Read what `save` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**raw, "phases": tuple(Phase(**phase) for phase in raw["phases"])})


@dataclass(frozen=True)
class TextJob:
    """One run of one side of the comparison on texts."""

    texts: str
    """Folder with train.csv, validation.csv and test.csv, of a text and a label each."""
    bert: str
    """Folder with config.json, tokenizer.json and model.safetensors."""
    epochs: int
    batch: int
    length: int
    """Tokens of a text at most."""
    rate: float
    threads: int
    seed: int
    precision: Literal["auto", "fp32", "bf16"]
    """Of tlpipe."""
    decay: float = 0.01
    """AdamW's weight decay."""


@dataclass(frozen=True)
class Answer:
    """What one run found."""

    seconds: float
    """From the raw image files to the trained model, without the imports."""
    validation: float
    """Accuracy after the last epoch."""
    test: float
    """Accuracy on images that no side has seen; scored outside the measured time."""
    trained: int
    """Images in the training split."""


def answer(train: Callable[[Job], Answer], packages: tuple[str, ...]) -> None:
    """The main function of a peer: `python -m benchmarks.peers.with_<peer> JOB RESULT`."""
    if len(sys.argv) != 3:
        sys.exit("usage: JOB.json RESULT.json; benchmarks/peers/run.py writes the one and reads the other")
    found = train(Job.load(Path(sys.argv[1])))
    about = {name: _version(name) for name in ("torch", "torchvision", *packages)}
    result = json.dumps({**asdict(found), "versions": about}, indent=2)
    Path(sys.argv[2]).write_text(result + "\n", encoding="utf-8")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
