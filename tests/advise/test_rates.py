"""The benchmark of the article's rates: what is trained at which rate, and the arithmetic of its tables."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.advisor import rates
from benchmarks.advisor.rates import NAMES, Rates, tables
from tlpipe.strategies.plan import HEAD
from tlpipe.strategies.scale import Scale


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rates:
    made = Rates(tmp_path, 0.0)
    monkeypatch.setattr(made.bench, "source", lambda name: (SimpleNamespace(groups=("low", "middle", "top")), tmp_path))
    return made


@pytest.mark.parametrize("name", [name for names in NAMES.values() for name in names])
def test_only_the_rate_differs_from_what_auto_gives(bench: Rates, name: str) -> None:
    packed = SimpleNamespace(rows=lambda split: np.arange(60))
    cell: Any = SimpleNamespace(packed=packed, target=SimpleNamespace(backbone="letters"))
    kind, rate = name.split()
    plan, rule = (bench._plan(cell, f"{kind} {each}", 0.0) for each in (rate, "auto"))
    scale = Scale(samples=60, batch_size=32)
    auto = scale.lr({"top_layers": "top", "all_layers": "all"}.get(kind, kind))
    assert plan.phases[-1].rates[HEAD] == (auto if rate == "auto" else float(rate))
    assert rule.phases[-1].rates[HEAD] == auto
    assert [phase.epochs for phase in plan.phases] == [phase.epochs for phase in rule.phases]
    assert [phase.trainable for phase in plan.phases] == [phase.trainable for phase in rule.phases]
    assert plan.phases[-1].ratio == pytest.approx(rule.phases[-1].ratio)


def test_what_is_there_is_not_trained_again(bench: Rates, tmp_path: Path) -> None:
    (tmp_path / "rates.jsonl").write_text(
        '{"target": "count", "size": 8, "seed": 0, "strategy": "scratch auto", "lr": 0.0}\n'
    )
    assert Rates(tmp_path, 0.0).done == {("count", 8, 0, "scratch auto", 0.0)}
    assert bench.done == set()


def test_rates_are_compared_within_their_cells_and_half_a_cell_is_left_out() -> None:
    def lines(target: str, size: int, seed: int, *tests: float) -> list[dict[str, Any]]:
        names = (*NAMES["scratch"], rates.HEAD)
        head = {"target": target, "size": size, "seed": seed}
        return [{**head, "strategy": name, "test": test} for name, test in zip(names, tests, strict=False)]

    whole = [*lines("a", 8, 0, 0.5, 0.4, 0.6, 0.5), *lines("a", 8, 1, 0.5, 0.4, 0.7, 0.6), *lines("b", 32, 0, 0.7, 0.8)]
    assert list(tables([*whole, *lines("b", 8, 0, 0.2, 0.5, 0.1, 0.2)])) == [
        "",
        "| scratch: labels a class | cells (targets) | auto | scratch 0.0003 | scratch 0.003 | head_only |",
        "|---|---|---|---|---|---|",
        "| 8 | 3 (2) | 40.0 | +3.33 ± 13.33 (better on 1) | +6.67 ± 8.82 (better on 1) | +3.33 ± 3.33 (better on 1) |",
    ]
