"""Advice on a folder of images, or on a table of them, without a pipeline."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlpipe.advise.advice import Advice, advise
from tlpipe.advise.backbone import Candidate, candidate
from tlpipe.advise.cost import Clock
from tlpipe.advise.evidence import gather
from tlpipe.advise.experience import load_experience
from tlpipe.advise.passes import look, shares
from tlpipe.config import ConfigError, parse, read
from tlpipe.data.image_folder import ImageFolder
from tlpipe.data.image_table import ImageTable
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data, SplitShares
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.all_depth_head import AllDepthHead
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.scale import Scale
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.train.device import Machine

TABLES = (".csv", ".tsv", ".parquet")
SHARE = 0.2
"""Of a split that the source does not give; all samples are labelled, and none of them is held back from the advice."""
VIEWS = 4
"""Kept views of frozen activations that costs are reckoned with, as in the shipped params.yaml."""


class Answer(NamedTuple):
    """The advice for one backbone."""

    backbone: str
    advice: Advice
    seconds: float
    """That it took: forward passes and probes."""


def answers(
    place: Path,
    forms: Sequence[str],
    machine: Machine,
    strategies: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    directions: int = 0,
) -> list[Answer]:
    """The advice for each backbone, the one with the best prediction first.

    Args:
        place: A folder of class folders (or of split folders with them), or a table with columns image and label.
        forms: Backbones in short form.
        machine: Where the passes run.
        strategies: A params.yaml whose `finetune` entries are judged; None = `default_strategies`.
        size: As in `candidate`.
        seed: Of everything that is drawn.
        directions: Of linearised fine-tuning; 0 = off.
    """
    given = read(strategies).get("finetune") if strategies else None
    named = None if given is None else parse(given, dict[str, AnyStrategy], "finetune", strategies)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        packed: dict[ImagePreprocess, tuple[Packed, int]] = {}
        for form in forms:
            backbone = candidate(form, size, seed)
            if backbone.preprocess not in packed:
                packed[backbone.preprocess] = _packed(place, backbone.preprocess, Path(scratch, str(len(packed))))
            own = named or default_strategies(backbone.encoder.groups)
            found.append(_answer(backbone, *packed[backbone.preprocess], own, machine, seed, directions))
    return sorted(found, key=lambda answer: -answer.advice.options[0].predicted.accuracy)


def default_strategies(groups: Sequence[str]) -> dict[str, Strategy]:
    """One of each kind that was measured, with the shipped params.yaml's kind of schedule."""
    third = max(1, len(groups) // 3)
    return {
        "head_only": HeadOnly(kind="head_only"),
        "all_depth_head": AllDepthHead(kind="all_depth_head"),
        "top_layers": TopLayers(
            kind="top_layers", layers=third, lr=1e-3, gamma=0.7, stage_epochs=1 if third > 1 else None, epochs=30
        ),
        "all_layers": AllLayers(kind="all_layers", lr=1e-3, rho=0.1, stages=1, epochs=30),
        "all_depth_tuning": AllDepthTuning(kind="all_depth_tuning", lr=1e-3, rho=0.1, epochs=30),
        "scratch": Scratch(kind="scratch", lr=1e-3, epochs=80),
    }


def _packed(place: Path, preprocess: ImagePreprocess, folder: Path) -> tuple[Packed, int]:
    """The images, and how many of them, from the first row, are labelled samples to look at."""
    source: ImageFolder | ImageTable = ImageFolder(path=str(place))
    if place.is_file() and place.suffix.lower() in TABLES:
        source = ImageTable(path=str(place.parent), table=place.name)
    given = {sample.split for sample in source.scan()} - {None}
    shares_made = SplitShares(
        validation=None if "validation" in given else SHARE, test=None if "test" in given else SHARE
    )
    pack(Data(source=source, split=shares_made), preprocess, folder)
    packed = Packed.open(folder)
    # a test split of the user's own stays unseen; one that was made here is made for nothing
    return packed, packed.ranges["validation" if "test" in given else "test"][1]


def _answer(
    backbone: Candidate,
    packed: Packed,
    count: int,
    strategies: Mapping[str, Strategy],
    machine: Machine,
    seed: int,
    directions: int,
) -> Answer:
    begun, rows = time.perf_counter(), np.arange(count)
    features = look(backbone.encoder, packed, rows, machine).depths
    evidence = gather(features, backbone.encoder, backbone.control, packed, rows, machine, seed, directions)
    clock = Clock(evidence.forward, shares(backbone.encoder, packed, machine))
    settled = {name: strategy for name, strategy in strategies.items() if strategy.settled}
    if not settled:
        raise ConfigError("finetune has no strategy to judge; add some, such as kind: head_only")
    advice = advise(settled, backbone.encoder.groups, evidence, load_experience(), clock, VIEWS, Scale(samples=count))
    return Answer(backbone.name, advice, time.perf_counter() - begun)
