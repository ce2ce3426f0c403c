"""Comparison of strategies: the champion on held-out samples, who is too close to call, and what each costs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from tlpipe.config import ConfigError, Seed, Spec
from tlpipe.data.packed import Split
from tlpipe.evaluate.judged import Judged, difference, predictions_of
from tlpipe.evaluate.spec import Resamples
from tlpipe.evaluate.tables import SPREAD, predictions_file
from tlpipe.intervals import NORMAL, Interval
from tlpipe.metric_facts import facts
from tlpipe.train.trained import Trained, load_trained

if TYPE_CHECKING:
    MetricName = str
else:
    # fingerprints do not follow it: it is what params.yaml may say, and changes no result
    from tlpipe.metric_facts import MetricName

CHEAPER = 0.8
"""Share of another's parameters below which a strategy counts as cheaper to serve; heads differ by less."""
EVALUATION, TRAINING, FINETUNED = Path("reports/evaluation"), Path("reports/training"), Path("models/finetuned")


class Compare(Spec):
    """The choice of the champion."""

    metric: MetricName = "accuracy"
    """Ranks the strategies on the samples that they did not learn from (all labelled ones with `data.split.folds`, else
    the validation split), by the mean over `training.seeds` where there are several."""
    standard_errors: Annotated[float, Field(ge=0, le=10)] = 1.0
    """A strategy that is cheaper to serve than the best (under 0.8 of its parameters) is champion if it is no more than
    so many standard errors of the paired difference behind. Among strategies that cost the same to serve the best is.
    0 = the best in any case; equal ones by log loss, then by cost."""
    resamples: Resamples = 1000
    """Paired bootstrap resamples that tell which strategies are too close to the champion to call."""
    seed: Seed = 0
    """Seed of the resampling."""


@dataclass(frozen=True)
class Result:
    """What is known of one strategy."""

    name: str
    about: Trained
    trainings: tuple[Judged, ...]
    """What each training said, the first one's first: its model is the strategy's."""
    metrics: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, dict[str, float]]]
    seeds: dict[str, dict[str, dict[str, Any]]]
    """`tables.spread` over the trainings with other seeds, this one's included."""
    seconds: float
    """Training time: the strategy's own and, when it started there, the embedding's and the head's."""


def read_result(root: Path, name: str) -> Result:
    """Everything that the stages wrote about one strategy below `root`.

    Raises:
        ConfigError: a file is missing, which it names.
    """
    about = load_trained(root / FINETUNED / name)
    before = ("embed", "head") if about.plan.start == "head" else ()
    seconds = sum(_seconds(root, stage) for stage in (name, *before))
    evaluation = root / EVALUATION / name
    seeds, load = _json(evaluation / SPREAD, name), predictions_of(about.kind).load
    count = max(len(each["values"]) for each in seeds["validation"].values())
    return Result(
        name=name,
        about=about,
        trainings=tuple(load(evaluation / predictions_file(index)) for index in range(count)),
        metrics=_json(evaluation / "metrics.json", name),
        intervals=_json(evaluation / "intervals.json", name),
        seeds=seeds,
        seconds=seconds,
    )


def _seconds(root: Path, name: str) -> float:
    return float(_json(root / TRAINING / name / "timing.json", name)["seconds"])


def _json(path: Path, name: str) -> Any:
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: {name!r} was not trained and evaluated; run `dvc repro`, "
            "or take it out of `strategies` in params.yaml"
        )
    return json.loads(path.read_text(encoding="utf-8"))


def compare(results: Sequence[Result], spec: Compare) -> dict[str, Any]:
    """The content of comparison.json; every strategy's `mlflow_run_id` is None until somebody knows better.

    `differences` is champion minus strategy on validation, of the means over seeds that rank, with its paired 95 %
    interval; strategies over which the interval shows no gain are `too_close_to_call`. `test_differences` says the
    same of the test split, once, when all is decided. `baseline_ahead` is what that function returns. `kept_start` says
    of a strategy that trained whether it ended where it started (None: it has no training).

    Raises:
        ConfigError: nothing to compare, a metric that does not apply, or strategies evaluated on other samples.
    """
    _check(results, spec)
    leader, best, ahead = leading(results, spec), champion(results, spec), baseline_ahead(results, spec)
    others = [result for result in results if result is not best]
    differences = {result.name: _difference(best, result, spec, "validation") for result in others}
    tested = {result.name: _difference(best, result, spec, "test") for result in others}
    return {
        "champion": best.name,
        "best": leader.name,
        "standard_errors": spec.standard_errors,
        "metric": spec.metric,
        "baseline_ahead": ahead,
        "too_close_to_call": [name for name, each in differences.items() if not _better(each, spec)],
        "differences": {name: finite(each) for name, each in differences.items()},
        "test_differences": {name: finite(each) for name, each in tested.items()},
        "strategies": {result.name: _entry(result) for result in results},
    }


def baseline_ahead(results: Sequence[Result], spec: Compare) -> dict[str, Any] | None:
    """What has to be said first: a strategy without a network is the best on held-out samples.

    Returns:
        {"strategy", "network", "difference"}: its name, that of the best network, and how far the first is ahead with
        its paired 95 % interval; None where a network leads, or there is none.
    """
    best = leading(results, spec)
    networks = [result for result in results if result.about.plan.start != "texts"]
    if not networks or best in networks:
        return None
    network = leading(networks, spec)
    ahead = _difference(best, network, spec, "validation")
    return {"strategy": best.name, "network": network.name, "difference": finite(ahead)}


def champion(results: Sequence[Result], spec: Compare) -> Result:
    """The best of the strategies that are cheapest to serve, among those within `standard_errors` of the best.

    Source: the one-standard-error rule of Breiman et al. 1984, "Classification and regression trees", section 3.4.3,
    applied to the cost of serving. Trainings of one network cost the same to serve, and to prefer the one that was
    cheaper to train loses accuracy and saves nothing: `benchmarks/accuracy`. The champion's model is that of its first
    seed, which nobody chose.
    """
    best = leading(results, spec)
    if not spec.standard_errors:
        return best
    near = [result for result in results if result is best or _within(best, result, spec)]
    fewest = min(result.about.total_parameters for result in near)
    return leading([result for result in near if CHEAPER * result.about.total_parameters <= fewest], spec)


def _cost(result: Result) -> tuple[int, int]:
    return result.about.total_parameters, result.about.trainable_parameters


def _within(best: Result, other: Result, spec: Compare) -> bool:
    behind = _difference(best, other, spec, "validation")
    quantile = best.trainings[0].of("validation").design.critical if facts()[spec.metric].share else NORMAL
    error = (behind.high - behind.low) / (2 * quantile)
    return bool(np.isfinite(error)) and abs(behind.value) <= spec.standard_errors * error


def leading(results: Sequence[Result], spec: Compare) -> Result:
    """The best on held-out samples; equal ones by lower log loss, then by cost, then by name.

    With several seeds it is their mean that counts: the rule judges strategies, and the luckiest of several trainings
    is no property of one.
    """
    sign = -1 if facts()[spec.metric].higher_is_better else 1

    def key(result: Result) -> tuple[float, float, tuple[int, int], str]:
        means = {name: each["mean"] for name, each in result.seeds["validation"].items()}
        return sign * means[spec.metric], means.get("log_loss", 0.0), _cost(result), result.name

    return min(results, key=key)


def _better(difference: Interval, spec: Compare) -> bool:
    """Whether all of the interval lies on the champion's side."""
    return difference.low > 0 if facts()[spec.metric].higher_is_better else difference.high < 0


def _difference(best: Result, other: Result, spec: Compare, split: Split) -> Interval:
    first, second = ([each.of(split) for each in result.trainings] for result in (best, other))
    return difference(first, second, spec.metric, spec.resamples, spec.seed)


def _entry(result: Result) -> dict[str, Any]:
    return {
        "validation": result.metrics["validation"],
        "test": result.intervals["test"],
        "seeds": result.seeds,
        "seconds": result.seconds,
        "trainable_parameters": result.about.trainable_parameters,
        "total_parameters": result.about.total_parameters,
        "kept_start": result.about.ending.kept_start if result.about.ending else None,
        "mlflow_run_id": None,
    }


def finite(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON has it: None for a bound that is not known."""
    return {name: value if np.isfinite(value) else None for name, value in interval._asdict().items()}


def _check(results: Sequence[Result], spec: Compare) -> None:
    if not results:
        raise ConfigError("strategies is empty: list at least one strategy in params.yaml")
    for result in results:
        if spec.metric not in result.metrics["validation"]:
            raise ConfigError(
                f"compare.metric: {spec.metric} does not apply to {result.name}'s validation split (AUROC needs every "
                f"class there); choose one of {', '.join(result.metrics['validation'])}"
            )
        if not all(each.alike(results[0].trainings[0]) for each in result.trainings):
            raise ConfigError(
                f"{result.name} and {results[0].name} were evaluated on different samples; run `dvc repro` to evaluate "
                "every strategy on the data as it is now"
            )
