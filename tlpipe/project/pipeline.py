"""dvc.yaml of a project: the stages that its params need, and no others."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.config import members
from tlpipe.data.spec import AnySource
from tlpipe.packaged import is_packaged
from tlpipe.tasks import facet
from tlpipe.yaml_text import load_yaml

TEMPLATE = Path(__file__).with_name("pipeline.yaml")
SAMPLES = {"data/digits": "sample_data", "data/solar_cells": "sample_solar", "data/docstrings": "sample_text"}
"""By the path that the offline defaults read, the stage that makes it."""
CONDITION = "  #? "
"""Ends the first line of a stage of the template that not every project has."""


def pipeline(params: Mapping[str, Any], root: Path = Path()) -> str:
    """The text of dvc.yaml for these params, which must be valid ones; `root`: the project's folder."""
    source, backbone = params["data"]["source"], params["backbone"]
    texts = modality(source["kind"]) == "text"
    baselines = bool(facet(params["task"]["kind"], "evaluation:BASELINES"))
    chosen = backbone["kind"] == "auto"
    own = own_files(backbone, root)
    read = [str(source["path"]), *own.values()]
    made = {stage for path, stage in SAMPLES.items() if _below(path, read)}
    conditions = {"texts": texts, "baselines": baselines, "choose": chosen}
    true = {"", *(name for name, holds in conditions.items() if holds), *made}
    deps = {
        "tokenizer": ["data/tokenizer"] if texts else [],
        "baseline": ["reports/baseline.json"] if baselines else [],
        "choice": ["data/backbone.json"] if chosen else [],
        "choice report": ["reports/backbone.json"] if chosen else [],
        "files": [f'"${{backbone.{key}}}"' for key in own],
    }
    blocks = TEMPLATE.read_text(encoding="utf-8").split("\n\n")
    return "\n\n".join(_fill(_without_condition(block), deps) for block in blocks if _condition(block) in true)


def stages_of(text: str) -> list[str]:
    """The names of the stages of a dvc.yaml."""
    content = load_yaml(text)
    return list(content.get("stages", {})) if isinstance(content, dict) else []


def modality(source: str) -> str:
    """What the samples of a kind of source are, image or text."""
    specs: tuple[Any, ...] = members(AnySource)
    return next(str(spec.modality) for spec in specs if spec.model_fields["kind"].default == source)


def own_files(backbone: Mapping[str, Any], root: Path) -> dict[str, str]:
    """Local files that a backbone is made from, by their key in its section, as dvc.yaml names it.

    Those of installed packages are no dependencies of DVC's; they are in the fingerprint of the code.
    """
    if backbone["kind"] == "auto":
        each = enumerate(backbone.get("among") or ())
        return {f"among[{at}].{key}": path for at, one in each for key, path in own_files(one, root).items()}
    files = {f"corpus[{at}]": path for at, path in enumerate(backbone.get("corpus") or ())}
    size = backbone.get("size")
    if isinstance(size, Mapping) and size.get("tokenizer") is not None and not is_packaged(str(size["tokenizer"])):
        files["size.tokenizer"] = size["tokenizer"]
    if backbone["kind"] == "checkpoint" and not is_packaged(str(backbone["path"])):
        files["path"] = backbone["path"]
    # these may be names of published weights just as well
    named = {key: str(backbone[key]) for key in ("start", "name") if backbone.get(key) is not None}
    return files | {key: name for key, name in named.items() if not is_packaged(name) and (root / name).exists()}


def _below(folder: str, paths: list[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for path in paths)


def _condition(block: str) -> str:
    stated = re.search(rf"{re.escape(CONDITION)}(\w+)$", block, re.MULTILINE)
    return stated[1] if stated else ""


def _without_condition(block: str) -> str:
    return re.sub(rf"{re.escape(CONDITION)}\w+$", "", block, count=1, flags=re.MULTILINE)


def _fill(block: str, deps: Mapping[str, list[str]]) -> str:
    """Put what stands in for `<name>` in its place; a list without entries goes, with its key."""
    for name, paths in deps.items():
        listed = ", ".join(paths)
        block = block.replace(f", <{name}>", f", {listed}" if listed else "").replace(f"<{name}>", listed)
    return re.sub(r"\n    deps: \[\]", "", block)
