from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tlpipe.config import ConfigError
from tlpipe.data.base import Sample
from tlpipe.data.image_folder import ImageFolder

Write = Callable[[Any], Path]


def names(*paths: str) -> dict[str, bytes]:
    return dict.fromkeys(paths, b"x")


def test_class_folders(tree: Write):
    root = tree(names("b/2.png", "b/1.JPG", "a/deep/er/3.jpeg"))
    source = ImageFolder(path=str(root))
    assert source.scan() == [Sample("a/deep/er/3.jpeg", "a"), Sample("b/1.JPG", "b"), Sample("b/2.png", "b")]
    assert source.read("b/1.JPG") == b"x"


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("val", "validation"),
        ("valid", "validation"),
        ("Validation", "validation"),
        ("test", "test"),
        ("dev", "validation"),
    ],
)
def test_usual_split_folders_are_recognised(tree: Write, folder: str, split: str):
    root = tree(names("train/a/1.png", f"{folder}/a/2.png"))
    assert {(s.id, s.label, s.split) for s in ImageFolder(path=str(root)).scan()} == {
        ("train/a/1.png", "a", "train"),
        (f"{folder}/a/2.png", "a", split),
    }


def test_split_folders_can_be_named(tree: Write):
    root = tree(names("train/a/1.png", "val/a/2.png", "unused/a/3.png"))
    source = ImageFolder(path=str(root), splits={"train": "train", "test": "val"})
    assert [(s.id, s.split) for s in source.scan()] == [("train/a/1.png", "train"), ("val/a/2.png", "test")]
    assert source.ignored() == ["unused/"]


def test_what_is_not_an_image_is_reported(tree: Write):
    hidden = ["a/.ipynb_checkpoints/1.png", "a/._1.png", ".git/config", "train.csv", "a/Thumbs.db", "a/x/notes.txt"]
    root = tree(names("a/1.png", "b/1.png", "loose.png", *hidden))
    source = ImageFolder(path=str(root))
    assert [sample.id for sample in source.scan()] == ["a/1.png", "b/1.png"]
    assert source.ignored() == sorted([".git/", "loose.png", *(name for name in hidden if name != ".git/config")])


def test_loose_files_beside_split_and_class_folders_are_reported(tree: Write):
    root = tree(names("train/a/1.png", "test/a/2.png", "train/list.txt", "SOURCE.md"))
    assert ImageFolder(path=str(root)).ignored() == ["SOURCE.md", "train/list.txt"]


@pytest.mark.parametrize("files", [("train/a/1.png", "cat/1.png"), ("val/a/1.png", "valid/a/1.png")])
def test_ambiguous_layouts_are_refused(tree: Write, files: tuple[str, ...]):
    with pytest.raises(ConfigError, match=r"say which folder is which with data.source.splits"):
        ImageFolder(path=str(tree(names(*files)))).scan()


def test_empty_splits_make_every_folder_a_class(tree: Write):
    root = tree(names("train/1.png", "tram/1.png"))
    assert {s.label for s in ImageFolder(path=str(root), splits={}).scan()} == {"train", "tram"}


def test_errors_say_what_is_there(tree: Write, tmp_path: Path):
    root = tree(names("train/a/1.png", "test/a/1.png"))
    with pytest.raises(ConfigError, match="no folder 'tset'; did you mean 'test'"):
        ImageFolder(path=str(root), splits={"train": "train", "test": "tset"}).scan()
    with pytest.raises(ConfigError, match="cannot be two splits"):
        ImageFolder(path=str(root), splits={"train": "train", "test": "train"}).scan()
    with pytest.raises(ConfigError, match="does not exist"):
        ImageFolder(path=str(tmp_path / "nowhere")).scan()
    (root / "train" / "phone").mkdir()
    (root / "train" / "phone" / "1.HEIC").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"class folder .*phone holds no images that are read; 1 .heic .* convert"):
        ImageFolder(path=str(root)).scan()


def test_what_is_no_class_does_not_refuse_the_rest(tree: Write):
    root = tree(names("a/1.png", "b/1.png"))
    for name in ("__MACOSX", "empty", "@eaDir"):
        (root / name).mkdir()
    (root / "__MACOSX" / "1.png").write_bytes(b"x")
    (root / "a" / "2.heic").write_bytes(b"x")
    folder = ImageFolder(path=str(root))
    assert {sample.label for sample in folder.scan()} == {"a", "b"}
    assert {"__MACOSX/", "@eaDir/", "a/2.heic"} <= set(folder.ignored())
    assert [note.partition(":")[0] for note in folder.notes()] == ["1 .heic file is not read", "empty"]


def test_a_class_is_named_on_one_line(tree: Write):
    with pytest.raises(ConfigError, match=r"a line break in the name 'a.nb'"):
        ImageFolder(path=str(tree(names("a\nb/1.png", "c/1.png")))).scan()


def test_no_class_folders(tree: Write):
    with pytest.raises(ConfigError, match="no class folders"):
        ImageFolder(path=str(tree(names("1.png")))).scan()


def test_links_in_a_circle_end(tree: Write):
    root = tree(names("a/1.png", "b/1.png"))
    (root / "a" / "again").symlink_to(root / "a", target_is_directory=True)
    assert [sample.id for sample in ImageFolder(path=str(root)).scan()] == ["a/1.png", "b/1.png"]
