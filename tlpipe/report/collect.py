"""Read what the stages wrote and arrange it for the template."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlpipe.bundle import Bundle, read_bundle
from tlpipe.config import ConfigError
from tlpipe.evaluate.judged import JUDGED
from tlpipe.report.advice import advice_facts
from tlpipe.report.errors import ERRORS, rows
from tlpipe.report.figures import caption, comparison_figure, curves_figure, inline_svg
from tlpipe.strategies.counting import risk
from tlpipe.strategies.ending import Ending

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
    load = JUDGED[task["preprocess"]["kind"]].load
    evaluated = {name: load(root / "reports/evaluation" / name / "predictions.csv") for name in names}
    tests, data = {name: each.of("test") for name, each in evaluated.items()}, read_json(root / "reports/data.json")
    errors = ERRORS[task["preprocess"]["kind"]]
    samples = sum(data["counts"]["train"].values())
    return {
        "comparison": comparison,
        "champion": {"name": champion, **comparison["strategies"][champion]},
        "metric": metric,
        "baselines": read_json(root / "reports/baseline.json"),
        "seeds": max(len(each["seeds"]["validation"][metric]["values"]) for each in comparison["strategies"].values()),
        "metrics": list(dict.fromkeys(name for each in comparison["strategies"].values() for name in each["test"])),
        "task": task,
        "overview": inline_svg(comparison_figure(comparison, metric), caption(metric)),
        "overview_caption": caption(metric),
        "strategies": [_strategy(root, name, samples) for name in names],
        "test_samples": tests[champion].size,
        "validation_samples": evaluated[champion].of("validation").size,
        "errors": errors.facts(root, champion, tests),
        "errors_template": errors.template,
        "errors_note": errors.note,
        "data": data_findings(data),
        "advice": advice_facts(root, comparison),
        **proof,
    }


def read_json(path: Path) -> Any:
    """A JSON file; ConfigError when an earlier stage has not written it."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; run `dvc repro` to make it")
    return json.loads(path.read_text(encoding="utf-8"))


def _strategy(root: Path, name: str, samples: int) -> dict[str, Any]:
    training = root / "reports/training" / name
    history = rows(training / "history.csv") if (training / "history.csv").is_file() else []
    plan = plan_matrix(read_json(training / "plan.json"))
    about = read_json(root / "models/finetuned" / name / "model.json")
    ending = Ending.model_validate_json(json.dumps(about["ending"])) if about.get("ending") else None
    per_sample = about["trainable_parameters"] / samples
    staged = bool(plan["phases"])
    return {
        "name": name,
        "start": about["plan"]["start"],
        "features": about["plan"]["features"],
        "l2_sp": about["plan"]["l2_sp"],
        "ending": ending.describe() if ending else [],
        "per_sample": per_sample,
        "risk": risk(per_sample),
        "plan": plan,
        "epochs": len(history) if staged else 0,
        "timing": (timing := read_json(training / "timing.json")),
        "stuck": [each["text"] for each in timing.get("stuck", ())],
        "curves": inline_svg(curves_figure(history, staged), f"learning curves of {name}") if history else None,
    }


def plan_matrix(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The plan's rows (one a phase and group) as a matrix: phases across, groups down, rates in the cells."""
    phases: dict[int, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    index = -1
    for row in rows:
        # The same name may come twice; a phase begins where its first group comes again.
        index += 1 if not groups or row["group"] == next(iter(groups)) else 0
        phase = phases.setdefault(
            index, {"name": row["phase"], "epochs": row["epochs"], "trainable": 0, "rates": [], "adapt": "all"}
        )
        group = groups.setdefault(row["group"], {"name": row["group"], "parameters": row["parameters"], "rates": []})
        group["trainable"] = max(group.get("trainable", 0), row["trained_parameters"])
        group["rates"].append(row["learning_rate"])
        phase["trainable"] += row["trained_parameters"]
        if row["trainable"]:
            phase["rates"].append(row["learning_rate"])
            phase["weight_decay"] = row["weight_decay"]
            phase["adapt"] = row["adapt"] if row["adapt"] != "all" else phase["adapt"]
    for phase in phases.values():
        phase["rho"] = phase["rates"][0] / phase["rates"][-1]
    total = sum(group["parameters"] for group in groups.values())
    return {"phases": list(phases.values()), "groups": list(groups.values()), "total": total}


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
