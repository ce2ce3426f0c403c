"""Advice on images, texts, tagged words or questions, without a pipeline."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tlpipe.advise.advice import Advice, advise
from tlpipe.advise.backbone import Candidate, candidate
from tlpipe.advise.cost import Clock, views_of
from tlpipe.advise.evidence import gather, subject
from tlpipe.advise.experience import load_experience
from tlpipe.advise.passes import look, shares
from tlpipe.advise.place import Place, place_of, strategies_of, training_of
from tlpipe.config import ConfigError
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.preprocess import AnyPreprocess
from tlpipe.strategies.all_depth_head import AllDepthHead
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.scale import Scale
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.train.hardware.device import Machine
from tlpipe.train.spec import Training

VIEWS = 4
"""Kept views of frozen activations that costs are reckoned with where no `training` is given, as in params.yaml."""


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
        place: As in `place_of`.
        forms: Backbones in short form.
        machine: Where the passes run.
        strategies: A params.yaml whose `finetune` entries are judged, as its `training` says; None = those of `place`,
            if it is one, or `default_strategies`.
        size: As in `candidate`.
        seed: Of everything that is drawn.
        directions: Of linearised fine-tuning; 0 = off.
    """
    asked = place_of(place)
    named = strategies_of(strategies) if strategies else asked.finetune
    training = training_of(strategies) if strategies else asked.training
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        packed: dict[tuple[AnyPreprocess, bytes], tuple[Packed, int]] = {}
        for form in forms:
            backbone = candidate(form, size, seed, asked.task)
            tokenizer = Path(tempfile.mkdtemp(dir=scratch))
            backbone.prepare_tokenizer(tokenizer)
            key = backbone.preprocess, b"".join(path.read_bytes() for path in tokenizer.iterdir())
            if key not in packed:
                packed[key] = _packed(asked, backbone, tokenizer, Path(scratch, str(len(packed))))
            own = named or default_strategies(backbone.encoder.groups)
            found.append(_answer(backbone, *packed[key], own, training, machine, seed, directions))
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
        "all_depth_tuning": AllDepthTuning(kind="all_depth_tuning", lr=1e-3, rho=0.1, epochs=9),
        "scratch": Scratch(kind="scratch", lr=1e-3, epochs=80),
    }


def _packed(place: Place, backbone: Candidate, tokenizer: Path, folder: Path) -> tuple[Packed, int]:
    """The samples, and how many rows, from the first one, are of labelled samples to look at."""
    pack(place.data, place.task.kind, backbone.preprocess, folder, tokenizer=tokenizer)
    packed = Packed.open(folder)
    return packed, packed.ranges["test"][0] if place.unseen else packed.ranges["test"][1]


def _answer(
    backbone: Candidate,
    packed: Packed,
    count: int,
    strategies: Mapping[str, Strategy],
    training: Training | None,
    machine: Machine,
    seed: int,
    directions: int,
) -> Answer:
    begun, encoder = time.perf_counter(), backbone.encoder
    seen = subject(packed, count, encoder.feature_dim * len(encoder.groups), seed)
    features = look(encoder, packed, seen.rows, machine).depths
    evidence = gather(features, encoder, backbone.control, packed, seen, machine, seed, directions)
    clock = Clock(evidence.forward, shares(backbone.encoder, packed, machine))
    settled = {name: strategy for name, strategy in strategies.items() if strategy.settled and strategy.network}
    if not settled:
        raise ConfigError("finetune has no strategy to judge; add some, such as kind: head_only")
    views, scale = VIEWS, Scale(samples=count, batch_norms=encoder.batch_norms)
    if training is not None:
        views, scale = views_of(training), training.scale(packed.learnt, encoder.batch_norms)
    advice = advise(settled, backbone.encoder.groups, evidence, load_experience(), clock, views, scale)
    return Answer(backbone.name, advice, time.perf_counter() - begun)
