"""Read what the stages wrote and arrange it for the template."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlpipe.bundle import Bundle, read_bundle
from tlpipe.config import ConfigError
from tlpipe.evaluate.judged import predictions_of
from tlpipe.report.advice import advice_facts
from tlpipe.report.errors import Errors, rows
from tlpipe.report.figures import caption, comparison_figure, curves_figure, inline_svg
from tlpipe.report.text import listing
from tlpipe.strategies.counting import by_phase, most_trained
from tlpipe.strategies.ending import Ending
from tlpipe.tasks import facet
from tlpipe.train.trained import load_trained

BASELINES = Path("reports/baseline.json")
REASONS_SHOWN = 12
"""Rejected samples that the report names; the rest is in reports/data.json."""


def collect(root: Path) -> dict[str, Any]:
    """Everything that the template needs, from the project's folder.

    Raises:
        ConfigError: a file that an earlier stage writes is missing.
    """
    comparison = read_json(root / "reports/comparison.json")
    metric, names = comparison["metric"], list(comparison["strategies"])
    champion, proof = comparison["champion"], bundle_proof(root)
    task = read_json(root / "models/champion/model.json")
    kind = load_trained(root / "models/champion").kind
    load = predictions_of(kind).load
    evaluated = {name: load(root / "reports/evaluation" / name / "predictions.csv") for name in names}
    tests, data = {name: each.of("test") for name, each in evaluated.items()}, read_json(root / "reports/data.json")
    errors: Errors = facet(kind, "report:ERRORS")
    trained = comparison["strategies"].values()
    seeds = max(len(each["seeds"]["validation"][metric]["values"]) for each in trained)
    return {
        "comparison": comparison,
        "champion": {"name": champion, **comparison["strategies"][champion]},
        "metric": metric,
        "baselines": read_json(root / BASELINES) if facet(kind, "evaluation:BASELINES") else {},
        "seeds": seeds,
        "metrics": list(dict.fromkeys(name for each in trained for name in each["test"])),
        "task": task,
        "overview": inline_svg(comparison_figure(comparison, metric), caption(metric, seeds)),
        "overview_caption": caption(metric, seeds),
        "strategies": [_strategy(root, name) for name in names],
        "test_samples": tests[champion].size,
        "grouped": not tests[champion].design.independent,
        "validation_samples": evaluated[champion].of("validation").size,
        "held_out": "out-of-fold" if task.get("folds") else "validation",
        "errors": errors.facts(root, champion, tests),
        "errors_template": errors.template,
        "errors_note": errors.note,
        "data": data_findings(data),
        "advice": advice_facts(root, comparison, kind),
        **proof,
    }


def read_json(path: Path) -> Any:
    """A JSON file; ConfigError when an earlier stage has not written it."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run `dvc repro` to make it")
    return json.loads(path.read_text(encoding="utf-8"))


def _strategy(root: Path, name: str) -> dict[str, Any]:
    training = root / "reports/training" / name
    history = rows(training / "history.csv") if (training / "history.csv").is_file() else []
    plan = read_json(training / "plan.json")
    about = read_json(root / "models/finetuned" / name / "model.json")
    ending = Ending.model_validate_json(json.dumps(about["ending"])) if about.get("ending") else None
    staged = bool(plan["phases"])
    return {
        "name": name,
        "ending": ending.describe() if ending else [],
        "plan": plan,
        "matrix": plan_matrix(plan),
        "epochs": len(history) if staged else 0,
        "timing": (timing := read_json(training / "timing.json")),
        "stuck": [each["text"] for each in timing.get("stuck", ())],
        "race": listing([_lap(each) for each in timing.get("race", ())]),
        "curves": inline_svg(curves_figure(history, staged), f"learning curves of {name}") if history else None,
    }


def _lap(lap: Mapping[str, Any]) -> str:
    """What a contender of a race reached on validation."""
    after = f"after {lap['epochs']} epochs" if lap["epochs"] else "as it starts"
    return f"{lap['strategy']} reached {lap['accuracy']:.3f} {after}"


def plan_matrix(account: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's rows (one a phase and group) as a matrix, phases across and groups down, with the totals of each."""
    phases = by_phase(account["rows"])
    trained = most_trained(phases)
    groups = zip(trained, zip(*phases, strict=True), strict=True)
    return {
        "phases": [{**total, "adapt": _adapt(rows)} for total, rows in zip(account["totals"], phases, strict=True)],
        "groups": [{"trainable": most, "rows": rows, "weight_decay": _decay(rows)} for most, rows in groups],
        "trained": sum(trained),
    }


def _adapt(rows: Sequence[Mapping[str, Any]]) -> str:
    """What moves in the backbone's groups; where none trains, the head moves whole."""
    return next((row["adapt"] for row in rows if row["trainable"]), "all")


def _decay(rows: Sequence[Mapping[str, Any]]) -> float | None:
    return max((row["weight_decay"] for row in rows if row["weight_decay"] is not None), default=None)


def data_findings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Counts a class and split with totals, the rejected by reason, and examples of them."""
    splits, rejected = list(data["counts"]), data["rejected"]
    classes = [
        {"name": name, "counts": [data["counts"][split].get(name, 0) for split in splits]} for name in data["classes"]
    ]
    return {
        "splits": splits,
        "classes": classes,
        "totals": [sum(data["counts"][split].values()) for split in splits],
        "reasons": Counter(each["reason"].split(":")[0] for each in rejected).most_common(),
        "rejected": rejected[:REASONS_SHOWN],
        "rejected_total": len(rejected),
        "found": data.get("found"),
        "left_aside": sum(data.get("left_aside", {}).values()),
        "ignored": len(data.get("ignored", ())),
        "imbalance": data.get("imbalance"),
        "notes": data.get("notes", ()),
        "terms": data.get("terms", ""),
        "images": data.get("images"),
        "texts": data.get("texts"),
        "questions": data.get("questions"),
        "tags": data.get("tags"),
        "entities": [
            {"name": name, "counts": [data["entities"][split][name] for split in splits]}
            for name in data.get("entities", {}).get("train", ())
        ],
        "duplicates": {name: _amount(found) for name, found in data.get("duplicates", {}).items()},
    }


def _amount(found: Any) -> Any:
    return len(found) if isinstance(found, (list, dict)) else found


def bundle_proof(root: Path) -> dict[str, Any]:
    """The verified bundle, its size and the gate's cases; `bundle` is None when none was exported."""
    folder = root / "models/bundle"
    if not folder.is_dir():
        return {"bundle": None}
    bundle: Bundle = read_bundle(folder)
    size = sum((folder / name).stat().st_size for name in bundle.sha256)
    return {"bundle": bundle, "bundle_size": size, "passed": not any(case.problems() for case in bundle.parity)}
