"""Code fingerprint of each stage: one hash of the installed code and the package versions that decide its bits.

The stage `code` writes them to data/code.json, and the other stages depend on their key of it. A training's recovery
state is keyed with the same hashes.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tlpipe.code.closure import closure, kinds_used, relative
from tlpipe.code.names import PACKAGE, all_kinds
from tlpipe.packaged import SOLAR_CELLS, packaged_in, record_of

OUT = Path("data/code.json")
DECIDES = {
    "PIL": ("pillow",),
    "jinja2": ("jinja2",),
    "matplotlib": ("matplotlib",),
    "numpy": ("numpy",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "onnxscript": ("onnxscript",),
    "pyarrow": ("pyarrow",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn",),
    "timm": ("timm",),
    "tokenizers": ("tokenizers",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "transformers": ("transformers",),
}
"""Packages whose version can change what a stage writes: the name that is imported, and those it is installed by."""
NEUTRAL = frozenset(
    {"huggingface_hub", "markupsafe", "mlflow", "psutil", "pydantic", "rich", "ruamel", "safetensors", "typer"}
)
"""Packages that check, move or show what stages write."""
FOLLOWED = ("task", "data", "backbone")
"""Sections of params.yaml that name the plug-ins of a project."""
OWN_MODULES = "tlpipe/backbones/own.py"
"""Runs a module of the project's own, which then counts as code too."""
PACKAGED = "tlpipe/packaged.py"
"""Reads files of installed packages, which count by the record of their package."""
OWN_PACKAGED = {"sample_solar": (SOLAR_CELLS,)}
"""Stages that read a package's files whatever params.yaml says."""


def code_of(stages: Iterable[str], params: Mapping[str, Any]) -> dict[str, Any]:
    """The content of data/code.json for these params.

    `stages`: a hash each. `files` and `packages`: what went into them, to say later what has changed. `installed`: a
    hash of the whole package, all versions and what the params use, by which the rest is known to be up to date.
    """
    kinds, own, named = kinds_used(kinds_in(params)), own_module(params), packaged_in(params.get("backbone"))
    parts = {stage: dict(_parts(stage, kinds, own, named)) for stage in stages}
    files = {name: value for each in parts.values() for name, value in each.items()}
    return {
        "stages": {stage: _digest(each) for stage, each in parts.items()},
        "installed": installed(params),
        "packages": {name: value for name, value in sorted(files.items()) if name in (*DECIDES, "python")},
        "files": {name: value[:12] for name, value in sorted(files.items()) if name not in (*DECIDES, "python")},
    }


def stage_hash(stage: str, params: Mapping[str, Any] | None, path: Path = OUT) -> str:
    """A stage's fingerprint, from `path` where that is up to date. Of params that are not there all plug-ins count."""
    known = read_code(path)
    if params is not None and known.get("installed") == installed(params) and stage in known["stages"]:
        return str(known["stages"][stage])
    kinds = all_kinds() if params is None else kinds_in(params)
    return _computed(stage, kinds_used(kinds), own_module(params or {}), packaged_in((params or {}).get("backbone")))


def read_code(path: Path = OUT) -> dict[str, Any]:
    """What the stage `code` wrote last; empty where it did not, or where the file is broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"stages", "installed", "packages", "files"} <= set(found) else {}


def installed(params: Mapping[str, Any]) -> str:
    """Hash of everything that a fingerprint can depend on."""
    own = own_module(params)
    parts = {relative(path): _file_hash(path) for path in sorted(PACKAGE.rglob("*")) if _is_code(path)}
    versions = {name: package_version(name) for name in DECIDES} | _records(
        (*packaged_in(params.get("backbone")), SOLAR_CELLS)
    )
    return _digest({**parts, **versions, **_own_part(own), "python": python(), "kinds": sorted(kinds_in(params))})


def kinds_in(params: Mapping[str, Any]) -> frozenset[str]:
    """Every `kind` in the sections that name plug-ins."""
    return frozenset(kind for section in FOLLOWED for kind in _kinds(params.get(section)))


def own_module(params: Mapping[str, Any]) -> Path | None:
    """The file of the project's own architecture (`backbone.architecture`), if it has one."""
    backbone = params.get("backbone")
    architecture = backbone.get("architecture") if isinstance(backbone, Mapping) else None
    if not isinstance(architecture, Mapping) or architecture.get("library") != "module":
        return None
    path = Path(*str(architecture.get("name")).partition(":")[0].split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def package_version(name: str) -> str:
    """The public version of a package, by the name that is imported, without the label of a build; "" of none."""
    for distribution in DECIDES[name]:
        try:
            return version(distribution).split("+")[0]
        except PackageNotFoundError:
            continue
    return ""


def python() -> str:
    """The version of the language, without its bug fixes."""
    return ".".join(map(str, sys.version_info[:2]))


@cache
def _computed(stage: str, kinds: frozenset[str], own: Path | None, named: tuple[str, ...]) -> str:
    return _digest(dict(_parts(stage, kinds, own, named)))


def _parts(stage: str, kinds: frozenset[str], own: Path | None, named: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    files, packages = closure(PACKAGE / "stages" / f"{stage}.py", kinds)
    names = {relative(path): path for path in files}
    yield from ((name, _file_hash(names[name])) for name in sorted(names))
    yield from ((name, package_version(name)) for name in sorted(packages & set(DECIDES)))
    yield "python", python()
    if OWN_MODULES in names:
        yield from _own_part(own).items()
    if PACKAGED in names:
        yield from _records(OWN_PACKAGED.get(stage, named)).items()


def _own_part(own: Path | None) -> dict[str, str]:
    return {f"./{own.as_posix()}": hashlib.sha256(own.read_bytes()).hexdigest()} if own else {}


def _records(named: Iterable[str]) -> dict[str, str]:
    return {name: hashlib.sha256(record_of(name).encode()).hexdigest() for name in named}


def _kinds(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("kind"), str):
            yield node["kind"]
        for value in node.values():
            yield from _kinds(value)


def _is_code(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.is_file()


@cache
def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
