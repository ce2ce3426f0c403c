"""Questions about paragraphs, with their answers, in the JSON of SQuAD v1.1 and v2.0 (arXiv 1606.05250, 1806.03822)."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from tlpipe.config import ConfigError, suggest
from tlpipe.data.base import Sample, Source, files_below
from tlpipe.data.cells import read_json, require_characters
from tlpipe.data.duplicates import components
from tlpipe.data.packed import Split
from tlpipe.data.table import decoded
from tlpipe.preprocess.questions import MAX_CHARACTERS
from tlpipe.wording import shown

Name = Annotated[str, Field(min_length=1)]
ANSWERED, UNANSWERED = "answered", "unanswered"
"""Labels of samples, by which splits are stratified and counted."""
SHOWN = 60
"""Characters of a text that a finding shows."""


@dataclass(frozen=True)
class Question:
    """One question about one context."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...]
    """(first character in the context, text) of each answer that annotators gave; none where there is no answer."""
    impossible: bool
    """Whether the context is said to hold no answer."""
    title: str
    """Of the article that the context is from."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers' texts, as the official scripts take them; none where there is no answer."""
        return tuple(text for _, text in self.answers)

    def fault(self) -> tuple[str, str] | None:
        """Why it cannot be learnt from: a reason for programs and one for people; None = it can."""
        if not self.question.strip() or not self.context.strip():
            return "empty", f"an empty {'question' if self.context.strip() else 'context'}"
        if (longest := max(len(self.question), len(self.context))) > MAX_CHARACTERS:
            return "too_long", f"{longest:,} characters in one text; at most {MAX_CHARACTERS:,} are taken"
        if self.impossible and self.answers:
            return "contradiction", f"is_impossible is true and there is an answer, {_short(self.answers[0][1])}"
        if not self.impossible and not self.answers:
            return "no_answer", "there is no answer, and is_impossible is not true"
        return next((fault for start, text in self.answers if (fault := self._misplaced(start, text))), None)

    def _misplaced(self, start: int, text: str) -> tuple[str, str] | None:
        if not text.strip():
            return "empty_answer", f"an answer at character {start:,} has no text"
        found = self.context[max(start, 0) : start + len(text)]
        if start >= 0 and found == text:
            return None
        place = self.context.find(text)
        stands = f"it stands at {place:,}" if place >= 0 else "it stands nowhere in the context"
        detail = (
            f"the answer {_short(text)} is said to be at character {start:,}, where there is {_short(found)}; {stands}"
        )
        return "misplaced_answer", f"{detail} (answer_start counts Unicode characters from 0)"


class Squad(Source):
    """One file, or one a split, in the folder `path`; a sample's id is its question's."""

    modality: ClassVar[Literal["image", "text"]] = "text"
    form: ClassVar[str] = "questions"
    stratified: ClassVar[bool] = True
    grouping: ClassVar[str] = "an article is a group; add articles, or set data.source.group to context"

    kind: Literal["squad"] = "squad"
    file: Name | None = None
    """File name of the only file; tlpipe makes the splits. null = see `splits`."""
    splits: dict[Literal["train", "validation", "test"], Name] | None = None
    """A file a split, such as {train: train-v2.0.json, test: dev-v2.0.json}; null = see `file`."""
    group: Literal["article", "context"] = "article"
    """Unit that never goes to different splits: an article with all its contexts, or each context by itself. Articles
    that share a context are one."""
    encoding: str = "utf-8"
    """Character encoding of the files."""
    _questions: dict[str, Question] = PrivateAttr(default_factory=dict)

    def scan(self) -> list[Sample]:
        """Every question, sorted by id. Raises ConfigError naming the place of what cannot be read."""
        found = [(each, split) for name, split in self._files() for each in read_squad(self.root / name, self.encoding)]
        self._questions = {}
        for question, _ in found:
            if question.id in self._questions:
                raise ConfigError(f"data.source: two questions have the id {question.id!r}; ids must be unique")
            self._questions[question.id] = question
        groups = _groups([question for question, _ in found], self.group)
        return sorted(
            Sample(question.id, UNANSWERED if question.impossible else ANSWERED, split, group)
            for (question, split), group in zip(found, groups, strict=True)
        )

    def ignored(self) -> list[str]:
        """Files in the folder that are none of those that are read."""
        named = {name for name, _ in self._files()}
        return sorted(name for name in files_below(self.root, self.root) if name not in named)

    def question(self, sample: str) -> Question:
        """The question with this id."""
        if not self._questions:
            self.scan()
        return self._questions[sample]

    def read(self, sample: str) -> bytes:
        """The question with its context and its answers as JSON."""
        return json.dumps(asdict(self.question(sample)), ensure_ascii=False).encode()

    def _files(self) -> list[tuple[str, Split | None]]:
        if (self.file is None) is (self.splits is None):
            raise ConfigError(
                "data.source: give either `file`, the name of one file, or `splits`, a file a split, such as "
                "{train: train-v2.0.json, test: dev-v2.0.json}"
            )
        return [(self.file, None)] if self.file else [(name, split) for split, name in (self.splits or {}).items()]


def read_squad(path: Path, encoding: str = "utf-8") -> Iterator[Question]:
    """The questions of one file, in its order, those that cannot be used too (see `Question.fault`).

    Raises:
        ConfigError: There is no such file, it is not in this encoding, no JSON, or not of this form.
    """
    if not path.is_file():
        there = sorted(files_below(path.parent, path.parent))
        raise ConfigError(f"data.source: {path.parent} has no file {path.name!r}{suggest(path.name, there)}")
    content = read_json(str(path), decoded(path, encoding))
    for number, article in enumerate(_list(path, "", content, "data")):
        where, untitled = f"data[{number}]", {"title": f"article {number + 1}"}
        title = _text(path, where, untitled | article if isinstance(article, dict) else untitled, "title")
        for at, paragraph in enumerate(_list(path, where, article, "paragraphs")):
            place = f"{where}.paragraphs[{at}]"
            context = _text(path, place, paragraph, "context")
            for index, each in enumerate(_list(path, place, paragraph, "qas")):
                yield _question(path, f"{place}.qas[{index}]", each, context, title)


def _question(path: Path, place: str, item: Any, context: str, title: str) -> Question:
    name = item.get("id") if isinstance(item, dict) else None
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name):
        raise ConfigError(f"{path}: {place} has no id; every question needs one of its own, as text or a whole number")
    require_characters(f"{path}: {place}.id", str(name))
    impossible = item.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise ConfigError(f"{path}: {place}.is_impossible is {shown(impossible)}; it must be true or false")
    answers = tuple(_answer(path, place, each) for each in _list(path, place, item, "answers"))
    return Question(str(name), _text(path, place, item, "question"), context, answers, impossible, title)


def _answer(path: Path, place: str, item: Any) -> tuple[int, str]:
    start = item.get("answer_start") if isinstance(item, dict) else None
    if not isinstance(start, int) or isinstance(start, bool):
        raise ConfigError(f"{path}: an answer of {place} has no answer_start, the number of its first character")
    return start, _text(path, f"{place}.answers", item, "text")


def _list(path: Path, place: str, item: Any, key: str) -> list[Any]:
    found = item.get(key) if isinstance(item, dict) else None
    if not isinstance(found, list):
        at = f"{place}.{key}" if place else key
        raise ConfigError(f"{path}: {at} is no list; SQuAD's form is data > paragraphs > qas > answers, as lists")
    return found


def _text(path: Path, place: str, item: Any, key: str) -> str:
    found = item.get(key) if isinstance(item, dict) else None
    if not isinstance(found, str):
        raise ConfigError(f"{path}: {place}.{key} is no text")
    require_characters(f"{path}: {place}.{key}", found)
    return found


def _groups(questions: list[Question], by: Literal["article", "context"]) -> list[str]:
    """A group for each question; articles (by title) that share a context are one group, named by the first."""
    first: dict[str, int] = {}
    contexts = [hashlib.sha256(question.context.encode("utf-8", "replace")).hexdigest() for question in questions]
    if by == "context":
        return contexts
    titles = [f"title:{question.title}" for question in questions]
    links = [(first.setdefault(key, index), index) for keys in (titles, contexts) for index, key in enumerate(keys)]
    names = [""] * len(questions)
    for members in components(range(len(questions)), links):
        for index in members:
            names[index] = questions[members[0]].title
    return names


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
