"""Settings that make no sense are refused with what is allowed; an open gate is said where the model is."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tlpipe.config import ConfigError, parse
from tlpipe.export.spec import Export
from tlpipe.params import load_params

ROOT = Path(__file__).resolve().parents[1]


def refusal(folder: Path, place: str, value: object) -> str:
    yaml = YAML(typ="safe", pure=True)
    data = yaml.load((ROOT / "params.yaml").read_text())
    section: Any = data
    *parents, leaf = place.split(".")
    for part in parents:
        section = section[part]
    section[leaf] = value
    with (folder / "p.yaml").open("w") as file:
        yaml.dump(data, file)
    with pytest.raises(ConfigError) as caught:
        load_params(folder / "p.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("export.agreement", 0, "from 0.9 to 1"),
        ("export.tolerance", 0.5, "at most 0.25"),
        ("export.network_tolerance", 0.1, "at most 0.01"),
        ("finetune.top_layers.lr", 10, "from 1e-08 to 1"),
        ("finetune.top_layers.lr", 1e-30, "from 1e-08 to 1"),
        ("finetune.top_layers.gamma", 1e-30, "from 1e-06 to 1"),
        ("training.dropout", 0.99999, "from 0 to 0.9"),
        ("training.label_smoothing", 0.99, "from 0 to 0.5"),
        ("training.patience", 1e30, "a whole number from 1 to 10_000"),
        ("training.weight_decay", 9, "from 0 to 1"),
        ("training.clip_norm", 1e-30, "from 0.0001 to 1e+06"),
        ("head.iterations", 10**12, "from 1 to 100_000"),
        ("head.penalties", [1.0, 0.1, 1.0], "1 is there twice"),
        ("head.penalties", [1e-300], "from 1e-12"),
        ("data.split.seed", 10**40, "at least 0 and below 2_147_483_648"),
        ("compare.seed", 1e40, "a whole number"),
        ("evaluate.seed", 2**31, "below 2_147_483_648"),
        ("tracking.experiment", " ", "given:   ' ' (text)"),
        ("tracking.experiment", "x" * 300, "text"),
        ("data.source.path", ".", "is the whole project or more"),
        ("data.source.path", "../..", "is the whole project or more"),
        ("data.source.path", "models/x", "is in models, which the pipeline writes"),
        ("data.source.path", str(Path.cwd()), "is the whole project or more"),
        ("strategies", ["x" * 300], "finetune has no strategy"),
        ("runtime.device", "gpu", "did you mean 'cuda'?"),
        ("runtime.precision", "float32", "did you mean 'fp32'?"),
        ("training.optimizer", "adam", "did you mean 'adamw'?"),
        ("tracking.experiment", "a\x1b[2Jb", "tracking.experiment"),
        ("tracking.experiment", "\x00", "tracking.experiment"),
        ("runtime.precision", "half", "did you mean 'fp16'?"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, place: str, value: object, said: str):
    message = refusal(tmp_path, place, value)
    assert said in message
    assert len(message) < 3000


def test_names_of_strategies_are_short(tmp_path: Path):
    assert "finetune" in refusal(tmp_path, "finetune." + "x" * 300, {"kind": "head_only"})


def test_an_open_gate_says_so():
    assert not list(Export().openings())
    wide = parse({"tolerance": 0.2, "network_tolerance": 0.005, "agreement": 0.9}, Export, "export")
    assert [line.split(" ")[0] for line in wide.openings()] == [
        "export.tolerance", "export.network_tolerance", "export.agreement",
    ]  # fmt: skip
