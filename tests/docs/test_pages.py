"""Pages of the documentation: their messages are in the code, their examples run, their prose is short."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.report.blocks import without

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PROSE = [
    *DOCS,
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(ROOT / "benchmarks").rglob("*.md"),
]
REFERENCE = ROOT / "docs/reference.md"
"""Its numbers are defaults."""
LONGEST = 160
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NUMBER = r"[+\u2212-]?\d+\.\d+"
FIGURES = re.compile(rf"±\s*\d|\[{NUMBER}, {NUMBER}\]|\b0\.\d{{3}}\b|[+\u2212-]\d+\.\d+ points|\b\d+\.\d+ s\b")
"""What a measured figure looks like."""
AS_EXAMPLE = {"0.001", "0.999", "0.002"}
"""Numbers of three digits that are settings."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def messages() -> Iterator[str]:
    """Quoted messages of the troubleshooting page."""
    for line in (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield line.split(" | ")[0].removeprefix("| `").removesuffix("`")


def sentences() -> str:
    """All text of strings in the package; what is filled in is left out."""
    texts = []
    for path in sorted((ROOT / "tlpipe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\n" for part in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


SENTENCES = sentences()


@pytest.mark.parametrize("message", list(messages()))
def test_a_message_is_one_of_the_code(message: str) -> None:
    parts = [part.strip(" ,") for part in message.split("…")]
    assert max(map(len, parts)) > 10, "quote more of it"
    for part in parts:
        assert part in SENTENCES, f"{part!r} is in no message"


@pytest.mark.parametrize("path", PROSE, ids=named)
def test_prose_has_short_lines(path: Path) -> None:
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    assert [line for line in text.splitlines() if len(line) > LONGEST and not line.startswith(("|", "`"))] == []


@pytest.mark.parametrize("path", [*sorted({*DOCS} - {REFERENCE}), ROOT / "README.md"], ids=named)
def test_figures_come_from_results(path: Path) -> None:
    text = CODE.sub("", without(path.read_text(encoding="utf-8")))
    loose = [match[0] for match in FIGURES.finditer(text) if match[0] not in AS_EXAMPLE]
    assert not loose, "put it into benchmarks/results, and a block of figures here; or into benchmarks/LOG.md"


@pytest.mark.parametrize("path", DOCS, ids=named)
def test_links_lead_to_files(path: Path) -> None:
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", [*DOCS, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=named)
def test_files_of_the_code_are_there(path: Path) -> None:
    named_files = set(re.findall(r"`((?:tlpipe|tests|recipes)/[\w/.]*\w)/?`", path.read_text(encoding="utf-8")))
    assert [name for name in sorted(named_files) if not (ROOT / name).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert [path.name for path in DOCS if path.name not in navigation] == []


def test_a_loose_figure_is_found() -> None:
    assert FIGURES.search("the head has 0.749 [0.715, 0.780]")
    assert FIGURES.search("it gains +2.5 ± 0.3 points")
    assert not FIGURES.search("lr 5e-4, share 0.2, 95 % intervals, 2,000 samples")
