"""What lies at a path that advice is asked for: which task it is, where its samples are, and how they are split."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tlpipe.config import ConfigError, parse, read
from tlpipe.data.conll import LINES, Conll
from tlpipe.data.image_folder import ImageFolder
from tlpipe.data.image_table import ImageTable
from tlpipe.data.spec import AnySource, Data, SplitShares
from tlpipe.data.squad import Squad
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.base import Strategy
from tlpipe.tasks.base import Task
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.tasks.question_answering.spec import QuestionAnswering
from tlpipe.tasks.token_classification.spec import TokenClassification
from tlpipe.tasks.union import AnyTask
from tlpipe.train.spec import Training

PARAMS = (".yaml", ".yml")
SHARE = 0.2
"""Of a split that the source does not give; all samples are labelled, and none of them is held back from the advice."""


class Place(NamedTuple):
    """The samples, and what is asked of them."""

    task: Task
    data: Data
    unseen: str
    """The split that begins what is not looked at: a test split of the user's own, or nothing that is not in it."""
    finetune: Mapping[str, Strategy] | None
    """Strategies that are given along; None where there are none."""
    training: Training | None = None
    """How they would be trained, where that is given along."""


def _table(path: Path) -> tuple[Task, AnySource]:
    return ImageClassification(), ImageTable(path=str(path.parent), table=path.name)


def _words(path: Path) -> tuple[Task, AnySource]:
    return TokenClassification(), Conll(path=str(path.parent), file=path.name)


def _questions(path: Path) -> tuple[Task, AnySource]:
    return QuestionAnswering(), Squad(path=str(path.parent), file=path.name)


FILES: dict[str, Callable[[Path], tuple[Task, AnySource]]] = {
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _table,
    ".conll": _words,
    LINES: _words,
    ".json": _questions,
}
"""What a single file is, by how its name ends."""


def place_of(path: Path) -> Place:
    """A params.yaml, whose sections task, data, finetune and training count; a file of FILES; or a folder of images.

    Raises:
        ConfigError: a file of another kind, or a params.yaml in which these sections are wrong.
    """
    if path.suffix.lower() in PARAMS:
        return _given(path)
    if path.is_file() and path.suffix.lower() not in FILES:
        raise ConfigError(
            f"{path} is no file that advice can be asked for; allowed: a folder of class folders, a params.yaml, or a "
            f"file that ends in {', '.join(FILES)}"
        )
    task, source = FILES[path.suffix.lower()](path) if path.is_file() else _images(path)
    given = {sample.split for sample in source.scan()} - {None}
    made = SplitShares(validation=None if "validation" in given else SHARE, test=None if "test" in given else SHARE)
    # a test split of the user's own stays unseen; one that was made here is made for nothing
    return Place(task, Data(source=source, split=made), "test" if "test" in given else "", None)


def _images(path: Path) -> tuple[Task, AnySource]:
    return ImageClassification(), ImageFolder(path=str(path))


def _given(path: Path) -> Place:
    content: Mapping[str, Any] = read(path)
    missing = [name for name in ("task", "data") if name not in content]
    if missing:
        raise ConfigError(f"{path} has no section {missing[0]}; give a params.yaml with task and data")
    data: Data = parse(content["data"], Data, "data", path)
    task: Task = parse(content["task"], AnyTask, "task", path)
    return Place(task, data, "test", strategies_of(path), training_of(path))


def training_of(path: Path) -> Training | None:
    """The section `training` of a params.yaml; None where it has none."""
    found = read(path).get("training")
    return None if found is None else parse(found, Training, "training", path)


def strategies_of(path: Path) -> Mapping[str, Strategy] | None:
    """The entries of `finetune` in a params.yaml; None where it has none."""
    found = read(path).get("finetune")
    return None if found is None else parse(found, dict[str, AnyStrategy], "finetune", path)
