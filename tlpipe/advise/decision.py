"""What `auto` is to train: the advice without clocks and figures, so that nothing retrains when only they change."""

import json
from collections.abc import Sequence
from pathlib import Path

from tlpipe.config import ConfigError, Spec, parse
from tlpipe.strategies import AnyStrategy


class Contender(Spec):
    """One strategy that `auto` may turn out to be."""

    name: str
    epochs: int
    """After which it is judged; 0 = it does not race: nothing trains in it, or in no other one."""
    predicted: float
    """Score that the advice expects of it: an accuracy, or another share (`tlpipe.advise.scores`)."""
    spread: float
    """Standard deviation of that, as far as it tells contenders apart."""
    strategy: AnyStrategy

    def judged(self, accuracy: float, samples: int) -> float:
        """What to believe after `accuracy` was seen on so many validation examples: both, weighted by their precision.

        Twenty samples must not overrule what is known of the data; a thousand may.
        """
        return weighed(self.predicted, self.spread, accuracy, samples)


def weighed(predicted: float, spread: float, accuracy: float, samples: int) -> float:
    """The mean of two normal estimates of one share; the seen one's variance is Laplace's, so never 0."""
    share = (accuracy * samples + 1) / (samples + 2)
    known, seen = 1 / max(spread, 1e-3) ** 2, samples / (share * (1 - share))
    return (known * predicted + seen * accuracy) / (known + seen)


def typical(accuracies: Sequence[float]) -> float:
    """The mean over the second half of a training's epochs.

    The best of many epochs on few samples is mostly luck, and a strategy without epochs has no share in it.
    """
    later = accuracies[len(accuracies) // 2 :]
    return sum(later) / len(later)


class Decision(Spec):
    """`data/advice/<strategy>.json`; no contenders for a strategy that needs no advice."""

    contenders: tuple[Contender, ...]
    """The recommended one alone, or the tied ones, the best first."""

    def write(self, path: Path) -> None:
        """Equal decisions, equal bytes."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Decision":
        """Raises ConfigError where the advise stage has not been."""
        if not path.is_file():
            raise ConfigError(f"{path} does not exist; the advise stage writes it: run `dvc repro`")
        decision: Decision = parse(json.loads(path.read_text(encoding="utf-8")), cls, str(path))
        return decision
