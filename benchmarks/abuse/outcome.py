"""What comes of odd input: it is taken, or refused in a sentence; all else is a fault. Bounded in time."""

import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tlpipe.config import ConfigError
from tlpipe.preprocess.decode import UnreadableImage

SECONDS, PATIENCE = 20, 120
"""Of the processor, and by the clock, that one case may take; a case that takes longer hangs."""
LONGEST = 20_000
"""Characters of a refusal."""


class Hanging(BaseException):
    """A case takes too long; no `except Exception` on the way may catch it."""


@dataclass
class Tally:
    """Outcomes by kind of case, and the cases that ended badly."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, str]] = field(default_factory=list)

    def add(self, case: str, outcome: str, detail: str = "") -> None:
        """Count one case; `taken` and `refused` are no faults."""
        self.outcomes[outcome] += 1
        if outcome not in ("taken", "refused"):
            self.faults.append({"case": case, "outcome": outcome, "detail": detail[-700:]})

    def summary(self) -> dict[str, Any]:
        """For the results file."""
        return {"cases": self.outcomes.total(), **dict(sorted(self.outcomes.items())), "faults": self.faults[:20]}


def attempt(tally: Tally, case: str, work: Callable[[], object]) -> None:
    """Do `work` and count what comes of it."""
    try:
        with within(SECONDS, PATIENCE):
            work()
    except (ConfigError, UnreadableImage, OSError) as refusal:
        long = len(str(refusal)) > LONGEST
        tally.add(case, "refusal too long" if long else "refused", str(refusal))
    except Hanging:
        tally.add(case, "hangs", traceback.format_exc())
    except Exception:
        tally.add(case, "traceback", traceback.format_exc())
    else:
        tally.add(case, "taken")


@contextmanager
def within(seconds: int, patience: int) -> Iterator[None]:
    """Raise Hanging in the block when it takes longer: on a busy machine only the processor's time tells."""

    def stop(number: int, frame: object) -> None:
        raise Hanging

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGALRM, signal.SIGPROF)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(patience)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before:
            signal.signal(number, handler)


def shares(count: int, workers: int) -> Sequence[range]:
    """The numbers of the cases of each worker."""
    return [range(start, count, workers) for start in range(workers)]


def quiet() -> None:
    """In a worker: what libraries say of odd input is not for the terminal."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
