"""Champion, ties, costs and the format of comparison.json; a tracker that is away changes none of it."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from tlpipe.config import ConfigError
from tlpipe.evaluate.compare import Compare, Result, champion, compare, leading, read_result
from tlpipe.metric_facts import facts
from tlpipe.stages import compare as stage
from tlpipe.stages.compare import summary
from tlpipe.tracking import RunPayload

NAMES = ("head_only", "top_layers", "all_layers", "scratch")


@pytest.fixture(scope="module")
def results(made: Path) -> list[Result]:
    return [read_result(made, name) for name in NAMES]


def with_scores(result: Result, **scores: float) -> Result:
    alone = {"deviation": None, "low": None, "high": None}
    means = {name: {"values": [value], "mean": value, **alone} for name, value in scores.items()}
    seeds = {**result.seeds, "validation": {**result.seeds["validation"], **means}}
    validation = {**result.metrics["validation"], **scores}
    return replace(result, metrics={**result.metrics, "validation": validation}, seeds=seeds)


def test_what_ended_where_it_started_is_said_everywhere(results: list[Result], made: Path):
    comparison = compare(results, Compare(resamples=200))
    assert {name: entry["kept_start"] for name, entry in comparison["strategies"].items()} == {
        "head_only": None, "top_layers": True, "all_layers": False, "scratch": False
    }  # fmt: skip
    ended = [line for line in stage.summary(comparison).splitlines() if line.endswith("ended where it started")]
    assert [line.split(":")[0].split()[-1] for line in ended] == ["top_layers"]
    tags = {result.name: stage.payload(result, comparison, "parent", made).tags for result in results}
    assert {name: each.get("kept_start") for name, each in tags.items()} == {
        "head_only": None, "top_layers": "yes", "all_layers": "no", "scratch": "no"
    }  # fmt: skip


def test_the_spec_offers_every_metric():
    assert set(get_args(Compare.model_fields["metric"].annotation)) == set(facts())


def test_the_comparison_has_the_promised_form(results: list[Result]):
    comparison = compare(results, Compare(resamples=200, standard_errors=0))
    found = {name: entry["seeds"]["validation"]["accuracy"] for name, entry in comparison["strategies"].items()}
    best = max(NAMES, key=lambda name: found[name]["mean"])
    assert all(len(each["values"]) == 2 and each["deviation"] >= 0 for each in found.values())
    assert comparison["champion"] == best
    assert comparison["metric"] == "accuracy"
    assert set(comparison["strategies"]) == set(NAMES)
    entry = comparison["strategies"]["head_only"]
    assert set(entry) == {
        "validation", "test", "seeds", "seconds", "trainable_parameters", "total_parameters", "kept_start",
        "mlflow_run_id",
    }  # fmt: skip
    assert set(entry["test"]["accuracy"]) == {"value", "low", "high"}
    assert entry["mlflow_run_id"] is None
    assert set(comparison["differences"]) == set(comparison["test_differences"]) == set(NAMES) - {best}
    assert "scratch" not in comparison["too_close_to_call"]


def test_the_differences_are_of_the_means_that_rank(results: list[Result]):
    comparison = compare(results, Compare(resamples=200))
    for split, found in (("validation", "differences"), ("test", "test_differences")):
        means = {name: entry["seeds"][split]["accuracy"]["mean"] for name, entry in comparison["strategies"].items()}
        for name, each in comparison[found].items():
            assert each["value"] == means[comparison["champion"]] - means[name]
            assert each["low"] <= each["value"] <= each["high"]


def test_time_counts_embedding_and_head_where_they_were_used(results: list[Result]):
    seconds = {result.name: result.seconds for result in results}
    assert seconds == {"head_only": 3.5, "top_layers": 23.5, "all_layers": 33.5, "scratch": 10.0}


def test_lower_is_better_where_it_is(results: list[Result]):
    scored = [with_scores(result, log_loss=loss) for result, loss in zip(results, (0.4, 0.1, 0.3, 0.2), strict=True)]
    assert leading(scored, Compare(metric="log_loss")).name == "top_layers"


def test_equal_strategies_are_told_apart_by_log_loss_then_by_size(results: list[Result]):
    equal = [with_scores(result, accuracy=0.9, log_loss=0.3) for result in results]
    assert leading(equal, Compare()).name == "head_only"
    assert leading([*equal[:3], with_scores(equal[3], log_loss=0.2)], Compare()).name == "scratch"


def test_the_mean_over_the_seeds_decides_and_not_the_luckiest(results: list[Result]):
    lucky, steady = (with_scores(result, accuracy=0.9, log_loss=0.3) for result in results[:2])
    values = {"values": [0.99, 0.81], "mean": 0.9, "deviation": 0.13}
    seeds = {**lucky.seeds["validation"], "accuracy": {**values, "mean": 0.89}}
    lucky = replace(lucky, seeds={**lucky.seeds, "validation": seeds})
    assert lucky.metrics["validation"]["accuracy"] == steady.metrics["validation"]["accuracy"]
    assert leading([lucky, steady], Compare()).name == steady.name


def test_a_strategy_that_is_better_on_the_compared_model_is_too_close_to_call(results: list[Result]):
    ranked = sorted(results, key=lambda result: result.metrics["validation"]["accuracy"])
    best_by_mean = with_scores(ranked[0], accuracy=1.0)
    comparison = compare([best_by_mean, ranked[-1]], Compare(resamples=200, standard_errors=0))
    assert comparison["champion"] == comparison["best"] == ranked[0].name
    assert comparison["differences"][ranked[-1].name]["value"] < 0
    assert comparison["too_close_to_call"] == [ranked[-1].name]


def test_within_one_standard_error_of_the_best_what_is_cheaper_to_serve_is_champion(results: list[Result]):
    same, costly = results[0], results[2]
    cheap = replace(same, about=same.about.model_copy(update={"total_parameters": same.about.total_parameters // 2}))

    def behind(wrong: int) -> Result:
        """The cheap strategy with the costly one's predictions, but for so many that it gets wrong."""
        said = costly.trainings[0]
        changed = said.probabilities.copy()
        rows = [at for at, split in enumerate(said.splits) if split == "validation"]
        right = [at for at in rows if said.predicted[at] == said.labels[at]][:wrong]
        changed[right] = np.roll(changed[right], 1, axis=1)
        judged = replace(said, probabilities=changed)
        return with_scores(replace(cheap, trainings=(judged,)), accuracy=judged.of("validation").measure()["accuracy"])

    best = with_scores(
        replace(costly, trainings=costly.trainings[:1]),
        accuracy=costly.trainings[0].of("validation").measure()["accuracy"],
    )
    # k discordant samples, all on one side, make a difference of k with a standard error of nearly sqrt(k)
    names = [champion([behind(wrong), best], Compare()).name for wrong in (0, 4)]
    assert names == [cheap.name, costly.name]
    assert champion([behind(4), best], Compare(standard_errors=10)).name == cheap.name
    assert champion([behind(4), best], Compare(standard_errors=0)).name == costly.name
    cheap = same
    assert champion([behind(1), best], Compare(standard_errors=10)).name == costly.name, "equal cost of serving"


def test_a_strategy_is_too_close_to_itself(results: list[Result]):
    twin = replace(results[2], name="twin")
    comparison = compare([results[2], twin], Compare(resamples=200))
    assert comparison["too_close_to_call"] == ["twin"]
    same = comparison["differences"]["twin"]
    assert same["value"] == 0
    assert same["low"] == pytest.approx(-same["high"], abs=0.01)
    assert same["high"] > 0, "that they are equal on these samples does not prove that they are"


def test_other_samples_cannot_be_compared(results: list[Result]):
    first, second = results[1].trainings
    shuffled = replace(second, labels=second.labels[::-1].copy())
    with pytest.raises(ConfigError, match="different samples"):
        compare([results[0], replace(results[1], trainings=(first, shuffled))], Compare())


def test_a_metric_that_does_not_apply_is_refused(results: list[Result]):
    values = {name: value for name, value in results[0].metrics["validation"].items() if name != "auroc"}
    without = replace(results[0], metrics={**results[0].metrics, "validation": values})
    with pytest.raises(ConfigError, match=r"compare.metric: auroc does not apply .* accuracy"):
        compare([without], Compare(metric="auroc"))


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    for name in ("reports", "models"):
        shutil.copytree(made / name, tmp_path / name)
    shutil.copyfile(made / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def test_the_stage_writes_the_champion_and_ignores_what_is_not_listed(own: Path):
    (own / "reports/evaluation/left_over").mkdir()
    (own / "models/champion").mkdir()
    (own / "models/champion/stale.txt").write_text("of an earlier champion")
    assert stage.main(own) == 0
    comparison = json.loads((own / "reports/comparison.json").read_text())
    best = own / "models/finetuned" / comparison["champion"]
    figures = {"metrics.json", "intervals.json"}
    crowned = {path.name for path in (own / "models/champion").iterdir()}
    assert crowned == {path.name for path in best.iterdir()} | figures
    assert (own / "models/champion/model.safetensors").read_bytes() == (best / "model.safetensors").read_bytes()
    lines = (own / "reports/comparison.csv").read_text().splitlines()
    header = "strategy,validation,test,low,high,seconds,trainable_parameters"
    spread = "validation_mean,validation_deviation,test_mean,test_deviation,test_mean_low,test_mean_high"
    assert lines[0] == f"{header},{spread},kept_start"
    assert {line.split(",")[0]: line.split(",")[-1] for line in lines[1:]} == {
        "head_only": "", "top_layers": "yes", "all_layers": "no", "scratch": "no"
    }  # fmt: skip
    seeds = comparison["strategies"][NAMES[0]]["seeds"]
    found = [seeds[split]["accuracy"][what] for split in ("validation", "test") for what in ("mean", "deviation")]
    bounds = {split: [seeds[split]["accuracy"][what] for what in ("low", "high")] for split in ("validation", "test")}
    assert [float(cell) for cell in lines[1].split(",")[-7:-1]] == [*found, *bounds["test"]]
    validation, test = (
        f"{found[at]:.4f} ± {found[at + 1]:.4f} [{low:.4f}, {high:.4f}]"
        for at, (low, high) in zip((0, 2), bounds.values(), strict=True)
    )
    said = f"; mean ± standard deviation of 2 seeds [95 % of the mean]: validation {validation}, test {test}"
    assert said in stage.summary(comparison)
    assert [line.split(",")[0] for line in lines[1:]] == list(NAMES)


def test_one_seed_has_no_spread(results: list[Result]):
    comparison = compare([with_scores(result, accuracy=0.9) for result in results], Compare(metric="accuracy"))
    for entry in comparison["strategies"].values():
        entry["seeds"]["test"] = entry["seeds"]["validation"]
    assert "±" not in stage.summary(comparison)


@pytest.mark.parametrize(
    "path",
    [
        "models/finetuned/scratch/model.json",
        "reports/evaluation/scratch/metrics.json",
        "reports/training/scratch/timing.json",
    ],
)
def test_a_listed_strategy_that_is_missing_is_an_error(own: Path, path: str, capsys: pytest.CaptureFixture[str]):
    (own / path).unlink()
    assert stage.main(own) == 2
    message = capsys.readouterr().err
    assert path in message
    assert "dvc repro" in message
    assert not (own / "reports/comparison.json").exists()


def test_run_ids_come_from_the_tracker(own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    seen: list[RunPayload] = []
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)

    def ensure(payloads: list[RunPayload], *_: object) -> dict[str, str | None]:
        seen.extend(payloads)
        assert all(path.is_file() for each in payloads for path, _ in each.artifacts)
        return {payload.run_key: None if payload.name == "scratch" else f"id-{payload.name}" for payload in payloads}

    monkeypatch.setattr(stage, "ensure_runs", ensure)
    monkeypatch.setattr(stage, "registry_said", lambda *_: "version 1 has the alias now")
    switch_on(own)
    assert stage.main(own) == 0
    comparison = json.loads((own / "reports/comparison.json").read_text())
    entries = comparison["strategies"]
    assert entries["head_only"]["mlflow_run_id"] == "id-head_only"
    assert entries["scratch"]["mlflow_run_id"] is None
    above, payload = seen[0], seen[3]
    assert (above.name, above.model, above.tags["champion"]) == ("comparison", None, comparison["champion"])
    assert above.summary["accuracy/head_only"] == entries["head_only"]["test"]["accuracy"]["value"]
    assert above.summary["seconds/scratch"] == entries["scratch"]["seconds"]
    assert {each.tags["tlpipe.parent_key"] for each in seen[1:]} == {above.run_key}
    value, best = above.summary["validation/accuracy"], above.tags["champion"]
    kind = "image_classification"
    claim = {"evidence": "v" * 64, "metric": "accuracy", "value": value, "higher_is_better": True, "kind": kind}
    assert {each.name: each.champion for each in seen if each.champion} == {best: claim}
    assert "registry: version 1 has the alias now" in capsys.readouterr().out
    assert payload.params["strategy"]["kind"] == "all_layers"
    assert payload.summary["test/accuracy"] == entries["all_layers"]["test"]["accuracy"]["value"]
    assert payload.history == own / "reports/training/all_layers/history.csv"
    assert payload.dataset[1] == "f" * 64 if payload.dataset else False
    assert all(path.is_file() for path, _ in payload.artifacts)
    assert [each.name for each in seen if ("evidence.csv", "evaluation") in names(each)] == [best]
    assert [payload.tags["champion"] for payload in seen[1:]].count("yes") == 1


def names(payload: RunPayload) -> list[tuple[str, str]]:
    return [(path.name, folder) for path, folder in payload.artifacts]


@pytest.mark.parametrize(
    ("register", "trial", "asked"),
    [("auto", "", True), ("auto", "fuzzy-owl", False), ("always", "fuzzy-owl", True), ("never", "", False)],
)
def test_a_trial_registers_nothing_unless_it_is_asked_to(
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    register: str,
    trial: str,
    asked: bool,
):
    seen: list[RunPayload] = []

    def ensure(payloads: list[RunPayload], *_: object) -> dict[str, str | None]:
        seen.extend(payloads)
        for path in (path for payload in payloads for path, _ in payload.artifacts):
            assert path.is_file()
        return {payload.run_key: "id" for payload in payloads}

    monkeypatch.setattr(stage, "ensure_runs", ensure)
    monkeypatch.setattr(stage, "registry_said", lambda *_: "version 1 has the alias now")
    monkeypatch.setenv("DVC_EXP_NAME", trial)
    path = own / "params.yaml"
    path.write_text(path.read_text().replace("enabled: false", f"enabled: true, register: {register}"))
    assert stage.main(own) == 0
    assert any(payload.champion for payload in seen) == asked
    out = capsys.readouterr().out
    assert ("registry: version 1 has the alias now" in out) == asked
    assert asked or ("register: always" in out or "register is never" in out)


def test_out_of_fold_evidence_is_known_by_the_train_split(own: Path, monkeypatch: pytest.MonkeyPatch):
    seen: list[RunPayload] = []
    monkeypatch.setattr(stage, "ensure_runs", lambda payloads, *_: seen.extend(payloads) or {})
    data = json.loads((own / "reports/data.json").read_text())
    data["counts"]["validation"] = dict.fromkeys(data["counts"]["validation"], 0)
    (own / "reports/data.json").write_text(json.dumps(data))
    switch_on(own)
    stage.main(own)
    assert {each.champion["evidence"] for each in seen if each.champion} == {"t" * 64}


def test_a_tracker_that_fails_is_only_a_message(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(*_: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(stage, "ensure_runs", fail)
    switch_on(own)
    assert stage.main(own) == 0
    assert "no route to host" in capsys.readouterr().err
    entries = json.loads((own / "reports/comparison.json").read_text())["strategies"]
    assert {entry["mlflow_run_id"] for entry in entries.values()} == {None}


def switch_on(root: Path) -> None:
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("enabled: false", "enabled: true"))


def test_unknown_bounds_become_null():
    from tlpipe.evaluate.compare import finite
    from tlpipe.intervals import Interval

    assert finite(Interval(0.5, -np.inf, np.inf)) == {"value": 0.5, "low": None, "high": None}


def test_why_mlflow_refuses_is_said(own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(stage, "ensure_runs", lambda payloads, *_: dict.fromkeys(each.run_key for each in payloads))
    monkeypatch.setattr(stage, "link_runs", lambda *_: None)
    monkeypatch.setattr(stage, "why_not", lambda names, _: {"PERMISSION_DENIED": sorted(names.values())[:2]})
    monkeypatch.setattr(stage, "registry_said", lambda *_: "")
    switch_on(own)
    assert stage.main(own) == 0
    said = capsys.readouterr()
    assert "tracking: MLflow does not have all_layers, comparison: PERMISSION_DENIED" in said.err
    assert "alias now" not in said.out


def test_a_baseline_that_leads_is_said_first(results: list[Result]):
    spec = Compare(resamples=200)
    best = leading(results, spec)
    others = [result for result in results if result is not best]
    network = leading(others, spec)
    plan = best.about.plan.model_copy(update={"strategy": "tfidf", "start": "texts", "groups": (), "phases": ()})

    def without_network(result: Result) -> Result:
        return replace(result, name="words", about=result.about.model_copy(update={"plan": plan}))

    behind = compare([best, without_network(others[0])], spec)
    assert behind["baseline_ahead"] is None
    assert not summary(behind).startswith("TF-IDF")
    first = compare([*others, without_network(best)], spec)
    ahead = first["baseline_ahead"]
    assert (ahead["strategy"], ahead["network"]) == ("words", network.name)
    means = [each.seeds["validation"]["accuracy"]["mean"] for each in (best, network)]
    assert ahead["difference"]["value"] == pytest.approx(means[0] - means[1])
    assert summary(first).startswith(f"TF-IDF is ahead: words leads the best network, {network.name}")
    assert compare([without_network(best)], spec)["baseline_ahead"] is None


def test_comparing_loads_no_torch(own: Path) -> None:
    code = "import sys; from tlpipe.stages.compare import main; main(); print({'torch', 'mlflow'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], cwd=own, check=True, capture_output=True, text=True)
    assert said.stdout.splitlines()[-1] == "set()"
