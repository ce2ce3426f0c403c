"""compare: choose the champion on validation, write the comparison, and make sure that MLflow has every run."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tlpipe.config import PARAMS, ConfigError, load, read
from tlpipe.csv_files import write_rows
from tlpipe.evaluate.compare import EVALUATION, FINETUNED, TRAINING, Compare, Result, compare, read_result
from tlpipe.evaluate.tables import write_json
from tlpipe.metric_facts import facts
from tlpipe.tracking import (
    PARENT_KEY,
    RunPayload,
    Tracking,
    code_tags,
    dvc_tags,
    ensure_runs,
    hardware_tags,
    link_runs,
    registry_said,
    source_tags,
    why_not,
)
from tlpipe.tracking.journal import EVIDENCE
from tlpipe.tracking.outbox import RUNS, project
from tlpipe.wording import baseline_ahead

SECTIONS = ("task", "data", "backbone", "runtime", "head", "training")
"""What of params.yaml a run shows besides its own strategy."""
SPREAD = ("validation_mean", "validation_deviation", "test_mean", "test_deviation", "test_mean_low", "test_mean_high")
"""Columns of comparison.csv over all seeds, with the interval of the mean; a deviation is empty where there is one."""
FIGURES = ("confusion.png", "reliability.png", "mistakes.png", "per_class.csv", "metrics.json", "intervals.json")


def main(root: Path = Path()) -> int:
    """Write models/champion/ and reports/comparison.{json,csv}; exit code 0, or 2 after a message."""
    try:
        names: tuple[str, ...] = load("strategies", tuple[str, ...], root / PARAMS)
        spec: Compare = load("compare", Compare, root / PARAMS)
        tracking: Tracking = load("tracking", Tracking, root / PARAMS)
        results = [read_result(root, name) for name in names]
        comparison = compare(results, spec)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    for name, run_id in publish(results, comparison, tracking, root).items():
        comparison["strategies"][name]["mlflow_run_id"] = run_id
    _crown(root, comparison["champion"])
    write_json(root / "reports/comparison.json", comparison)
    _write_csv(root / "reports/comparison.csv", comparison)
    print(summary(comparison))
    return 0


def publish(
    results: Sequence[Result], comparison: dict[str, Any], tracking: Tracking, root: Path
) -> dict[str, str | None]:
    """MLflow's run id of every strategy, None where MLflow has none; whatever goes wrong here is only said."""
    if not tracking.enabled:
        return {}
    try:
        above, outbox = parent(results, comparison, root), project(root) / RUNS
        best = next(result for result in results if result.name == comparison["champion"])
        claim = _claim(best, comparison, tracking, root)
        with TemporaryDirectory() as folder:
            evidence = Path(folder) / Path(EVIDENCE).name
            best.trainings[0].of("validation").save(evidence)
            payloads = [above, *(payload(result, comparison, above.run_key, root) for result in results)]
            if claim:
                at = 1 + results.index(best)
                files = [*payloads[at].artifacts, (evidence, str(Path(EVIDENCE).parent))]
                payloads[at] = replace(payloads[at], champion=claim, artifacts=files)
            ids = ensure_runs(payloads, tracking.experiment, tracking.wait, outbox)
        link_runs(payloads, ids, tracking.experiment, tracking.wait, outbox)
        for reason, names in why_not({each.run_key: each.name for each in payloads}, outbox).items():
            print(f"tracking: MLflow does not have {', '.join(names)}: {reason}", file=sys.stderr)
        said = tracking.kept_from_registry() or registry_said(best.about.run_key, outbox)
        print(f"registry: {said or 'not asked yet; it will be with the run'}")
        return {result.name: ids[result.about.run_key] for result in results}
    except Exception as error:
        print(f"tracking: nothing was published ({type(error).__name__}: {error})", file=sys.stderr)
        return {}


def _claim(result: Result, comparison: dict[str, Any], tracking: Tracking, root: Path) -> dict[str, Any]:
    """What the registry hears of the champion; nothing of the others, or where the samples' hash is not known."""
    data, metric = _findings(root), comparison["metric"]
    if result.name != comparison["champion"] or "sets" not in data or tracking.kept_from_registry():
        return {}
    held = any(data.get("counts", {}).get("validation", {}).values())
    return {
        "evidence": data["sets"]["validation" if held else "train"],  # out of fold where nothing is held out
        "metric": metric,
        "value": result.metrics["validation"][metric],
        "higher_is_better": facts()[metric].higher_is_better,
        "kind": result.about.kind,
    }


def parent(results: Sequence[Result], comparison: dict[str, Any], root: Path) -> RunPayload:
    """The comparison, as the run below which MLflow shows the strategies: the champion's figures, and all costs."""
    best = next(result for result in results if result.name == comparison["champion"])
    keys = sorted(result.about.run_key for result in results)
    raw, metric = read(root / PARAMS), comparison["metric"]
    costs = {f"seconds/{result.name}": result.seconds for result in results}
    scores = {
        f"{metric}/{result.name}": result.metrics["test"][metric]
        for result in results
        if metric in result.metrics["test"]
    }
    return RunPayload(
        run_key=hashlib.sha256(json.dumps(["comparison", *keys]).encode()).hexdigest()[:32],
        name="comparison",
        params={"strategies": [result.name for result in results], "compare": raw.get("compare", {})},
        summary={**_figures(best), **scores, **costs},
        tags={**code_tags(root), **source_tags("compare"), "champion": best.name},
        dataset=_dataset(root, raw),
        seconds=sum(result.seconds for result in results),
    )


def payload(result: Result, comparison: dict[str, Any], parent_key: str, root: Path) -> RunPayload:
    """All that MLflow shows of one strategy, below the comparison's run."""
    training, evaluation = root / TRAINING / result.name, root / EVALUATION / result.name
    history, raw = training / "history.csv", read(root / PARAMS)
    params = {name: raw[name] for name in SECTIONS if name in raw}
    timing = json.loads((training / "timing.json").read_text(encoding="utf-8"))
    return RunPayload(
        run_key=result.about.run_key,
        name=result.name,
        params={**params, "strategy": raw.get("finetune", {}).get(result.name, {})},
        history=history if history.is_file() else None,
        plan=json.loads((training / "plan.json").read_text(encoding="utf-8")),
        summary=_figures(result),
        tags={
            **code_tags(root),
            **source_tags(f"finetune@{result.name}"),
            **dvc_tags((Path("data/packed"), Path("models/source"), FINETUNED / result.name), root / "dvc.lock"),
            **hardware_tags(timing.get("device", ""), timing.get("precision", "")),
            "champion": "yes" if result.name == comparison["champion"] else "no",
            **(result.about.ending.tags() if result.about.ending else {}),
            PARENT_KEY: parent_key,
        },
        dataset=_dataset(root, raw),
        artifacts=[(evaluation / name, "evaluation") for name in FIGURES],
        model=root / FINETUNED / result.name,
        seconds=float(timing["seconds"]),
    )


def _figures(result: Result) -> dict[str, float]:
    scores = {f"{split}/{name}": value for split, values in result.metrics.items() for name, value in values.items()}
    bounds = {
        f"test/{name}_{end}": interval[end]
        for name, interval in result.intervals["test"].items()
        for end in ("low", "high")
    }
    about = result.about
    parameters = {"parameters/trainable": about.trainable_parameters, "parameters/total": about.total_parameters}
    seeds = {
        f"seeds/{split}_{name}_{what}": each[what]
        for split, metrics in result.seeds.items()
        for name, each in metrics.items()
        for what in ("mean", "deviation", "low", "high")
        if each["deviation"] is not None and each[what] is not None
    }
    ending = {"ending/alpha": about.ending.alpha} if about.ending and about.ending.alpha is not None else {}
    if about.ending and about.ending.soup:
        ending["ending/soup_members"] = len(about.ending.soup)
    return {**scores, **bounds, **parameters, **seeds, **ending, "seconds_with_head": result.seconds}


def _dataset(root: Path, raw: dict[str, Any]) -> tuple[str, str, str] | None:
    data = _findings(root)
    if "fingerprint" not in data:
        return None
    source = raw.get("data", {}).get("source", {})
    place = str(source.get("path", source.get("kind", "data")))
    return Path(place).name or place, data["fingerprint"], place


def _findings(root: Path) -> dict[str, Any]:
    """What prepare found, or nothing where it has not run."""
    path = root / "reports/data.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _crown(root: Path, champion: str) -> None:
    """models/champion/: the winner's model folder, and its figures for whoever gets only the model."""
    folder = root / "models/champion"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / FINETUNED / champion, folder)
    for name in ("metrics.json", "intervals.json"):
        shutil.copyfile(root / EVALUATION / champion / name, folder / name)


def _write_csv(path: Path, comparison: dict[str, Any]) -> None:
    first = ("strategy", "validation", "test", "low", "high", "seconds", "trainable_parameters")
    write_rows(path, (*first, *SPREAD, "kept_start"), _csv_lines(comparison))


def _csv_lines(comparison: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    metric = comparison["metric"]
    for name, entry in comparison["strategies"].items():
        test = entry["test"].get(metric, {"value": "", "low": "", "high": ""})
        figures = (test["value"], test["low"], test["high"], entry["seconds"], entry["trainable_parameters"])
        seeds = {split: entry["seeds"][split].get(metric, {}) for split in ("validation", "test")}
        spread = [each.get(what) for each in seeds.values() for what in ("mean", "deviation")]
        spread += [seeds["test"].get(what) for what in ("low", "high")]
        kept = {True: "yes", False: "no", None: ""}[entry["kept_start"]]
        yield name, entry["validation"][metric], *figures, *spread, kept


def summary(comparison: dict[str, Any]) -> str:
    """One line a strategy, the champion marked; before them, where it is so, that no network was needed."""
    metric, lines = comparison["metric"], baseline_ahead(comparison)
    for name, entry in comparison["strategies"].items():
        test = entry["test"].get(metric)
        said = f"{test['value']:.4f} [{test['low']:.4f}, {test['high']:.4f}]" if test else "does not apply"
        mark = "*" if name == comparison["champion"] else "~" if name in comparison["too_close_to_call"] else " "
        validation = f"validation {entry['validation'][metric]:.4f}"
        ended = "; ended where it started" if entry["kept_start"] else ""
        lines.append(f"{mark} {name}: {metric} {validation}, test {said}{_repeated(entry, metric)}{ended}")
    return "\n".join([*lines, "* champion   ~ too close to the champion to call"])


def _repeated(entry: dict[str, Any], metric: str) -> str:
    """What the ranking went by, where there is more than one seed; the figures before it are the first seed's."""
    found = {split: entry["seeds"][split].get(metric) for split in ("validation", "test")}
    said = [
        f"{split} {each['mean']:.4f} ± {each['deviation']:.4f} [{each['low']:.4f}, {each['high']:.4f}]"
        for split, each in found.items()
        if each and each["deviation"] is not None
    ]
    count = len(entry["seeds"]["validation"][metric]["values"])
    return f"; mean ± standard deviation of {count} seeds [95 % of the mean]: {', '.join(said)}" if said else ""
