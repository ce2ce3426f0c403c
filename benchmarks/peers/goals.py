"""The scenarios, the goals that issue 3 sets for them, and the table."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.peers.job import Phase

PEERS = ("fastai", "timm", "hf_trainer", "lightning", "plain")
SCENARIOS = {
    "head": "Head only, extraction included",
    "staged": "Staged fine-tune: head, top, all layers",
    "all": "All layers, epoch for epoch",
    "five": "Five strategies compared, against one fine_tune",
}
ONLY = {"five": ("tlpipe", "fastai")}
"""Sides of a scenario that is not for all of them."""
FULL = {
    "head": (Phase("head", 10),),
    "staged": (Phase("head", 3), Phase("top", 5), Phase("all", 5)),
    "all": (Phase("all", 5),),
    "five": (Phase("head", 1), Phase("all", 5)),
}
QUICK = {
    "head": (Phase("head", 3),),
    "staged": (Phase("head", 1), Phase("top", 1), Phase("all", 1)),
    "all": (Phase("all", 1),),
    "five": (Phase("head", 1), Phase("all", 1)),
}
"""`five` is `Learner.fine_tune` on the peer's side; of tlpipe's strategies each gets the last phase's epochs."""
GOALS: dict[tuple[str, str], float] = {
    ("head", "fastai"): 1 / 20,
    ("staged", "fastai"): 1 / 2,
    ("staged", "lightning"): 1 / 2,
    ("staged", "plain"): 1 / 1.5,
    **{("all", peer): 1 / 1.3 for peer in PEERS},
    ("five", "fastai"): 1.5,
}
"""Largest ratio of tlpipe's seconds to the peer's, at equal or better accuracy; for the full number of epochs."""
COLUMNS = (
    "scenario", "side", "seconds (each round)", "validation", "held out", "peak MiB (anonymous)", "tlpipe / side",
    "goal", "met",
)  # fmt: skip

Runs = Sequence[Mapping[str, Any]]


def table(results: Mapping[str, Mapping[str, Runs]], failed: Mapping[str, str], scored: bool) -> str:
    """Markdown: one line a scenario and side.

    Args:
        results: {scenario: {side: runs}}, medians are taken over the runs; a side without runs failed.
        failed: {side: why it has no numbers}.
        scored: Whether the accuracies mean anything; if not, a goal is met by its time alone.
    """
    lines = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    for scenario, sides in results.items():
        for side, runs in sides.items():
            own = sides.get("tlpipe", [])
            lines.append(_line(scenario, side, runs, own, scored) if runs else _gap(scenario, side, failed))
    notes = [f"- {side} failed: {_short(why)}" for side, why in failed.items()]
    return "\n".join([*lines, "", *notes] if notes else lines)


def median(runs: Runs, field: str) -> float:
    """Of one number over the rounds."""
    return statistics.median(float(run[field]) for run in runs)


def verdict(scenario: str, side: str, runs: Runs, own: Runs, scored: bool) -> dict[str, Any]:
    """{"ratio", "goal", "met", "why"} of tlpipe against one side; goal and met are None where the issue sets none."""
    goal = GOALS.get((scenario, side))
    if not own or not runs:
        return {"ratio": None, "goal": goal, "met": None if goal is None else False, "why": "not measured"}
    ratio = median(own, "seconds") / median(runs, "seconds")
    if goal is None:
        return {"ratio": ratio, "goal": None, "met": None, "why": ""}
    slow, worse = ratio > goal, scored and median(own, "test") < median(runs, "test")
    reasons = [text for text, holds in (("time", slow), ("held-out accuracy", worse)) if holds]
    return {"ratio": ratio, "goal": goal, "met": not reasons, "why": ", ".join(reasons)}


def _line(scenario: str, side: str, runs: Runs, own: Runs, scored: bool) -> str:
    each = ", ".join(f"{run['seconds']:.1f}" for run in runs)
    accuracies = [f"{median(runs, split):.3f}" if scored else "-" for split in ("validation", "test")]
    memory = f"{median(runs, 'memory') / 2**20:.0f} ({median(runs, 'memory_anonymous') / 2**20:.0f})"
    cells = [scenario, side, f"{median(runs, 'seconds'):.1f} ({each})", *accuracies, memory]
    if side == "tlpipe":
        return _row([*cells, "1", "", ""])
    found = verdict(scenario, side, runs, own, scored)
    ratio = "-" if found["ratio"] is None else f"{found['ratio']:.3f}"
    goal = "" if found["goal"] is None else f"≤ {found['goal']:.3f}"
    met = "" if found["met"] is None else "yes" if found["met"] else f"no: {found['why']}"
    return _row([*cells, ratio, goal, met])


def _gap(scenario: str, side: str, failed: Mapping[str, str]) -> str:
    goal = GOALS.get((scenario, side))
    why = f"no numbers: {_short(failed.get(side, 'no run ended well'))}"
    return _row([scenario, side, why, *["-"] * 4, *([f"≤ {goal:.3f}", "no"] if goal else ["", ""])])


def _short(text: str) -> str:
    return " ".join(text.split())[-160:].replace("|", "/")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
