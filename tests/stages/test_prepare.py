import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.stages import prepare

PARAMS = """
data:
  source: {kind: image_folder, path: raw}
  split: {validation: 0.25, test: 0.25, seed: 0}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data").mkdir()
    samples = {
        "task": "image_classification",
        "preprocess": ImagePreprocess(size=8, resize_to=8).model_dump(mode="json"),
    }
    (tmp_path / "data" / "preprocess.json").write_text(json.dumps(samples))
    generator = np.random.default_rng(0)
    for name in [f"raw/{label}/{number}.png" for label in "ab" for number in range(4)]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(name)
    return tmp_path


def test_it_writes_the_arrays_and_the_report_and_says_what_it_did(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "raw/a/broken.jpg").write_bytes(b"no")
    assert prepare.main() == 0
    report = json.loads((project / "reports/data.json").read_text())
    assert len(Packed.open(project / "data/packed").ids) == report["used"] == 8
    said = capsys.readouterr().out
    assert "8 of 9 samples" in said
    assert "rejected: 1 not an image" in said


def test_what_is_wrong_is_said_and_nothing_is_left(project: Path, capsys: pytest.CaptureFixture[str]):
    for path in (project / "raw/b").iterdir():
        path.write_bytes(b"no")
    assert prepare.main() == 2
    assert "4 not_an_image" in capsys.readouterr().err
    assert [path.name for path in (project / "data").iterdir()] == ["preprocess.json"]


def test_without_the_check_stage(project: Path, capsys: pytest.CaptureFixture[str]):
    (project / "data/preprocess.json").unlink()
    assert prepare.main() == 2
    assert "the check stage writes it" in capsys.readouterr().err


def test_what_another_version_left_is_refused(project: Path, capsys: pytest.CaptureFixture[str]):
    path = project / "data/preprocess.json"
    written = path.read_text()
    path.write_text(json.dumps(json.loads(written)["preprocess"]))
    assert prepare.main() == 2
    assert "run `dvc repro check`" in capsys.readouterr().err
    path.write_text(written)
    assert prepare.main() == 0
    dataset = project / "data/packed/dataset.json"
    about = json.loads(dataset.read_text())
    dataset.write_text(json.dumps({key: value for key, value in about.items() if key != "task"}))
    with pytest.raises(ConfigError, match="run `dvc repro prepare`"):
        Packed.open(project / "data/packed")


def test_names_that_look_like_markup_are_printed_as_they_are(project: Path, capsys: pytest.CaptureFixture[str]):
    for old, new in (("a", "[bold]"), ("b", ":cat:")):
        (project / "raw" / old).rename(project / "raw" / new)
    assert prepare.main(Path("params.yaml")) == 0
    assert {"[bold]", ":cat:"} <= set(capsys.readouterr().out.replace("│", " ").replace("┃", " ").split())
