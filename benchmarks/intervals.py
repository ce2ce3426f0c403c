"""Coverage of tlpipe's 95 % intervals, by exact sums and by simulation: `python -m benchmarks.intervals`.

Writes benchmarks/results/intervals.json, and intervals.md beside it, which docs/intervals.md quotes. About two minutes
on one core. Everything is drawn from fixed seeds; nothing is trained.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import binom

from benchmarks.report.provenance import stamp
from tlpipe.entities import ENTITY_METRICS, added
from tlpipe.evaluate.judged import difference
from tlpipe.evaluate.predictions import Predictions
from tlpipe.intervals import Design, Interval, lost_at_most, mid_p, of_percentiles, of_share
from tlpipe.metrics import METRICS, measure
from tlpipe.sums import draw_sums, measure_sums

OUT = Path(__file__).parent / "results"
SIZES = (10, 20, 50, 100, 300)
SHARES = np.linspace(0.5, 0.995, 100)
TRIALS, RESAMPLES = 300, 200
METRICS_DRAWN = ("balanced_accuracy", "macro_f1", "auroc", "log_loss", "brier")
Bounds = tuple[float, float]
Row = dict[str, Any]


def wilson(share: float, size: float) -> Bounds:
    """Score interval (Wilson 1927)."""
    z = 1.96
    middle, reach = share + z * z / 2 / size, z * (share * (1 - share) / size + (z / 2 / size) ** 2) ** 0.5
    return (middle - reach) / (1 + z * z / size), (middle + reach) / (1 + z * z / size)


def clopper_pearson(share: float, size: float) -> Bounds:
    """Exact interval (Clopper & Pearson 1934)."""
    return _beta(share * size, share * size + 1, size, 0.0)


def jeffreys(share: float, size: float) -> Bounds:
    """Quantiles of the posterior under Jeffreys' prior, to the edge where all or none are right."""
    return _beta(share * size + 0.5, share * size + 0.5, size, 0.5)


def _beta(low: float, high: float, size: float, prior: float) -> Bounds:
    hits = low - prior
    total = size + 1
    first = float(betaincinv(low, total - low, 0.025)) if hits > 1e-9 else 0.0
    last = float(betaincinv(high, total - high, 0.975)) if hits < size - 1e-9 else 1.0
    return first, last


def percentile(share: float, size: float) -> Bounds:
    """Percentile bootstrap with resamples without end: the binomial's own quantiles."""
    low, high = (float(binom.ppf(tail, size, share)) / size if share else 0.0 for tail in (0.025, 0.975))
    return low, high


PROPORTIONS: dict[str, Callable[[float, float], Bounds]] = {
    "mid-P": mid_p,
    "Wilson": wilson,
    "Clopper-Pearson": clopper_pearson,
    "Jeffreys": jeffreys,
    "percentile bootstrap": percentile,
}


def proportions() -> Iterator[Row]:
    """Exact coverage over SHARES, and the mean width, of each method at each size."""
    for name, method in PROPORTIONS.items():
        for size in SIZES:
            hits = np.arange(size + 1)[:, None]
            bounds = np.array([method(count / size, size) for count in range(size + 1)])
            chances = binom.pmf(hits, size, SHARES)
            inside = (bounds[:, :1] <= SHARES + 1e-12) & (bounds[:, 1:] >= SHARES - 1e-12)
            covered = (chances * inside).sum(0)
            width = (chances * (bounds[:, 1:] - bounds[:, :1])).sum(0)
            yield {
                "method": name, "n": size, "coverage": covered.mean(), "least": covered.min(), "width": width.mean(),
            }  # fmt: skip


def predictions(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], groups: Sequence[str] = ()
) -> Predictions:
    """Predictions of a test split."""
    size, names = len(labels), tuple(map(str, range(probabilities.shape[1])))
    return Predictions(
        names, np.arange(size), ("",) * size, ("test",) * size, labels, probabilities, groups=tuple(groups)
    )


def drawn(generator: np.random.Generator, size: int, prior: Sequence[float], skill: float) -> Predictions:
    """Made-up predictions: normal logits, and `skill` more for the true class."""
    labels = generator.choice(len(prior), size=size, p=prior)
    logits = generator.normal(size=(size, len(prior)))
    logits[np.arange(size), labels] += skill
    shares = np.exp(logits)
    return predictions(labels, shares / shares.sum(1, keepdims=True))


def percentiles_alone(judged: Predictions, name: str, value: float, seed: int) -> Interval | None:
    """What tlpipe had: percentiles of the plain bootstrap."""
    counts = np.random.default_rng(seed).multinomial(judged.size, np.full(judged.size, 1 / judged.size), RESAMPLES).T
    draws = METRICS[name].over(judged.labels, judged.probabilities, counts.astype(np.float64))
    valid = draws[np.isfinite(draws)]
    return Interval(value, *np.percentile(valid, [2.5, 97.5])) if len(valid) else None


def others() -> Iterator[Row]:
    """Coverage of the other metrics: tlpipe's interval, and the percentile bootstrap that it had."""
    for prior, skill in (((0.5, 0.5), 2.0), ((0.9, 0.1), 2.0), ((0.25,) * 4, 2.5), ((0.25,) * 4, 4.5)):
        truth = drawn(np.random.default_rng(9), 200_000, prior, skill).measure()
        for size in (20, 50, 200):
            generator = np.random.default_rng(1)
            samples = [drawn(generator, size, prior, skill) for _ in range(TRIALS)]
            for name in METRICS_DRAWN:
                now, before = [], []
                for trial, judged in enumerate(samples):
                    value = measure(judged.labels, judged.probabilities).get(name)
                    if value is None:
                        continue
                    draws = judged.draw((name,), RESAMPLES, trial)[name]
                    make = of_share if METRICS[name].share else of_percentiles
                    now.append(make(value, draws, judged.design))
                    before.append(percentiles_alone(judged, name, value, trial))
                yield {
                    "metric": name, "classes": "/".join(f"{each:g}" for each in prior[:2]), "K": len(prior),
                    "accuracy": truth["accuracy"], "n": size,
                    **coverage(now, truth[name]), "before": coverage(before, truth[name])["coverage"],
                }  # fmt: skip


def entities() -> Iterator[Row]:
    """Coverage of entity F1 over sentences, of which each has one or two entities or none."""
    chosen = {"entity_f1": ENTITY_METRICS["entity_f1"]}
    for chance in (0.7, 0.9, 0.99):
        truth = measure_sums(_sentences(np.random.default_rng(9), 200_000, chance), chosen)["entity_f1"]
        for size in (20, 50, 200):
            generator, now, before = np.random.default_rng(5), [], []
            for trial in range(TRIALS):
                table = _sentences(generator, size, chance)
                value = measure_sums(table, chosen)["entity_f1"]
                kinds, *pair = added(table, ("B-x", "I-x", "O"))
                design = Design(np.arange(size), kinds)
                draws = draw_sums(table, chosen, (pair[0], pair[1]), design, RESAMPLES, trial)["entity_f1"]
                now.append(of_share(value, draws, design))
                plain = np.random.default_rng(trial).multinomial(size, np.full(size, 1 / size), RESAMPLES)
                alone = chosen["entity_f1"].of((plain @ table).T)
                before.append(Interval(value, *np.percentile(alone, [2.5, 97.5])))
            yield {
                "F1": truth,
                "sentences": size,
                **coverage(now, truth),
                "before": coverage(before, truth)["coverage"],
            }


def _sentences(generator: np.random.Generator, size: int, chance: float) -> NDArray[np.float64]:
    """Columns of sentences (S, 8): entities of one type, right with a chance, and every other miss an invention."""
    true = generator.poisson(1.0, size)
    right = generator.binomial(true, chance)
    told = right + generator.binomial(true - right, 0.5)
    rest = (right, told, np.full(size, 10), np.full(size, 9), np.zeros(size))
    return np.stack([right, told, true, *rest], axis=1).astype(np.float64)


def coverage(found: Sequence[Interval | None], truth: float) -> dict[str, float]:
    """Share of the intervals that hold the truth, and their mean width."""
    some = [each for each in found if each is not None]
    return {
        "coverage": float(np.mean([each.low <= truth <= each.high for each in some])),
        "width": float(np.mean([each.high - each.low for each in some])),
    }


def grouped() -> Iterator[Row]:
    """Coverage of accuracy where samples come in groups with an intra-class correlation, with and without them."""
    for groups, size in ((20, 15), (10, 10), (50, 5)):
        names = [str(index // size) for index in range(groups * size)]
        for correlation in (0.0, 0.1, 0.3):
            for share in (0.8, 0.9, 0.95):
                generator = np.random.default_rng(2)
                now, blind = [], []
                for trial in range(TRIALS):
                    chances = _chances(generator, groups, correlation, share).repeat(size)
                    right = generator.random(groups * size) < chances
                    judged = predictions(np.zeros(len(right), int), np.where(right[:, None], [1.0, 0], [0, 1.0]), names)
                    draws = judged.draw(("accuracy",), RESAMPLES, trial)["accuracy"]
                    now.append(of_share(right.mean(), draws, judged.design))
                    blind.append(Interval(right.mean(), *mid_p(right.mean(), len(right))))
                yield {
                    "groups": groups, "each": size, "correlation": correlation, "accuracy": share,
                    **coverage(now, share), "without groups": coverage(blind, share)["coverage"],
                }  # fmt: skip


def _chances(generator: np.random.Generator, groups: int, correlation: float, share: float) -> NDArray[np.float64]:
    if not correlation:
        return np.full(groups, share)
    certain = (1 - correlation) / correlation
    return generator.beta(share * certain, (1 - share) * certain, groups)


def pairs() -> Iterator[Row]:
    """How often the paired difference of two equally good models is called, with and without groups."""
    for size, groups in ((20, 0), (50, 0), (200, 0), (300, 20)):
        for worse in (0.03, 0.15):
            generator, calls, missed = np.random.default_rng(3), 0, 0
            names = [str(index * groups // size) for index in range(size)] if groups else []
            for trial in range(TRIALS):
                first, second = (_paired(generator, size, groups, worse, names) for _ in range(2))
                found = difference([first], [second], "accuracy", RESAMPLES, trial)
                calls, missed = calls + (found.low > 0), missed + (found.high < 0)
            yield {"n": size, "groups": groups, "errors": worse, "called": (calls + missed) / TRIALS}


def _paired(generator: np.random.Generator, size: int, groups: int, worse: float, names: Sequence[str]) -> Predictions:
    chance = _chances(generator, groups, 0.2, 1 - worse).repeat(size // groups) if groups else np.full(size, 1 - worse)
    right = generator.random(size) < chance
    return predictions(np.zeros(size, int), np.where(right[:, None], [1.0, 0], [0, 1.0]), names)


def gate() -> Iterator[Row]:
    """How often a variant passes that loses `loss` (`worse` - `better`), where 0.02 may be lost: exact sums."""
    for size in (8, 20, 50, 150, 300, 1000, 3000):
        for worse, better in ((0.05, 0.0), (0.02, 0.0), (0.002, 0.0), (0.01, 0.01)):
            yield {
                "n": size, "worse": worse, "better": better, "loss": worse - better,
                "passes": passes(size, worse, better, 0.02),
            }  # fmt: skip


def passes(size: int, worse: float, better: float, allowed: float) -> float:
    """Chance that the bound of the loss is not above `allowed`: over 2,000 draws of the discordant pairs."""
    draws = np.random.default_rng(4).multinomial(size, [worse, better, 1 - worse - better], 2000)
    pairs, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    bounds = np.array([lost_at_most(float(lost), float(won), size)[1] for lost, won in pairs])
    return float(times[bounds <= allowed].sum() / 2000)


TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "Proportions (exact; over shares of 0.5 to 0.995)": proportions,
    "Other metrics": others,
    "Entity F1": entities,
    "Accuracy of samples in groups": grouped,
    "Two equally good models, called different": pairs,
    "The gate of variants, 0.02 allowed": gate,
}


def markdown(title: str, rows: Sequence[Row]) -> str:
    """One table."""
    heads = list(rows[0])
    lines = [f"### {title}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure everything and write both files."""
    found = {title: list(make()) for title, make in TABLES.items()}
    rounded = {
        title: [{key: round(float(v), 4) if isinstance(v, float) else v for key, v in row.items()} for row in rows]
        for title, rows in found.items()
    }
    OUT.mkdir(exist_ok=True)
    (OUT / "intervals.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    stamp(OUT / "intervals.json", "python -m benchmarks.intervals", "independent of the machine")
    pages = [markdown(title, rows) for title, rows in found.items()]
    (OUT / "intervals.md").write_text("\n".join(pages), encoding="utf-8")
    print("\n".join(pages))


if __name__ == "__main__":
    main()
