"""The page: everything on it, nothing from outside, and whatever a user named is only text."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tlpipe.config import ConfigError
from tlpipe.report.collect import collect, plan_matrix
from tlpipe.report.render import render, verdict
from tlpipe.stages import report as stage
from tlpipe.strategies.counting import Size, account
from tlpipe.strategies.plan import Phase, Plan

VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def facts(made: Path) -> dict:
    return collect(made)


@pytest.fixture(scope="module")
def page(facts: dict) -> str:
    return render(facts)


class Balance(HTMLParser):
    """Elements that are opened and not closed, and the text outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page: str):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in parser.seen


def test_a_training_that_changed_nothing_is_not_shown_as_trained(page: str):
    assert page.count('<span class="badge">ended where it started</span>') == 1
    assert "ended where it started: all 8 epochs were worse by validation accuracy" in page


def test_class_names_are_only_text(page: str):
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_nothing_is_loaded_from_outside(page: str):
    addresses = re.findall(r'(?:src|href)="([^"#]{1,40})', page)
    assert [address for address in addresses if not address.startswith("data:image/png;base64,")] == []
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_tells_the_champion_and_its_figures(page: str, made: Path):
    comparison = json.loads((made / "reports/comparison.json").read_text())
    best = comparison["strategies"][comparison["champion"]]
    accuracy = f"{100 * best['test']['accuracy']['value']:.1f} %"
    assert f"<h1>{comparison['champion']}: {accuracy} test accuracy</h1>" in page
    for name in comparison["strategies"]:
        assert f"Confusion: {name}</h3>" in page
    assert "parity passed" in page
    assert "ends after 312 bytes" in page
    assert page.count("<svg ") == 1 + 4 * 3


def test_equal_files_give_equal_bytes(made: Path, page: str):
    assert render(collect(made)) == page


def test_the_stage_writes_the_page(made: Path, tmp_path: Path, page: str):
    for name in ("reports", "models"):
        shutil.copytree(made / name, tmp_path / name)
    assert stage.main(tmp_path) == 0
    assert (tmp_path / "reports/report.html").read_text(encoding="utf-8") == page


def test_the_stage_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert stage.main(tmp_path) == 2
    assert "reports/comparison.json does not exist; run `dvc repro`" in capsys.readouterr().err


def test_a_changed_bundle_is_no_proof(made: Path, tmp_path: Path):
    for name in ("reports", "models"):
        shutil.copytree(made / name, tmp_path / name)
    (tmp_path / "models/bundle/model.onnx").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="is not the file that was exported"):
        collect(tmp_path)


def test_without_a_bundle_the_page_says_so(facts: dict):
    assert "No bundle was exported." in render({**facts, "bundle": None})


def test_the_verdict_names_who_is_too_close_to_call(facts: dict):
    comparison = {**facts["comparison"], "champion": "all_layers", "best": "all_layers"}
    champion = {"name": "all_layers", **comparison["strategies"]["all_layers"]}
    close = {
        **facts,
        "champion": champion,
        "comparison": {**comparison, "too_close_to_call": ["top_layers", "scratch"]},
    }
    assert re.search(
        r"top_layers \(.* %\) and scratch \(.* %\) are too close to all_layers to call on 60 validation", verdict(close)
    )
    clear = {**close, "comparison": {**comparison, "too_close_to_call": []}}
    assert "separates it from every other one" in verdict(clear)
    perfect = {"validation": {"accuracy": {"mean": 1.5}}}
    better = {name: {**entry, "seeds": perfect} for name, entry in comparison["strategies"].items() if "layers" in name}
    shared = {**comparison, "strategies": {**comparison["strategies"], **better}, "too_close_to_call": ["top_layers"]}
    assert "Of 4 strategies 2 share the best validation accuracy" in verdict({**close, "comparison": shared})
    shared["strategies"] |= {"top_layers": comparison["strategies"]["top_layers"]}
    assert "Of 4 strategies all_layers has the best validation accuracy" in verdict({**close, "comparison": shared})
    alone = {**close, "comparison": {**comparison, "strategies": {"all_layers": champion}}}
    assert "One strategy ran" in verdict(alone)


def test_seeds_costs_rates_and_risks_are_told(page: str, facts: dict):
    assert facts["seeds"] == 2
    for part in (
        "Over 2 trainings with other seeds",
        "risk of overfitting",
        "bottom/top rate",
        "weight<br>decay",
        " ± ",
    ):
        assert part in page
    assert "The same on test, where nothing was chosen" in page


def test_how_a_training_ended_is_told(made: Path, tmp_path: Path):
    for name in ("reports", "models"):
        shutil.copytree(made / name, tmp_path / name)
    path = tmp_path / "models/finetuned/top_layers/model.json"
    about = json.loads(path.read_text())
    about["ending"] = {"soup": [3, 5], "alpha": 0.7, "tried": []}
    path.write_text(json.dumps(about))
    written = tmp_path / "reports/training/top_layers/plan.json"
    penalised = {**json.loads(written.read_text()), "l2_sp": {"alpha": 0.1, "beta": 0.01}}
    written.write_text(json.dumps(penalised))
    page = render(collect(tmp_path))
    assert "At the end: soup: mean of the weights after epochs 3, 5." in page
    assert "At the end: 70% of the way from the weights at the start to the trained ones (WiSE-FT)." in page
    assert "L2-SP holds the weights near their start (alpha 0.1, beta 0.01)" in page


def test_trainings_that_got_stuck_are_told(made: Path, tmp_path: Path):
    root = tmp_path / "project"
    shutil.copytree(made, root)
    path = root / "reports/training/scratch/timing.json"
    timing = json.loads(path.read_text())
    path.write_text(json.dumps({**timing, "stuck": [{"text": "with seed 5 it ended <badly>"}]}))
    assert "1 training got stuck:</strong> with seed 5 it ended &lt;badly&gt;." in render(collect(root))


def test_what_auto_became_and_the_race_that_it_won_are_told(made: Path, tmp_path: Path):
    root = tmp_path / "project"
    shutil.copytree(made, root)
    assert "Trained as" not in render(collect(root))
    for name, more in {
        "plan": {"strategy": "all_layers"},
        "timing": {
            "race": [
                {"strategy": "all_layers", "epochs": 11, "accuracy": 0.95},
                {"strategy": "<b>", "epochs": 0, "accuracy": 0.9},
            ]
        },
    }.items():
        path = root / f"reports/training/scratch/{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    told = (
        "Trained as all_layers. It won a race: all_layers reached 0.950 after 11 epochs and &lt;b&gt; reached 0.900 as "
        "it starts."
    )
    assert told in render(collect(root))


def test_the_plan_becomes_a_matrix_also_when_phases_share_a_name():
    sizes = {"stem": Size(10), "head": Size(5)}
    rates: tuple[dict[str, float | None], ...] = ({"stem": None, "head": 0.1}, {"stem": 0.01, "head": 0.1})
    phases = tuple(Phase(name="again", epochs=2, rates=each) for each in rates)
    matrix = plan_matrix(account(Plan(strategy="x", start="head", groups=("stem",), phases=phases), sizes, 0.1))
    assert [phase["trainable"] for phase in matrix["phases"]] == [5, 15]
    assert [phase["rho"] for phase in matrix["phases"]] == pytest.approx([1, 0.1])
    assert [[row["learning_rate"] for row in group["rows"]] for group in matrix["groups"]] == [[None, 0.01], [0.1, 0.1]]
    assert [(group["trainable"], group["weight_decay"]) for group in matrix["groups"]] == [(10, 0.1), (5, 0.1)]
    assert matrix["trained"] == 15


def test_every_plan_shows_its_totals_its_ratio_and_its_risk(page: str, made: Path):
    cards = page.split('<section id="training">')[1].split("</section>")[0].split('<div class="card">')[1:]
    assert len(cards) == 4
    for card in cards:
        name = card.split("<h3>")[1].split(" ")[0].split("<")[0]
        plan = json.loads((made / "reports/training" / name / "plan.json").read_text())
        assert f"{plan['trainable']:,} of {plan['parameters']:,} parameters train" in card
        assert f"for each of {plan['samples']} training samples: <strong>{plan['overfitting_risk']} risk of" in card
        for total in plan["totals"]:
            assert f'<td class="n">{total["trainable"]:,}</td>' in card
            assert f'<td class="n">{100 * total["ratio"]:.4g} %</td>' in card
        assert card.count("<tr>") >= 1 + len({row["group"] for row in plan["rows"]}) + 2
    assert '<td class="n rate">no rate</td>' in cards[0]
