"""Recipes: the params files that come with the package, and their sections as text."""

import re
from pathlib import Path

from tlpipe.code.names import PACKAGE, ROOT
from tlpipe.config import ConfigError, suggest

DIGITS = "digits"
"""The offline default: this repository's own params.yaml."""
SECTION = re.compile(r"^(\w+):", re.MULTILINE)


def recipes() -> dict[str, Path]:
    """The file of each recipe, by its name. A wheel has them inside the package, a checkout beside it."""
    inside = PACKAGE / "recipes"
    folder, digits = (
        (inside, inside / f"{DIGITS}.yaml") if inside.is_dir() else (ROOT / "recipes", ROOT / "params.yaml")
    )
    return {DIGITS: digits, **{path.stem: path for path in sorted(folder.glob("*.yaml"))}}


def recipe(name: str) -> str:
    """The text of a recipe, without what concerns only the place that it comes from. Raises ConfigError."""
    known = recipes()
    if name not in known:
        raise ConfigError(f"--recipe: there is no recipe {name!r}{suggest(name, known)}")
    lines = known[name].read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("# yaml-language-server:"))


def sections(text: str) -> dict[str, str]:
    """The text of each section of a params file, its key and comments included; "" is what stands before the first."""
    starts = [match.start() for match in SECTION.finditer(text)]
    blocks = [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return {"": text[: starts[0]]} | {block.partition(":")[0]: block.rstrip() + "\n" for block in blocks}
