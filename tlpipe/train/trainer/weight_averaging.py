"""How a training ends: a greedy soup of its last checkpoints, and interpolation towards its start.

Both are chosen on the validation split among weights that are there, so they cost forward passes and no training.
Buffers are averaged like weights, running statistics of batch norms too: what validation scores is then, bit for bit,
what is saved. The alternative, recomputing the statistics for each mixture, would cost a pass over the training split
for each of them; between checkpoints of one run, which lie in one basin (Neyshabur et al. 2020, arXiv 2008.11687), the
difference is small, and a mixture that suffers from it is not chosen. Counters are taken from the trained side.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlpipe.strategies.ending import Ending
from tlpipe.train.trainer.validation import CALIBRATED, lower_is_better

Weights = dict[str, Tensor]
Candidate = tuple[int, dict[str, float], Weights]
"""(epoch, its validation scores, its weights)."""
Score = Callable[[Weights], dict[str, float]]
ALPHAS = tuple(step / 10 for step in range(11))
"""Shares of the trained weights that are tried; 0 is the start, 1 the training's own end."""


def soup(candidates: Sequence[Candidate], score: Score, monitor: str) -> tuple[Weights, tuple[int, ...]]:
    """The greedy soup: from the best candidate on, each next one that does not make validation worse joins the mean.

    Source: Wortsman et al. 2022, arXiv 2203.05482, whose members are separate trainings; here they are one training's
    checkpoints. Of equally good candidates the later one comes first.
    """
    ranked = sorted(candidates, key=lambda each: (rank(each[1], monitor), each[0]), reverse=True)
    members = [ranked[0]]
    best, weights = rank(ranked[0][1], monitor), ranked[0][2]
    for candidate in ranked[1:]:
        mixed = average([each[2] for each in (*members, candidate)])
        found = rank(score(mixed), monitor)
        if found >= best:
            members.append(candidate)
            best, weights = found, mixed
    return weights, tuple(each[0] for each in members)


def wise_ft(start: Weights, trained: Weights, score: Score) -> tuple[Weights, Ending]:
    """The interpolation between two ends that has the lowest loss (Wortsman et al. 2022, arXiv 2109.01903).

    Of equally good ones the one nearest to the trained end. By the loss whatever is monitored, as the head's penalty
    is chosen: on twenty samples an accuracy moves in steps of five points (benchmarks/advisor/LOG.md has both).
    """
    tried = [{"alpha": alpha, **score(interpolate(start, trained, alpha))} for alpha in ALPHAS]
    best = max(tried, key=lambda each: (-each["loss"], each["alpha"]))
    return interpolate(start, trained, best["alpha"]), Ending(alpha=best["alpha"], tried=tuple(tried))


def rank(scores: dict[str, float], monitor: str) -> tuple[float, float]:
    """Larger is better: by `monitor` (its name in the scores), then by the loss: small splits have equal accuracies."""
    value = scores[monitor]
    return -value if lower_is_better(monitor) else value, -scores.get(CALIBRATED, scores["loss"])


def interpolate(start: Weights, trained: Weights, alpha: float) -> Weights:
    """The weights start + alpha * (trained - start), exact at both ends; counters from the trained side."""
    if alpha in (0.0, 1.0):
        return start if alpha == 0.0 else trained
    return {
        name: torch.lerp(start[name], value, alpha) if value.is_floating_point() else value
        for name, value in trained.items()
    }


def average(members: Sequence[Weights]) -> Weights:
    """The mean of equally shaped weights; counters from the first."""
    return {
        name: torch.stack([each[name] for each in members]).mean(0) if value.is_floating_point() else value
        for name, value in members[0].items()
    }


def finish(
    trained: Weights,
    candidates: Sequence[Candidate],
    start: Weights | None,
    score: Score,
    monitor: str,
) -> tuple[Weights, Ending]:
    """The soup of `candidates` where there are any, then the interpolation from `start` if it is asked for."""
    members = None
    if candidates:
        trained, members = soup(candidates, score, monitor)
    if start is None:
        return trained, Ending(soup=members)
    weights, ending = wise_ft(start, trained, score)
    return weights, ending.model_copy(update={"soup": members})


def verdict_on(scores: dict[str, float], best: dict[str, float], monitor: str) -> int:
    """1 = better, 0 = as good, -1 = worse than the best so far, by `monitor` alone.

    Of equally good epochs the trainer keeps the later one: a small validation split is soon all right, and by then the
    weights have seen more views and lower rates (worth zero to six points in the trials of benchmarks/LOG.md).
    """
    new, old = rank(scores, monitor)[0], rank(best, monitor)[0]
    return (new > old) - (new < old)
