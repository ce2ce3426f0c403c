"""The whole of params.yaml: its sections, and what must hold between them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
from pydantic import Field

from tlpipe.across import across
from tlpipe.advise.spec import Advise
from tlpipe.backbones import AnyBackbone
from tlpipe.config import PARAMS, ConfigError, Spec, parse, read
from tlpipe.data.spec import Data
from tlpipe.evaluate.compare import Compare
from tlpipe.evaluate.spec import Evaluate
from tlpipe.export.spec import Export
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.counting import Size
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.union import AnyTask
from tlpipe.tracking.spec import Tracking
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.heads.head import Head
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training
from tlpipe.train.trainer.trainable import sizes

Name = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Strategies name folders, DVC stages and columns of tables, and dots separate sections."""


class Params(Spec):
    """Everything that can change what comes out: the root of params.yaml. Every section is required."""

    task: AnyTask
    """What is learnt."""
    data: Data
    """Where the samples come from, and how they are split."""
    backbone: AnyBackbone
    """The pretrained network that everything starts from."""
    runtime: Runtime
    """The machine: device, precision, threads."""
    head: Head
    """The head stage: the classifier on frozen features that every strategy starts from."""
    training: Training
    """How every fine-tuning strategy is trained."""
    strategies: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    """The entries of `finetune` to run and to compare."""
    finetune: dict[Name, AnyStrategy]
    """The strategies by name: what trains, when, at which rate."""
    advise: Advise
    """How the strategies are judged before any of them is trained."""
    evaluate: Evaluate
    """What is measured on the validation and test splits."""
    compare: Compare
    """How the champion is chosen."""
    export: Export
    """The bundle and the gate that it must pass."""
    tracking: Tracking
    """Where runs are published."""


def load_params(path: Path = PARAMS) -> Params:
    """The whole file, checked within and across its sections.

    Raises:
        ConfigError: With every problem, a block each, those across sections too where the sections can be read.
    """
    raw = read(path)
    problems: list[str] = []
    params = None
    try:
        params = parse(raw, Params, "", path)
    except ConfigError as error:
        problems.append(str(error))
    problems += across(raw, readable(raw), path)
    if problems or not isinstance(params, Params):
        raise ConfigError("\n".join(problems))
    return params


def readable(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that can be read on their own, those of `finetune` one by one."""
    hints = get_type_hints(Params, include_extras=True)
    sections = {name: _read(raw.get(name), hint) for name, hint in hints.items() if name != "finetune"}
    entries = raw.get("finetune")
    strategies = {str(name): _read(data, AnyStrategy) for name, data in _mapping(entries).items()}
    sections["finetune"] = {name: spec for name, spec in strategies.items() if spec is not None}
    return sections


def _read(data: Any, kind: Any) -> Any:
    try:
        return parse(data, kind, "")
    except ConfigError:
        return None


def _mapping(data: Any) -> dict[Any, Any]:
    return data if isinstance(data, dict) else {}


def outline(
    params: Params, classes: int, samples: int | None = None, advised: Mapping[str, AnyStrategy] | None = None
) -> dict[str, tuple[Plan, dict[str, Size]]]:
    """What is going to happen, without data or weights, by strategy in the order of `strategies`.

    Returns:
        The plan for `samples` training samples (None = not known), and the sizes of each layer group, from the input
        to the top, and of the head for `classes` classes. Strategies that wait for advice, or have no network, are left
        out, and all of them while the backbone is to be chosen; `advised` ones, by the names that they are to have,
        come last.
    """
    found: dict[str, tuple[Plan, dict[str, Size]]] = {}
    if not params.backbone.settled:
        return found
    every = {name: params.finetune[name] for name in params.strategies}
    settled = {name: strategy for name, strategy in every.items() if strategy.settled and strategy.network}
    for name, strategy in {**settled, **(advised or {})}.items():
        encoder = params.backbone.skeleton()
        plan = strategy.plan(encoder.groups, params.training.scale(samples, encoder.batch_norms))
        with torch.device("meta"):
            if plan.features == "all":
                encoder = AllDepths(encoder, params.backbone.preprocess().example())
            head = params.task.head(encoder.feature_dim, classes, 0.0)
        found[name] = plan, sizes(Classifier(encoder, head), plan)
    return found
