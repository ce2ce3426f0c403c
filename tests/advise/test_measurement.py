"""The benchmark's arithmetic: which point of a sweep counts, the cross-fitted oracle, regret, nested samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.advisor import auto
from benchmarks.advisor.cell import read
from benchmarks.advisor.fit import Outcome, fit_all, left_out, outcomes, ridge
from benchmarks.advisor.policies import Case, Choice, race_only
from benchmarks.advisor.regret import halved, judge, oracle, own_oracle
from benchmarks.advisor.targets import SIZES, TARGETS, Arrays
from benchmarks.advisor.tuning import ends
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import predict
from tlpipe.preprocess.image import ImagePreprocess

NAMES = ("head_only", "all_depth_head", "top_layers", "all_layers", "scratch")


def made(**tests: float) -> dict[str, Outcome]:
    """Outcomes whose test accuracies are `tests`, 0.1 for all others."""
    return {name: Outcome(0.5, tests.get(name, 0.1), 2.0, ()) for name in NAMES}


def test_the_oracle_is_chosen_on_other_seeds() -> None:
    cells = {
        ("t", 8, 0): made(head_only=0.9, scratch=0.2),
        ("t", 8, 1): made(head_only=0.3, scratch=0.6),
        ("lonely", 8, 0): made(head_only=0.9),
    }
    cells = {cell: {**found, "all_depth_tuning": Outcome(0.5, 0.1, 2.0, ())} for cell, found in cells.items()}
    # seed 1 says scratch, seed 0 says head_only; each is scored on the other
    assert oracle(cells) == {("t", 8, 0): 0.2, ("t", 8, 1): 0.3}
    assert own_oracle(cells)["t", 8, 0] == 0.9


def test_the_halved_oracle_is_scored_on_the_half_that_did_not_choose_it() -> None:
    def seed(first: tuple[float, float], second: tuple[float, float]) -> dict[str, Outcome]:
        halves = {"head_only": first, "scratch": second}
        return {name: Outcome(0.5, 0.1, 2.0, (), halves=halves.get(name, (0.1, 0.1))) for name in NAMES}

    cells = {("t", 8, 0): seed((0.9, 0.5), (0.6, 0.7)), ("t", 8, 1): seed((0.2, 0.4), (0.3, 0.8))}
    # seed 1 chooses scratch on both halves; seed 0 head_only on the first half, scratch on the second
    assert halved(cells) == {("t", 8, 0): pytest.approx((0.7 + 0.6) / 2), ("t", 8, 1): pytest.approx((0.4 + 0.3) / 2)}
    cells["t", 8, 1]["scratch"] = Outcome(0.5, 0.9, 2.0, ())
    assert halved(cells) == {}


def test_a_race_without_advice_judges_by_validation_alone_and_pays_for_every_lap() -> None:
    def run(early: float, late: float) -> Outcome:
        return Outcome(late, late, 8.0, (early,) * 8 + (late,) * 8)

    found = {
        "head_only": Outcome(0.6, 0.61, 1.0, ()), "all_depth_head": Outcome(0.7, 0.71, 1.0, ()),
        "top_layers": run(0.5, 0.9), "all_layers": run(0.6, 0.8), "scratch": run(0.1, 0.95),
    }  # fmt: skip
    choice = race_only(Case(("t", 8, 0), found, None, {}, None))  # type: ignore[arg-type]
    # laps of 2 of 16 epochs; all_layers survives at 0.6 and beats the heads; 1 + 1 + 8 + two laps of 1 s
    assert choice.test == 0.8
    assert choice.seconds == pytest.approx(12.0)


def test_regret_hits_and_cost_by_hand() -> None:
    cases = [
        Case((name, 8, seed), made(), None, {}, None)  # type: ignore[arg-type]
        for name, seed in (("a", 0), ("a", 1), ("b", 0))
    ]
    best = {("a", 8, 0): 0.8, ("a", 8, 1): 0.8, ("b", 8, 0): 0.805}
    reached = {("a", 8, 0): 0.7, ("a", 8, 1): 0.9, ("b", 8, 0): 0.8}
    row = judge(lambda case: Choice(reached[case.cell], 1.0), cases, best)
    assert row.mean == pytest.approx((10 - 10 + 0.5) / 3)
    assert row.median == pytest.approx(0.5)
    assert row.worst == pytest.approx(10)
    assert row.hits == pytest.approx(2 / 3)
    assert row.cost == pytest.approx(0.5)
    assert row.low <= row.mean <= row.high
    # always all_depth_head has 0.1 everywhere
    assert (row.better, row.worse) == (3, 0)


def test_validation_chooses_the_point_and_half_a_sweep_does_not_count(tmp_path: Path) -> None:
    def line(strategy: str, lr: float, validation: float, test: float) -> str:
        head = {"target": "t", "size": 8, "seed": 0, "strategy": strategy, "lr": lr, "validation_loss": 1.0}
        return json.dumps({**head, "validation": validation, "test": test, "seconds": 4.0})

    lines = [
        line("all_layers", 1e-3, 0.6, 0.9), line("all_layers", 4e-3, 0.7, 0.5), line("scratch", 1e-3, 0.9, 0.9),
        line("head_only", 0.0, 0.5, 0.4), '{"target": "t", "si',
    ]  # fmt: skip
    (tmp_path / "cells.jsonl").write_text("\n".join(lines))
    assert len(read(tmp_path / "cells.jsonl")) == 4
    found = outcomes(tmp_path)["t", 8, 0]
    assert set(found) == {"all_layers", "head_only"}
    assert (found["all_layers"].test, found["head_only"].test) == (0.5, 0.4)


def trained(lr: float, loss: float) -> dict[str, Any]:
    """A line of a training whose ends were recorded: its best epoch has 0.8 on test, its start 0.7."""
    tried = [[0.0, 0.5, 2.0], [0.4, 0.6, loss], [1.0, 0.9, 1.5]]
    end = {"accuracy": 1.0, "loss": 0.4, "test": {"0.4": 0.85, "1.0": 0.8}, "tried": tried}
    ends = {"start": 0.7, "best": end, "interpolation": 1.0, "soup": {"test": 0.81}}
    head = {"target": "count", "size": 8, "seed": 0, "strategy": "all_depth_tuning", "lr": lr, "seconds": 4.0}
    return {**head, "validation": 0.9, "validation_loss": 1.5, "test": 0.8, "ends": ends}


def test_a_training_with_ends_counts_as_the_interpolation_with_the_lowest_loss(tmp_path: Path) -> None:
    lines = [json.dumps(trained(lr, loss)) for lr, loss in ((1e-3, 1.0), (4e-3, 1.2))]
    (tmp_path / "cells.jsonl").write_text("\n".join(lines))
    found = outcomes(tmp_path)["count", 8, 0]["all_depth_tuning"]
    assert (found.validation, found.test, found.seconds, found.mixed) == (0.6, 0.85, 5.0, True)
    rows = [row for row in ends(tmp_path) if row.startswith("| ")][1:]
    assert rows[0] == "| best epoch | +0.00 (0.00) | +10.00 (0.00) |"
    assert rows[1] == "| interpolation by loss | +5.00 (0.00) | +15.00 (0.00) |"
    assert rows[2] == rows[0].replace("best epoch", "interpolation by accuracy")
    assert rows[3].endswith("| +1.00 (0.00) | +11.00 (0.00) |")


def test_settings_of_auto_are_compared_within_their_cells() -> None:
    def lines(target: str, *tests: float) -> list[dict[str, Any]]:
        head = {"target": target, "size": 8, "seed": 0}
        return [{**head, "strategy": name, "test": test} for name, test in zip(auto.SETTINGS, tests, strict=False)]

    whole = lines("a", 0.5, 0.4, 0.6, 0.5) + lines("b", 0.7, 0.4, 0.8, 0.9)
    # a cell whose settings are not all there would shift the rule's own mean
    assert list(auto.table(whole + lines("c", 0.1)))[2:] == [
        "| 8 | 2 (2) | 60.0 | -20.00 ± 10.00 | +10.00 ± 0.00 | +10.00 ± 10.00 |"
    ]


def test_frozen_heads_share_a_rule_against_their_own_probes(make_evidence: Callable[..., Evidence]) -> None:
    evidence = make_evidence(last=0.9, every=0.6)
    known = {(name, 8, 0): (evidence, {}) for name in "ab"}
    cells = {cell: made(head_only=0.9, all_depth_head=0.9, all_layers=0.95) for cell in known}
    experience, lines = fit_all(cells, known)
    rules = experience.rules
    assert len(lines) == 5
    assert (rules["head_only"].probe, rules["all_depth_head"].probe) == ("last", "best")
    assert rules["head_only"].weights == rules["all_depth_head"].weights
    # the better probe is the top's, so both are expected to reach the same
    assert predict(rules["head_only"], evidence) == predict(rules["all_depth_head"], evidence)
    assert predict(rules["all_layers"], evidence).accuracy > predict(rules["scratch"], evidence).accuracy


def test_what_contains_another_is_judged_by_what_it_adds(make_evidence: Callable[..., Evidence]) -> None:
    known = {(name, 8, 0): (make_evidence(last=0.5, every=0.6), {}) for name in "abc"}
    cells = {cell: made(head_only=0.6, all_depth_head=0.6) for cell in known}
    cells["a", 8, 0]["all_depth_tuning"] = cells["b", 8, 0]["all_depth_tuning"] = Outcome(0.5, 0.6, 2.0, ())
    rules = fit_all(cells, known)[0].rules
    assert rules["all_depth_tuning"].cells == 2
    assert rules["all_depth_tuning"].weights == pytest.approx(rules["all_depth_head"].weights, abs=1e-3)


def test_samples_are_nested_and_never_from_the_test_rows() -> None:
    images, labels = np.zeros((900, 8, 8, 3), np.uint8), np.arange(900) % 3
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(900) % 256, np.arange(900) // 256
    arrays = Arrays(images, labels.astype(np.int64), 600)
    before: dict[str, set[int]] = {"train": set(), "validation": set()}
    for size in SIZES:
        packed = arrays.sample(size, 3, ImagePreprocess(size=8, resize_to=8), "t")
        low, high = packed.samples[:, 0, 0, :2].astype(int).T
        numbers = low + 256 * high
        for split, inner in before.items():
            rows = set(numbers[slice(*packed.ranges[split])].tolist())
            assert inner <= rows
            assert max(rows) < 600
            before[split] = rows
        assert not before["train"] & before["validation"]
        assert sorted(numbers[slice(*packed.ranges["test"])].tolist()) == list(range(600, 900))
        assert len(before["train"] | before["validation"]) == 3 * size


def test_at_least_half_of_the_targets_are_never_fitted_on() -> None:
    assert sum(not target.fitted for target in TARGETS) >= len(TARGETS) / 2
    assert len(TARGETS) >= 8


def test_left_out_targets_are_really_left_out() -> None:
    generator = np.random.default_rng(0)
    x = np.column_stack([np.ones(40), generator.normal(size=(40, 2))])
    groups = ["a"] * 20 + ["b"] * 20
    y = np.where(np.array(groups) == "a", 1.0, -1.0)
    assert left_out(x, y, groups, 1.0) > 1.5
    weights = np.array([0.3, -0.5, 0.8])
    assert np.abs(ridge(x, x @ weights, 1e-9) - weights).max() < 0.01
    assert left_out(x, x @ weights, groups, 1e-6) < 0.05
