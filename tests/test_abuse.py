"""The harnesses of `make abuse`: cases that go on after a stop, and what they count."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.abuse import files, kills, record
from benchmarks.abuse.outcome import Tally


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "STATES", tmp_path / "states")
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(record, "code", lambda: "code")


def test_a_part_goes_on_where_it_stopped_and_is_recorded_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = [0.0], list[tuple[int, int]]()
    monkeypatch.setattr(record.time, "monotonic", lambda: clock[0])

    def work(first: int, size: int) -> Tally:
        asked.append((first, size))
        clock[0] += 6
        return Tally(Counter(refused=size), [{"case": str(first)}])

    assert record.in_pieces("part", 25, 10, 10, work) is None
    assert not record.RESULTS.exists()
    found = record.in_pieces("part", 25, 10, 10, work)
    assert asked == [(0, 10), (10, 10), (20, 5)]
    assert found == {"cases": 25, "refused": 25, "faults": [{"case": "0"}, {"case": "10"}, {"case": "20"}]}
    assert json.loads(record.RESULTS.read_text())["part"].items() >= found.items()
    assert record.load("part") is None
    assert (record.end("part", None), record.end("part", found), record.end("part", {"faults": []})) == (3, 1, 0)


def test_what_was_counted_of_other_code_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    record.save("part", {"done": 5})
    assert record.load("part") == {"done": 5}
    monkeypatch.setattr(record, "code", lambda: "other code")
    assert record.load("part") is None


def test_damaged_files_and_what_is_no_file_have_no_faults() -> None:
    tally = files.cases(0, 30)
    assert tally.outcomes.total() == 30
    assert not tally.faults


def test_bits_that_differ_and_projects_that_are_stuck_are_faults(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("models", "data", "reports/evaluation"):
        (project / name).mkdir(parents=True)
        (project / name / ".gitignore").write_text("x")
    (project / "reports/parity.json").write_text("{}")
    (project / "models/a").write_text("a")
    before = kills.digests(project)
    assert before.keys() == {"models/a", "reports/parity.json"}
    (project / "models/a").write_text("b")
    harness = kills.Kills(tmp_path / "other")
    harness.project = project
    harness.state |= {"reference": before, "planned": {}, "kills": [["prepare", "dvc"]], "stuck": ["said"]}
    harness._end()
    found = harness.summary()
    assert found["faults"] == ["models/a", "said"]
    assert (found["kills"], found["of"], found["stuck projects"]) == (1, {"dvc": 1}, 1)
