"""Cells of tables and values of JSON files: their type is asked here alone, and what is not what is needed is refused.

A cell that is missing is None, not a number (how pandas writes nothing) or empty text. Nothing else becomes text by
being printed: a list, a mapping or bytes in place of a text or a name is refused with its row.
"""

import json
import math
import numbers
import unicodedata
from collections.abc import Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from tlpipe.config import ConfigError
from tlpipe.wording import shown

Line = dict[str, Any]
MISSING = (
    "NaN", "nan", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "<NA>", "#N/A", "#NA", "NULL", "Null", "null", "None",
    "NaT",
)  # fmt: skip
"""What spreadsheets, pandas and databases write for nothing."""
TEXT, WHOLE, LOGICAL, DATE = "text", "whole numbers", "true or false", "dates"
LONGEST_NAME = 500
"""Characters of a class's or group's name."""
UNDECODED = range(0xDC80, 0xDD00)
"""What Python makes of the bytes of a file's name that are not UTF-8: the last two digits are the byte."""
WAYS_OUT = {
    list: "a sample has one label here, not several: write the one that counts, or a class for each combination",
    dict: "write one value of it into a column of its own",
    bytes: "write it as text (in pandas: column.str.decode('utf-8'))",
}


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, not a number, or white space."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, numbers.Integral):
        return False  # one of 400 digits is no float, and cannot be asked whether it is a number
    return value is None or (isinstance(value, numbers.Real | Decimal) and math.isnan(value))


def text_of(where: str, line: Line, column: str) -> str:
    """A cell as text without white space around it; empty where it is missing. Raises ConfigError for anything else."""
    value = line.get(column)
    if is_missing(value):
        return ""
    if not isinstance(value, str):
        do = "remove the line, or write the text itself in quotes"
        raise ConfigError(f"{where}: {column!r} must hold text, and this is {_kind(value)}, {shown(value)}; {do}")
    require_characters(f"{where}: {column!r}", value)
    return value.strip()


class Names:
    """A column of names (labels, groups): each is text or a whole number or true or false, the same in all rows."""

    def __init__(self, column: str, missing: Sequence[str] = (), dates: bool = False) -> None:
        self.column, self.missing, self.dates = column, frozenset(missing), dates
        self._first: tuple[str, str] | None = None
        """Type of the first name, and where it is."""

    def __call__(self, where: str, line: Line) -> str:
        """The name in this row. Raises ConfigError where there is none, or one of another type than before."""
        value = line.get(self.column)
        if is_missing(value):
            given = "not a number" if value is not None and not isinstance(value, str) else "empty"
            raise ConfigError(f"{where}: {self.column!r} is {given}; fill it in, or remove the line")
        kind, name = self._named(where, value)
        first, there = self._first = self._first or (kind, where)
        if kind != first:
            raise ConfigError(
                f"{where}: {self.column!r} holds {kind} here ({shown(value)}) and {first} in {there}; names that look "
                "alike would be several classes: write the whole column in one way"
            )
        return name

    def _named(self, where: str, value: object) -> tuple[str, str]:
        if isinstance(value, str):
            return TEXT, self._word(where, value.strip())
        if isinstance(value, bool):
            return LOGICAL, str(value).lower()
        if isinstance(value, numbers.Real | Decimal):
            return WHOLE, self._number(where, value)
        if self.dates and isinstance(value, date | time | UUID):
            return DATE, str(value)
        ways = [way for kind, way in WAYS_OUT.items() if isinstance(value, kind)]
        do = ways[0] if ways else "write it as text"
        raise ConfigError(
            f"{where}: {self.column!r} must hold a name, and this is {_kind(value)}, {shown(value)}; {do}"
        )

    def _word(self, where: str, word: str) -> str:
        require_name(f"{where}: {self.column!r}", word)
        if word in self.missing:
            raise ConfigError(
                f"{where}: is {word!r} in {self.column!r} a name, or does it mean that there is none? Remove the line, "
                "or set data.source.missing to [] if it is a name"
            )
        return word

    def _number(self, where: str, value: Any) -> str:
        whole = isinstance(value, numbers.Integral)
        if not whole and (not math.isfinite(value) or value != int(value)):
            raise ConfigError(
                f"{where}: {self.column!r} holds the number {value}, which names no class; quantities are learnt by "
                "regression, which tlpipe does not do: bin them into classes, or choose another column"
            )
        name = str(int(value))
        require_name(f"{where}: {self.column!r}", name)
        return name


def require_name(where: str, name: str) -> None:
    """Raise ConfigError unless `name` can stand on a line of its own, in any file of names."""
    require_characters(where, name)
    if len(name) > LONGEST_NAME:
        raise ConfigError(f"{where}: {len(name):,} characters are no name, {shown(name)}; is it the right column?")
    bad = next((character for character in name if unicodedata.category(character) in ("Cc", "Zl", "Zp")), None)
    if bad is not None:
        what = "a line break" if bad in "\n\r\x0b\x0c\x85\u2028\u2029" else f"the control character {bad!r}"
        raise ConfigError(f"{where} has {what} in the name {shown(name)}; rename it")


def require_characters(where: str, text: str) -> None:
    """Raise ConfigError where half of a surrogate pair stands for a character: nothing can write such a text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code, around = ord(text[error.start]), text[max(0, error.start - 10) : error.start]
        at = f"at character {error.start + 1:,}" + (f" after {around!r}" if around else "")
        if code in UNDECODED:
            what = f"a byte that is not UTF-8 (0x{code & 0xFF:02x}) or half of a surrogate pair {at}"
            raise ConfigError(f"{where} has {what}, which is no character: rename it, or correct the file") from None
        raise ConfigError(
            f"{where} has half of a surrogate pair (\\u{code:04x}) {at}, which is no character; it was cut out of a "
            "text in UTF-16: correct the file"
        ) from None


def read_json(where: str, text: str | bytes) -> Any:
    """The value of a JSON text. Raises ConfigError when it is none, says a key twice or is nested without end."""
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _mapping(where, pairs))
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{where}: not JSON that can be read: it is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON ({error})") from None


def _mapping(where: str, pairs: list[tuple[str, Any]]) -> Line:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        require_unlike(where, [name for name, _ in pairs], "the key")
    return mapping


def require_unlike(where: str, names: Sequence[str], what: str) -> None:
    """Raise ConfigError when a name is there twice; unnamed ones cannot be asked for and do no harm."""
    for name in dict.fromkeys(names):
        at = [str(index + 1) for index, other in enumerate(names) if other == name]
        if name and len(at) > 1:
            raise ConfigError(
                f"{where}: {what} {shown(name)} is there {len(at)} times (numbers {', '.join(at[:20])}); which one is "
                "meant cannot be known: rename or remove the others"
            )


def _kind(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return "true or false"
    names = ((dict, "a mapping"), (bytes, "bytes"), (numbers.Real, "a number"), (Decimal, "a number"), (date, "a date"))
    return next((name for kind, name in names if isinstance(value, kind)), f"of type {type(value).__name__}")
