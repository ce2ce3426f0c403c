"""Two processes give what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tagged import pack_tagged
from tests.train.conftest import make_packed
from tests.train.test_language import pack, write_text
from tlpipe.train.cache.embed import Features
from tlpipe.train.hardware.distributed import Team, synchronise_norms

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def work(folder: Path, processes: int, *words: str, script: str = "worker.py") -> dict[str, Any]:
    out = folder.with_name("-".join(("out", str(processes), *words)))
    out.mkdir()
    command = [sys.executable, *(TORCHRUN if processes > 1 else []), str(ROOT / "tests/train" / script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [str(folder), str(out), *words]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    history = json.loads((out / "history.json").read_text())
    assert history["size"] == processes
    return {**torch.load(out / "result.pt"), "figures": history["figures"], "out": out}


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert np.allclose(one["figures"], two["figures"], atol=1e-4)
    for name, value in one["model"].items():
        assert torch.allclose(value.float(), two["model"][name].float(), atol=1e-3, rtol=1e-3), name
    assert torch.allclose(one["logits"], two["logits"], atol=1e-3)
    features, again = (Features.open(each["out"] / "features") for each in (one, two))
    for group in features.groups:
        assert np.allclose(features.at(group), again.at(group), atol=1e-6)


SLOW = [("norm_only", ()), ("lora", ()), ("all_depth_tuning", ()), ("all_depth_tuning", ("shard",))]


@pytest.mark.parametrize(
    ("plan", "more"),
    [
        ("staged", ()),
        ("scratch", ()),
        ("staged", ("shard",)),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW),
    ],
)
def test_two_processes_give_what_one_gives(tmp_path: Path, plan: str, more: tuple[str, ...]) -> None:
    make_packed(tmp_path / "packed")
    same(work(tmp_path / "packed", 1, plan), work(tmp_path / "packed", 2, plan, *more))


def test_two_processes_learn_tags_as_one_does(tmp_path: Path) -> None:
    pack_tagged(tmp_path)  # sentences of 4 to 30 words, so that the two have different numbers of them to learn
    same(*(work(tmp_path / "packed", processes, "staged") for processes in (1, 2)))


def test_two_processes_pretrain_bert_as_one_does(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    pack(write_text(tmp_path / "text"), tmp_path / "text")
    one, two = (work(tmp_path / "text", processes, script="language_worker.py") for processes in (1, 2))
    assert np.allclose(one["figures"], two["figures"], atol=1e-3)
    for name, value in one["model"].items():
        assert torch.allclose(value, two["model"][name], atol=1e-3, rtol=1e-2), name


def test_a_training_that_shares_its_weights_out_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    make_packed(tmp_path / "packed")
    words = ("shard", "adamw")
    whole, again = (work(tmp_path / "packed", 2, "staged", *words, *more) for more in ((), ("resume",)))
    assert whole["figures"] == again["figures"]
    assert all(torch.equal(value, again["model"][name]) for name, value in whole["model"].items())


def test_evened_turns_repeat_the_last_value() -> None:
    team = Team(1, 2)
    assert team.evened([1, 2, 3], needed=True) == [1, 2, 3, 3]
    assert team.evened([1, 2, 3], needed=False) == [1, 2, 3]
    assert team.evened([], needed=True) == []


def test_shares_and_turns_cover_everything_once() -> None:
    for size in (1, 2, 3, 5):
        teams = [Team(rank, size) for rank in range(size)]
        for count in (5, 6, 7, 13):
            rows = list(range(count))
            assert [row for team in teams for row in rows[team.share(count)]] == rows
            assert sorted(row for team in teams for row in team.turns(rows)) == rows
            lengths = [len(rows[team.share(count)]) for team in teams]
            assert max(lengths) - min(lengths) <= 1


def test_a_team_of_one_needs_nobody() -> None:
    alone, value = Team(), torch.ones(2)
    assert alone.gather(3) == [3]
    assert alone.sum(value) is value
    assert alone.in_turn([1, 2]) == [1, 2]
    model = torch.nn.Linear(1, 1)
    assert alone.wrap(model) is model


def test_norms_that_cannot_be_shared_are_refused() -> None:
    class Odd(torch.nn.BatchNorm2d):
        """As timm's, which do more than normalise."""

    with pytest.raises(ValueError, match="Odd cannot use the statistics"):
        synchronise_norms(torch.nn.Sequential(Odd(3)), torch.device("cpu"))
