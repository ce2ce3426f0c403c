"""A set that grows: what was packed is not decoded again, and the bytes are those of a run from scratch."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.test_pack import SPEC, settings
from tlpipe.data import ingest
from tlpipe.data.base import silently
from tlpipe.data.pack import pack
from tlpipe.preprocess.image import ImagePreprocess

Write = Callable[[Any], Path]
Picture = Callable[[int], Image.Image]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Raw bytes of the images that were decoded."""
    seen: list[bytes] = []
    read = ImagePreprocess.read

    def counted(self: ImagePreprocess, raw: bytes, *arguments: Any) -> Any:
        seen.append(raw)
        return read(self, raw, *arguments)

    monkeypatch.setattr(ImagePreprocess, "read", counted)
    return seen


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the samples whose files were read."""
    seen: list[str] = []
    one = ingest._ingest

    def counted(job: ingest.Job, row: int, name: str) -> Any:
        seen.append(name)
        return one(job, row, name)

    monkeypatch.setattr(ingest, "_ingest", counted)
    return seen


class Packing:
    """Packs a folder with a cache, as `prepare` does after DVC deleted its outs."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.cache = root, folder, folder / "reuse/packed"

    def run(self, spec: ImagePreprocess = SPEC, code: str = "1", **sections: Any) -> dict[str, bytes]:
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        data = settings(self.root, **sections)
        report = pack(data, "image_classification", spec, self.folder / "out", silently, 1, cache=self.cache, code=code)
        return {"report": repr(report).encode(), **files_of(self.folder / "out")}

    def scratch(self, spec: ImagePreprocess = SPEC, **sections: Any) -> dict[str, bytes]:
        report = pack(settings(self.root, **sections), "image_classification", spec, self.folder / "fresh", silently, 1)
        return {"report": repr(report).encode(), **files_of(self.folder / "fresh")}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def age(root: Path) -> None:
    """Files that are older than the run that reads them."""
    for path in root.rglob("*.*"):
        os.utime(path, (10**9, 10**9))


@pytest.fixture
def packing(tree: Write, tmp_path: Path, picture: Picture) -> Packing:
    names = [(label, number) for label in "ab" for number in range(10)]
    files: dict[str, Any] = {f"{a}/{n}.png": picture(100 * n + "ab".index(a)) for a, n in names}
    files |= {"a/copy.png": files["a/3.png"], "b/bad.png": b"no image"}
    root = tree(files)
    age(root)
    return Packing(root, tmp_path)


def test_ten_per_cent_more_images_read_ten_per_cent(
    packing: Packing, tree: Write, picture: Picture, decoded: list[bytes], opened: list[str]
) -> None:
    packing.run()
    decoded.clear()
    opened.clear()
    tree({"a/new.png": picture(7001), "b/new.png": picture(7002)})
    grown = packing.run()
    assert opened == ["a/new.png", "b/new.png"]
    assert len(decoded) == 2
    assert grown == packing.scratch()


def test_files_that_moved_or_were_copied_are_hashed_and_not_decoded(packing: Packing, decoded: list[bytes]) -> None:
    packing.run()
    (packing.root / "a/3.png").rename(packing.root / "a/three.png")
    for path in packing.root.rglob("*.png"):
        os.utime(path)
    decoded.clear()
    again = packing.run()
    assert decoded == []
    assert again == packing.scratch()


def test_an_image_that_changed_is_read_again_also_at_the_same_size_and_name(
    packing: Packing, picture: Picture, decoded: list[bytes]
) -> None:
    picture(8000).save(packing.root / "a/1.png")
    packing.run()  # the file is as new as the run: its time of change says nothing
    size = (packing.root / "a/1.png").stat()
    raw = bytearray((packing.root / "a/1.png").read_bytes())
    raw[-20] ^= 1
    (packing.root / "a/1.png").write_bytes(raw)
    os.utime(packing.root / "a/1.png", ns=(size.st_atime_ns, size.st_mtime_ns))
    decoded.clear()
    again = packing.run()
    assert decoded == [bytes(raw)]
    assert again == packing.scratch()


def test_samples_that_were_left_out_are_decoded_when_they_are_used(packing: Packing, decoded: list[bytes]) -> None:
    packing.run(limit_per_class=3)
    decoded.clear()
    assert packing.run(limit_per_class=3) == packing.scratch(limit_per_class=3)
    decoded.clear()
    whole = packing.run()
    assert 0 < len(decoded) < 20
    assert whole == packing.scratch()


@pytest.mark.parametrize(
    "change",
    [{"code": "2"}, {"spec": ImagePreprocess(size=8, resize_to=13)}, {"checks": {"max_pixels": 5000}}],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_or_code_take_nothing_from_the_cache(
    packing: Packing, decoded: list[bytes], change: dict[str, Any]
) -> None:
    packing.run()
    decoded.clear()
    assert packing.run(**change) == packing.scratch(**{key: each for key, each in change.items() if key != "code"})
    assert len(decoded) == 44


def test_a_damaged_cache_changes_no_bit(packing: Packing, decoded: list[bytes]) -> None:
    whole = packing.run()
    array = np.load(packing.cache / "images.npy")
    array[4] ^= 1
    (packing.cache / "images.npy").unlink()
    np.save(packing.cache / "images.npy", array)
    decoded.clear()
    assert packing.run() == whole
    assert len(decoded) == 1
    for name in ("images.npz", "images.npy"):
        content = (packing.cache / name).read_bytes()
        (packing.cache / name).unlink()
        (packing.cache / name).write_bytes(content[: len(content) // 2])
        assert packing.run() == whole
    shutil.rmtree(packing.cache)
    (packing.cache.with_name(".packed.half")).mkdir()  # as a kill leaves it
    assert packing.run() == whole
    assert sorted(path.name for path in packing.cache.parent.iterdir()) == ["packed"]


def test_the_cache_takes_no_room_of_its_own(packing: Packing) -> None:
    packing.run()
    assert (packing.cache / "images.npy").samefile(packing.folder / "out/images.npy")
