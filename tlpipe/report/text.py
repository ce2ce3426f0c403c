"""Numbers as people read them. Pure functions; the template calls them as filters."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from tlpipe.evaluate.judged import lower_title, title

PERCENT = frozenset(
    {"accuracy", "balanced_accuracy", "macro_f1", "ece", "word_accuracy", "strict_entity_f1", "entity_macro_f1"}
    | {"entity_f1", "entity_precision", "entity_recall"}
    | {"f1", "exact_match", "answered_f1", "answered_exact_match", "unanswered_f1"}
)


SHORT = {
    "ece": "ECE",
    "balanced_accuracy": "balanced",
    "brier": "Brier",
    "answered_f1": "F1, answered",
    "answered_exact_match": "exact, answered",
    "unanswered_f1": "F1, unanswered",
}
"""Heads of columns that are not the title."""


def short(metric: str) -> str:
    """The name as a column's head."""
    return SHORT.get(metric, lower_title(metric))


def value(number: float | None, metric: str) -> str:
    """`97.3 %` for shares, three digits for the rest, `n/a` for what does not apply."""
    if number is None:
        return "n/a"
    return f"{100 * number:.1f} %" if metric in PERCENT else f"{number:.3f}"


def interval(entry: Mapping[str, float | None] | None, metric: str) -> str:
    """`95.1 to 98.4 %`, or nothing where there is no interval; as many digits as tell the bounds apart."""
    if not entry or entry["low"] is None or entry["high"] is None:
        return ""
    low, high = value(entry["low"], metric), value(entry["high"], metric)
    if low == high and entry["low"] < entry["high"]:
        scale, unit = (100, " %") if metric in PERCENT else (1, "")
        digits = 1 - math.floor(math.log10(scale * (entry["high"] - entry["low"])))
        low, high = (f"{scale * bound:.{digits}f}{unit}" for bound in (entry["low"], entry["high"]))
    return f"{low.removesuffix(' %')} to {high}"


def integer(number: float) -> str:
    """Thousands separated."""
    return f"{number:,.0f}"


def compact(number: float) -> str:
    """`2.8 M`, `51 k`: for places where the digits do not matter."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def rate(number: float | None) -> str:
    """A learning rate as `3e-4`; frozen is None."""
    if number is None:
        return "frozen"
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def size(count: int) -> str:
    """Bytes as `11.2 MB`."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def listing(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def difference(entry: Mapping[str, float | None], metric: str) -> str:
    """`+1.2 points (0.3 to 2.1)` for shares, plain numbers for the rest; unknown bounds are left out."""
    scale, unit, digits = (100, " points", 1) if metric in PERCENT else (1, "", 3)
    bounds = [entry["low"], entry["high"]]
    around = " to ".join(f"{scale * bound:+.{digits}f}" for bound in bounds if bound is not None)
    return f"{scale * (entry['value'] or 0.0):+.{digits}f}{unit}" + (f" ({around})" if around else "")


def mean_spread(entry: Mapping[str, Any], metric: str) -> str:
    """`97.3 % ± 0.4`, or the single value where there was one training."""
    shown = value(entry["mean"], metric)
    if entry["deviation"] is None:
        return shown
    return f"{shown} ± {value(entry['deviation'], metric).removesuffix(' %')}"


def tiny_count(number: float) -> str:
    """`0.4`, `12`, `2.2 k`: a ratio of counts."""
    return f"{number:.2g}" if number < 10 else compact(number)


def tiny(number: float | None) -> str:
    """Small differences: `3.1e-06`, `0`, `n/a`."""
    return "n/a" if number is None else f"{number:.2g}"


def share(number: float | None) -> str:
    """`100 %`, `99.7 %`."""
    return "n/a" if number is None else f"{100 * number:.4g} %"


FILTERS: dict[str, Callable[..., str]] = {
    each.__name__: each
    for each in (
        title, lower_title, short, value, interval, integer, compact, duration, rate, size, listing, difference, tiny,
        share, mean_spread, tiny_count,
    )
}  # fmt: skip
