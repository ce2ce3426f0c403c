"""Hooks of the documentation's site: files of the repository that pages link to become part of the site.

The pages are written for readers of the repository, so a link to `../benchmarks/README.md` is right there. On the site
the file is at `repository/benchmarks/README.md`, and links in it are followed in turn.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS, OTHERS = "docs/", "repository/"
LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s:#]+)(?P<anchor>#[^)\s]*)?(?=\))")


def in_repository(source: str) -> str:
    """Path in the repository of a page of the site."""
    return source.removeprefix(OTHERS) if source.startswith(OTHERS) else DOCS + source


def site_path(path: str) -> str:
    """Path on the site, as a source, of a file of the repository."""
    return path.removeprefix(DOCS) if path.startswith(DOCS) else OTHERS + path


def linked(text: str, path: str) -> Iterator[str]:
    """Files of the repository outside of docs that a page at `path` links to."""
    for match in LINK.finditer(text):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match["path"]))
        if not target.startswith(DOCS) and (ROOT / target).is_file():
            yield target


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what the pages link to, and what that links to."""
    queue = [(page.content_string, in_repository(page.src_uri)) for page in files.documentation_pages()]
    known: set[str] = set()
    while queue:
        for target in linked(*queue.pop()):
            if target in known:
                continue
            known.add(target)
            content = (ROOT / target).read_bytes()
            added = File.generated(config, site_path(target), content=content, inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(added)
            if added.is_documentation_page():
                queue.append((content.decode(), target))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links between pages as they are on the site."""
    source = page.file.src_uri
    path = in_repository(source)

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), match["path"]))
        if target.startswith("..") or not (ROOT / target).is_file():
            return match[0]
        return posixpath.relpath(site_path(target), posixpath.dirname(source) or ".") + (match["anchor"] or "")

    return LINK.sub(moved, markdown)
