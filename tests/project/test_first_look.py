"""`tlpipe check` looks at the data: what prepare would refuse from a first look is refused, in the same words."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.project.conftest import Make, images
from tlpipe.config import ConfigError, parse
from tlpipe.data.pack import pack
from tlpipe.data.spec import Data
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.project import first_look
from tlpipe.project.first_look import look_at_data, require_weights


def data_at(path: Path, **settings: object) -> Data:
    found: Data = parse({"source": {"kind": "image_folder", "path": str(path)}, **settings}, Data, "data")
    return found


def test_it_counts_classes_and_splits(data: Make) -> None:
    lines = look_at_data(data_at(data("images")), 64)
    assert lines[0] == "data: 24 samples; 2 labels: ant 12, bee 12"
    assert "in 5 folds" in lines[1]


def refused_by_both(spec: Data, tmp_path: Path) -> str:
    with pytest.raises(ConfigError) as packing:
        pack(spec, "image_classification", ImagePreprocess(size=8, resize_to=8), tmp_path / "packed", workers=1)
    with pytest.raises(ConfigError) as looking:
        look_at_data(spec, 64)
    assert str(looking.value) == str(packing.value)
    return str(looking.value)


def test_what_prepare_refuses_is_refused_with_its_words(data: Make, tmp_path: Path) -> None:
    assert "does not exist" in refused_by_both(data_at(tmp_path / "nowhere"), tmp_path)
    folder = data("split images")
    split = {"validation": 0.2, "test": 0.2}
    assert "already gives a validation split" in refused_by_both(data_at(folder, split=split), tmp_path)
    images(tmp_path / "one", "only")
    assert "at least two classes" in refused_by_both(data_at(tmp_path / "one"), tmp_path)
    images(tmp_path / "few", "a", "b", count=1)
    assert "empty in a split" in refused_by_both(data_at(tmp_path / "few"), tmp_path)


def test_of_many_files_some_are_counted_and_it_is_said(data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "LISTED", 5)
    (line,) = look_at_data(data_at(data("images")), 64)
    assert line == (
        "data: 10 samples or more: of each class folder the first 5 files were counted; 2 labels: ant 5, bee 5"
    )


def test_a_disk_without_room_is_refused(data: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match="of disk"):
        look_at_data(data_at(data("images")), 64)


def test_samples_that_a_stage_makes_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sample_data makes it" in look_at_data(data_at(Path("data/digits")), 64)[0]


def test_weights_that_cannot_be_had_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "CACHED", dict.fromkeys(first_look.CACHED, lambda name: False))
    monkeypatch.setattr(first_look, "reachable", lambda host: False)
    published = {"kind": "torchvision", "name": "resnet18"}
    with pytest.raises(ConfigError, match=r"download.pytorch.org cannot be reached"):
        require_weights(published, tmp_path)
    require_weights({"kind": "letters"}, tmp_path)
    with pytest.raises(ConfigError, match=r"mine.pth does not exist"):
        require_weights({"kind": "checkpoint", "path": "mine.pth"}, tmp_path)
    monkeypatch.setattr(first_look, "reachable", lambda host: True)
    require_weights(published, tmp_path)
