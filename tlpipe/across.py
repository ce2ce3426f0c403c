"""What must hold between the sections of params.yaml."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.auto import COMPARED, Auto
from tlpipe.config import ConfigError, block, line_of, members
from tlpipe.data.spec import AnySource
from tlpipe.train.spec import STILL
from tlpipe.wording import either, nearest, shown

WRITTEN = (
    ("data", "packed"), ("data", "features"), ("data", "tokenizer"), ("data", "advice"),
    ("models",), ("reports",), (".tlpipe",), (".dvc",), (".git",), ("mlruns",),
)  # fmt: skip
"""Folders of the project that are not for raw samples."""


def across(raw: Mapping[str, Any], sections: Mapping[str, Any], path: Path | None = None) -> Iterator[str]:
    """What is wrong between sections, a block each; a section that cannot be read (None) is passed over."""
    task, backbone = sections["task"], sections["backbone"]
    if task is not None and backbone is not None:
        yield from _modality(task, backbone, path)
    if task is not None and sections["data"] is not None:
        yield from _source(task, sections["data"], path)
    if sections["data"] is not None:
        yield from _folder(sections["data"].source.path, path)
    if task is not None and sections["training"] is not None:
        yield from _views(task, sections["training"], path)
        yield from _training(task, sections["training"], path)
    if task is not None and sections["compare"] is not None:
        yield from _choice(task, "compare.metric", sections["compare"].metric, task.metrics, path)
    if sections["strategies"] is not None and isinstance(raw.get("finetune"), dict):
        there = [str(name) for name in raw["finetune"]]
        unsettled = {name for name, spec in sections["finetune"].items() if not spec.settled}
        without = {name for name, spec in sections["finetune"].items() if not spec.network}
        yield from _names(sections["strategies"], there, unsettled, without, path)
    if task is not None:
        yield from _without_network(task, sections["finetune"], path)
    if backbone is not None and backbone.settled:
        yield from _unplannable(backbone, sections["finetune"], path)


def _modality(task: Any, backbone: Any, path: Path | None) -> Iterator[str]:
    if isinstance(backbone, Auto) and task.form not in COMPARED:
        details = {"given": f"task {task.kind}, backbone auto", "do": "name a backbone"}
        what = "backbones are compared on tasks with one label a sample only"
        yield block("task.kind and backbone.kind", what, details, line_of(path, "backbone", ["kind"]))
        return
    if backbone.reads in (None, task.modality):
        yield from _pooling(task, backbone, path)
        return
    fitting = [get_args(spec.model_fields["kind"].annotation)[0] for spec in _takers(task)]
    yield block(
        "task.kind and backbone.kind",
        f"a task on {task.modality}s cannot use a backbone for {backbone.reads}s",
        {
            "given": f"task {task.kind}, backbone {backbone.kind}",
            "allowed": f"for this task the backbones {', '.join(fitting) or 'of no kind yet'}",
            "do": "change the one or the other",
        },
        line_of(path, "backbone", ["kind"]),
    )


def _source(task: Any, data: Any, path: Path | None) -> Iterator[str]:
    if task.modality != data.source.modality:
        details = {
            "given": f"task {task.kind}, source {data.source.kind}",
            "do": f"choose a source of {task.modality}s, or another task",
        }
        where = "task.kind and data.source.kind"
        what = f"a task on {task.modality}s cannot learn from {data.source.modality}s"
        yield block(where, what, details, line_of(path, "data", ["source", "kind"]))
    elif task.form != data.source.form:
        fitting = [get_args(spec.model_fields["kind"].annotation)[0] for spec in _sources(task.form)]
        details = {
            "given": f"task {task.kind}, source {data.source.kind}",
            "allowed": f"for this task the sources {', '.join(fitting)}",
            "do": "change the one or the other",
        }
        what = "the source's samples are not labelled with what the task learns"
        yield block("task.kind and data.source.kind", what, details, line_of(path, "data", ["source", "kind"]))


def _folder(given: str, path: Path | None) -> Iterator[str]:
    """The raw samples lie in a folder of their own: what the pipeline writes must not become its input."""
    parts = Path(os.path.relpath(given) if os.path.isabs(given) else os.path.normpath(given)).parts
    line = line_of(path, "data", ["source", "path"])
    if "\0" in given or all(part in ("..", "/") for part in parts):
        what = "is the whole project or more, with all that the pipeline writes"
    elif own := next((own for own in WRITTEN if parts[: len(own)] == own), None):
        what = f"is in {'/'.join(own)}, which the pipeline writes and replaces"
    else:
        return
    yield block("data.source.path", what, {"given": shown(given), "do": "name the folder of the raw samples"}, line)


def _sources(form: str) -> list[Any]:
    specs: tuple[Any, ...] = members(AnySource)
    return [spec for spec in specs if spec.form == form]


def _pooling(task: Any, backbone: Any, path: Path | None) -> Iterator[str]:
    if task.tokens == backbone.tokens:
        return
    what, do = "the task reads the features of every token, and this backbone pools them", "set it to none"
    if backbone.tokens:
        what, do = "the task reads features of the whole text, and none are made", "set it to auto, pooler, cls or mean"
    given = getattr(backbone, "pooling", "none in among")
    yield block("backbone.pooling", what, {"given": given, "do": do}, line_of(path, "backbone", ["pooling"]))


def _training(task: Any, training: Any, path: Path | None) -> Iterator[str]:
    yield from _choice(task, "training.monitor", training.monitor, ("auto", *task.monitors), path)
    yield from _choice(task, "training.balance", training.balance, task.balances, path)


def _choice(task: Any, where: str, given: str, allowed: tuple[str, ...], path: Path | None) -> Iterator[str]:
    if given not in allowed:
        section, leaf = where.split(".")
        details = {"given": given, "allowed": ", ".join(allowed), "do": "choose one of these"}
        yield block(where, f"is nothing that {task.kind} has", details, line_of(path, section, [leaf]))


def _views(task: Any, training: Any, path: Path | None) -> Iterator[str]:
    if task.views:
        return
    if training.augment != STILL:
        what, do = f"changes nothing: {task.modality}s are always seen as they are", "remove training.augment"
        yield block("training.augment", what, {"do": do}, line_of(path, "training", ["augment"]))
    if training.cache.noise:
        details = {"given": f"{training.cache.noise:g}", "do": "set it to 0"}
        line = line_of(path, "training", ["cache", "noise"])
        yield block("training.cache.noise", f"cannot be added to the activations of {task.modality}s", details, line)


def _takers(task: Any) -> list[Any]:
    specs: tuple[Any, ...] = members(AnyBackbone)
    return [spec for spec in specs if spec.modality == task.modality or (spec is Auto and task.form in COMPARED)]


def _names(
    chosen: tuple[str, ...], there: list[str], unsettled: set[str], without: set[str], path: Path | None
) -> Iterator[str]:
    advised = unsettled & set(chosen)
    for index, name in enumerate(chosen):
        line = line_of(path, "strategies", [index])
        if name not in there:
            near = nearest(name, there)
            do = f"did you mean {either(near)}? rename it, or add" if near else "add"
            details = {"allowed": ", ".join(there) or "none: finetune is empty", "do": f"{do} finetune.{name}"}
            yield block("strategies", f"finetune has no strategy {name!r}", details, line)
        elif name in chosen[:index]:
            yield block("strategies", f"{name!r} is listed twice", {"do": "remove one of the two"}, line)
    for name in sorted(advised) if set(there) <= unsettled | without else ():
        details = {"do": "add the strategies that it may choose from to finetune, such as head_only and all_layers"}
        yield block(f"finetune.{name}", "has nothing to choose from", details, line_of(path, "finetune", [name]))


def _without_network(task: Any, strategies: Mapping[str, Any], path: Path | None) -> Iterator[str]:
    without = [name for name, strategy in strategies.items() if not strategy.network]
    for name in without:
        if task.ngrams:
            continue
        details = {
            "given": f"kind {strategies[name].kind}, task {task.kind}",
            "allowed": "kind: tfidf goes with text_classification",
            "do": "remove it from finetune and from strategies",
        }
        what = "is for texts with one label each"
        yield block(f"finetune.{name}", what, details, line_of(path, "finetune", [name, "kind"]))
    if without and len(without) == len(strategies):
        details = {"do": "add head_only: {kind: head_only}, which costs nothing once the features are there"}
        what = "has no strategy that starts from the backbone, so there is nothing to compare with and to advise on"
        yield block("finetune", what, details, line_of(path, "finetune", []))


def unlisted(strategies: tuple[str, ...], finetune: Mapping[str, Any]) -> list[str]:
    """Entries of `finetune` that do not run, because `strategies` does not list them and no advice may choose them."""
    advised = any(not finetune[name].settled for name in strategies)
    return [] if advised else [name for name in finetune if name not in strategies]


def _unplannable(backbone: Any, strategies: Mapping[str, Any], path: Path | None) -> Iterator[str]:
    try:
        backbone.preprocess()
        groups = backbone.skeleton().groups
    except ConfigError as error:
        yield block("backbone", str(error), {}, line_of(path, "backbone", []))
        return
    for name, strategy in strategies.items():
        try:
            if strategy.settled:
                strategy.plan(groups)
        except ConfigError as error:
            yield block(f"finetune.{name}", str(error), {}, line_of(path, "finetune", [name]))
