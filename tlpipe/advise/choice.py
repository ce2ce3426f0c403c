"""Which backbone: the best frozen probe among those whose exported model is within the budget."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlpipe.advise.advice import INDIFFERENT
from tlpipe.advise.probe import Floats, Gain, Measured, gain
from tlpipe.backbones.auto import CHOSEN
from tlpipe.config import ConfigError

REPORT = Path("reports/backbone.json")


@dataclass(frozen=True)
class Cost:
    """What an exported model needs where it is served."""

    milliseconds: float
    """Of one image in onnxruntime, on the machine that measured it."""
    megabytes: float
    """Of the file."""

    def over(self, milliseconds: float | None, megabytes: float | None) -> float:
        """How often the dearer of the two limits is in it: at most 1 within the budget; None = no limit."""
        return max(self.milliseconds / (milliseconds or math.inf), self.megabytes / (megabytes or math.inf))


@dataclass(frozen=True)
class Judged:
    """A backbone within the budget, and what probes win on its frozen features."""

    name: str
    cost: Cost
    depths: str
    """What the better probe reads: `last`, the features of the top, or `all` of them."""
    score: Measured
    won: Floats
    """Counts (U, 2) behind the score, of the same units for all backbones."""


@dataclass(frozen=True)
class Choice:
    """The answer: one of `judged`, the best of them, and how far it is ahead of each."""

    chosen: Judged
    best: Judged
    judged: tuple[Judged, ...]
    """From the best score down."""

    def gain_over(self, other: Judged) -> Gain:
        """The chosen one's score minus another's, paired."""
        return gain(self.chosen.won, other.won)

    def reason(self) -> str:
        """Why it was chosen, in a sentence."""
        if len(self.judged) == 1:
            return f"{self.chosen.name} is the only one within the budget"
        if self.chosen is not self.best:
            behind = self.best.score.accuracy - self.chosen.score.accuracy
            return (
                f"{self.chosen.name} is {100 * behind:.1f} points behind {self.best.name} on frozen probes, too little "
                f"to matter, and answers in {self.chosen.cost.milliseconds:.1f} ms instead of "
                f"{self.best.cost.milliseconds:.1f}"
            )
        second = next(each for each in self.judged if each is not self.best)
        ahead = self.gain_over(second)
        return (
            f"{self.chosen.name} has the best frozen probe, {100 * ahead.value:+.1f} points [{100 * ahead.low:+.1f}, "
            f"{100 * ahead.high:+.1f}] from {second.name}"
        )

    def summary(self) -> list[dict[str, Any]]:
        """A row a backbone, for reports/backbone.json."""
        return [
            {
                "backbone": each.name,
                "accuracy": round(each.score.accuracy, 4),
                "sigma": round(each.score.sigma, 4),
                "depths": each.depths,
                "milliseconds": round(each.cost.milliseconds, 3),
                "megabytes": round(each.cost.megabytes, 3),
                "chosen_minus_this": {name: round(value, 4) for name, value in self.gain_over(each)._asdict().items()},
            }
            for each in self.judged
        ]


def read_choice(root: Path, kind: str) -> dict[str, Any] | None:
    """reports/backbone.json of a project whose source backbone is of this kind; None where nothing was chosen."""
    report, chosen = root / REPORT, root / CHOSEN
    if not (report.is_file() and chosen.is_file()):
        return None
    if json.loads(chosen.read_text(encoding="utf-8"))["backbone"]["kind"] != kind:
        return None  # left from other params
    return dict(json.loads(report.read_text(encoding="utf-8")))


def choose(judged: Sequence[Judged]) -> Choice:
    """The best score; of those within half a point of it, the one that answers fastest, as the advice on strategies."""
    order = sorted(judged, key=lambda each: (-each.score.accuracy, each.cost.milliseconds, each.name))
    best = order[0]
    near = [each for each in order if best.score.accuracy - each.score.accuracy <= INDIFFERENT]
    return Choice(min(near, key=lambda each: (each.cost.milliseconds, each.name)), best, tuple(order))


def within(costs: dict[str, Cost], milliseconds: float | None, megabytes: float | None) -> list[str]:
    """The names of those within the budget.

    Raises:
        ConfigError: None is; it names the nearest, and what it costs.
    """
    fit = [name for name, cost in costs.items() if cost.over(milliseconds, megabytes) <= 1]
    if fit:
        return fit
    nearest = min(costs, key=lambda name: (costs[name].over(milliseconds, megabytes), name))
    cost = costs[nearest]
    given = ((milliseconds, "ms"), (megabytes, "MB"))
    limits = [f"{limit:g} {unit}" for limit, unit in given if limit is not None]
    raise ConfigError(
        f"backbone.budget: no backbone is within {' and '.join(limits)}; the nearest of {len(costs)} is {nearest}, "
        f"with {cost.milliseconds:.1f} ms an image here and {cost.megabytes:.1f} MB: raise the budget, or add smaller "
        "ones to backbone.among"
    )
