"""sample_text: the offline default's texts, the documentation strings of Python's standard library."""

import ast
import hashlib
import json
import re
import shutil
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

OUT = Path("data/docstrings")
AREAS = {
    "concurrency": "asyncio concurrent multiprocessing threading queue subprocess selectors sched _pyio signal",
    "files": "pathlib shutil tempfile zipfile tarfile gzip bz2 lzma glob fnmatch filecmp fileinput posixpath ntpath os "
    "genericpath linecache netrc",
    "interface": "tkinter curses turtle cmd code idlelib rlcompleter getpass optparse argparse gettext",
    "internet": "email http urllib ftplib imaplib smtplib poplib socket socketserver ssl xmlrpc ipaddress nntplib "
    "telnetlib wsgiref mailbox cgi html webbrowser cookielib",
    "language": "ast inspect dis importlib tokenize pydoc traceback pdb bdb doctest trace profile unittest pkgutil "
    "modulefinder codeop symtable timeit typing types abc contextlib functools",
    "numbers": "decimal _pydecimal fractions statistics random numbers datetime _pydatetime calendar _strptime",
    "structures": "csv json xml configparser plistlib sqlite3 pickle pickletools collections dataclasses enum copy "
    "_collections_abc heapq bisect weakref shelve dbm string textwrap difflib re _weakrefset",
}
"""Areas that the library's documentation groups its modules by, and modules of each."""
LEFT_OUT = {"test", "tests", "site-packages", "lib2to3", "idle_test", "turtledemo", "ensurepip", "__pycache__"}
TEST_SHARE = 4
"""One module in so many is for testing, drawn by its name."""
SHORTEST = 40
"""Characters; shorter strings say too little to be labelled."""


def main(out: Path = OUT) -> int:
    """Write out/passages.jsonl (text, area, module, split) and out/corpus.txt (unlabelled text for pretraining).

    A module is whole in the training or the test part, and no test module's text is in the corpus. Nothing is
    imported: the sources are parsed.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    area_of = {module: area for area, modules in AREAS.items() for module in modules.split()}
    passages, corpus = [], []
    for module, text in docstrings(Path(sysconfig.get_path("stdlib"))):
        area, split = area_of.get(module.split(".")[0]), "test" if in_test(module) else "train"
        plain = " ".join(text.split())
        if area and len(plain) >= SHORTEST:
            passages.append({"text": plain, "area": area, "module": module, "split": split})
        if not (area and split == "test"):
            corpus.append("\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)))
    lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in passages)
    (out / "passages.jsonl").write_text(lines, encoding="utf-8")
    (out / "corpus.txt").write_text("\n\n".join(corpus) + "\n", encoding="utf-8")
    counts = Counter(each["split"] for each in passages)
    print(
        f"{out}: {counts['train']:,} passages for training, {counts['test']:,} for testing; {len(corpus):,} documents"
    )
    return 0


def in_test(module: str) -> bool:
    """Whether a module is for testing: drawn by its name, the same everywhere."""
    return hashlib.sha256(module.encode()).digest()[0] % TEST_SHARE == 0


def docstrings(library: Path) -> Iterator[tuple[str, str]]:
    """(module, documentation string) of every module, class and function below `library`, in order of the files."""
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if LEFT_OUT & set(relative.parts):
            continue
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and text.strip():
                    yield module, text.encode("utf-8", "replace").decode()
