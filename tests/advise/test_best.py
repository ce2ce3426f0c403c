"""Rules for the best epoch, and the table of what they bring."""

from benchmarks.advisor.best import RULES, ruled

BEST = {"accuracy": 0.5, "loss": 1.0}
AS_GOOD, WORSE_LOSS = {"accuracy": 0.5, "loss": 0.9}, {"accuracy": 0.5, "loss": 1.1}


def test_the_rules_differ_in_what_they_do_with_ties() -> None:
    found = {
        name: [make()(scores, BEST, "accuracy") for scores in (AS_GOOD, WORSE_LOSS)] for name, make in RULES.items()
    }
    assert found == {"later": [0, 0], "loss": [1, -1], "start": [-1, -1], "wise_ft": [0, 0]}


def test_after_the_start_a_tie_goes_to_the_later_one() -> None:
    verdict, better = RULES["start"](), {"accuracy": 0.6, "loss": 1.0}
    assert verdict(AS_GOOD, BEST, "accuracy") == -1
    assert verdict(better, BEST, "accuracy") == 1
    assert verdict({**better, "loss": 2.0}, better, "accuracy") == 0


def test_the_table_compares_within_cells() -> None:
    names = {"top_layers later": 0.5, "top_layers loss": 0.52, "top_layers start": 0.55, "top_layers wise_ft": 0.5}
    lines = [
        {"target": "count", "size": 8, "seed": seed, "strategy": name, "test": value + 0.1 * seed}
        for seed in range(2)
        for name, value in {**names, "head_only": 0.6}.items()
    ]
    row = list(ruled(lines, "top_layers"))[-1]
    assert row.startswith("| 8 | 2 (1) | 55.0 | +2.00 ± 0.00 (better on 1) | +5.00 ± 0.00 (better on 1) | +0.00")
    assert row.endswith("+10.00 ± 0.00 (better on 1) |")
