"""What has to hold of the advice for any task, and of the strategy that it chose, after a whole `dvc repro`."""

import json

from tests.pipeline.conftest import Project
from tlpipe.advise.race import MOST

ROW = {"strategy", "kind", "predicted", "sigma", "measured", "cost_seconds", "reasons"}


def check_auto(project: Project, score: str, reached: float) -> None:
    """The documented form of reports/advice.json, the race's cost, the trained model and the section of the report."""
    advice = project.json("reports/advice.json")
    assert set(advice) == {
        "score", "recommended", "ranking", "tie", "region", "evidence", "experience",
    }  # fmt: skip
    assert advice["score"] == score
    assert advice["experience"]["doubt"] == 2
    assert all(set(row) == ROW and 0 <= row["predicted"] <= 1 and row["sigma"] > 0 for row in advice["ranking"])
    names = {name for name, entry in project.params()["finetune"].items() if entry["kind"] != "auto"}
    assert {row["strategy"] for row in advice["ranking"]} == names
    race = project.json("reports/training/auto/timing.json").get("race", [])
    contenders = json.loads((project.folder / "data/advice/auto.json").read_text())["contenders"]
    assert {lap["strategy"] for lap in race} <= {each["name"] for each in contenders}
    losers = [lap["epochs"] for lap in race if not lap["chosen"]]
    dearest = max(3 * each["strategy"].get("epochs", 0) for each in contenders)
    assert 3 * sum(losers) <= MOST * dearest  # three passes an epoch where nothing is frozen, and fewer elsewhere
    model = project.json("models/finetuned/auto/model.json")
    assert model["strategy"] == "auto"
    assert 0 <= reached <= 1
    page = (project.folder / "reports/report.html").read_text()
    assert 'id="advice"' in page
    assert "hold by assumption" in page
