import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlpipe.config import ConfigError, parse
from tlpipe.data.base import silently
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data
from tlpipe.preprocess.decode import decode
from tlpipe.preprocess.image import ImagePreprocess

SPEC = ImagePreprocess(size=8, resize_to=12)
Write = Callable[[Any], Path]
Picture = Callable[[int], Image.Image]


def settings(root: Path, **sections: Any) -> Data:
    source = {"kind": "image_folder", "path": str(root), **sections.pop("source", {})}
    split = {"folds": None, **sections.pop("split", {})}
    data: Data = parse({"source": source, "split": split, **sections}, Data, "data")
    return data


def run(root: Path, out: Path, workers: int = 1, **sections: Any) -> tuple[dict[str, Any], Packed]:
    report = pack(settings(root, **sections), "image_classification", SPEC, out, silently, workers)
    return report, Packed.open(out)


@pytest.fixture
def files(picture: Picture) -> dict[str, Any]:
    return {f"{label}/{n}.png": picture(10 * n + "abc".index(label)) for label in "abc" for n in range(6)}


def manifest(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_are_what_the_preprocessing_makes(tree: Write, tmp_path: Path, files: dict[str, Any], workers: int):
    root = tree(files)
    report, packed = run(root, tmp_path / "out", workers)
    assert packed.samples.shape == (18, 12, 12, 3)
    assert packed.classes == ("a", "b", "c")
    assert list(packed.ranges) == ["train", "validation", "test"]
    for row, name in enumerate(packed.ids):
        expected = SPEC.pack(decode((root / name).read_bytes(), 10**6))
        np.testing.assert_array_equal(packed.samples[row], expected)
        assert packed.classes[packed.labels[row]] == name[0]
    assert all(1 <= count <= 4 for count in report["counts"]["test"].values())
    assert (report["found"], report["used"], report["rejected"], report["ignored"]) == (18, 18, [], [])
    assert report["images"]["width"] == {"min": 40, "median": 40, "max": 40}
    sizes = {split: sum(labels.values()) for split, labels in report["counts"].items()}
    assert [line["split"] for line in manifest(tmp_path / "out")] == [
        name for name in sizes for _ in range(sizes[name])
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "dataset.json", "images.npy", "labels.npy", "manifest.csv",
    ]  # fmt: skip


def test_the_same_bytes_again_with_any_number_of_processes(tree: Write, tmp_path: Path, files: dict[str, Any]):
    root = tree(files)
    reports = [run(root, tmp_path / str(workers), workers)[0] for workers in (1, 2)]
    assert json.dumps(reports[0]) == json.dumps(reports[1])
    for name in ("images.npy", "labels.npy", "manifest.csv", "dataset.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_the_fingerprint_follows_the_data(tree: Write, tmp_path: Path, files: dict[str, Any], picture: Picture):
    root = tree(files)
    first = run(root, tmp_path / "out")[1].fingerprint
    assert run(root, tmp_path / "out")[1].fingerprint == first
    assert run(root, tmp_path / "out", split={"seed": 5})[1].fingerprint != first
    picture(999).save(root / "a" / "0.png")
    assert run(root, tmp_path / "out")[1].fingerprint != first


def test_a_split_is_known_by_its_raw_samples_alone(
    tree: Write, tmp_path: Path, files: dict[str, Any], picture: Picture
):
    held = {f"test/{label}/{n}.png": picture(500 + 10 * n + "abc".index(label)) for label in "abc" for n in range(2)}
    root = tree({**{f"train/{name}": image for name, image in files.items()}, **held})
    own: dict[str, Any] = {"split": {"test": None}}
    first, whole = run(root, tmp_path / "out", **own)
    fewer = run(root, tmp_path / "out", **own, limit_per_class=3)[0]
    finer = pack(
        settings(root, **own),
        "image_classification",
        ImagePreprocess(size=9, resize_to=16),
        tmp_path / "out",
        silently,
        1,
    )
    assert fewer["sets"]["test"] == finer["sets"]["test"] == first["sets"]["test"]
    assert finer["sets"] == first["sets"]
    assert len(set(first["sets"].values())) == 3
    assert fewer["sets"]["train"] != first["sets"]["train"]
    assert whole.fingerprint not in (fewer["fingerprint"], finer["fingerprint"], *first["sets"].values())
    (root / "test/a/0.png").rename(root / "test/b/other.png")
    relabelled = run(root, tmp_path / "out", **own)[0]["sets"]["test"]
    picture(999).save(root / "test/b/other.png")
    assert len({first["sets"]["test"], relabelled, run(root, tmp_path / "out", **own)[0]["sets"]["test"]}) == 3


def test_bad_files_leave_no_holes(tree: Write, tmp_path: Path, files: dict[str, Any], picture: Picture):
    good = (tree(files) / "a" / "0.png").read_bytes()
    bad = {"a/00.png": b"", "b/zz.jpg": b"no image", "c/half.png": good[: len(good) // 2], "b/Thumbs.db": b"x"}
    report, packed = run(
        tree(bad | {"a/long.png": Image.new("RGB", (1, 9000))}), tmp_path / "out", checks={"max_pixels": 9000}
    )
    assert {item["id"]: item["reason"] for item in report["rejected"]} == {
        "a/00.png": "empty", "a/long.png": "too_large", "b/zz.jpg": "not_an_image", "c/half.png": "truncated",
    }  # fmt: skip
    assert report["ignored"] == ["b/Thumbs.db"]
    assert set(packed.ids) == set(files)
    assert all(row.any() for row in packed.samples)


def test_the_terms_beside_the_samples_are_taken_over(tree: Write, tmp_path: Path, files: dict[str, Any]):
    root = tree(files)
    assert run(root, tmp_path / "out")[0]["terms"] == ""
    (root / "SOURCE.md").write_text("CC BY 4.0, cite Doe 2020\n")
    report = run(root, tmp_path / "out")[0]
    assert (report["terms"], report["ignored"]) == ("CC BY 4.0, cite Doe 2020", [])


def test_copies_across_given_splits(tree: Write, tmp_path: Path, picture: Picture):
    places = [f"{split}/{label}/{n}.png" for split in ("train", "val", "test") for label in "ab" for n in range(3)]
    files = {name: picture(seed) for seed, name in enumerate(places)}
    files["train/a/leak.bmp.png"] = files["test/a/0.png"]
    files["val/b/leak.jpg"] = files["test/b/1.png"]
    files["train/a/two.png"] = files["train/b/two.png"] = picture(1000)
    report, packed = run(tree(files), tmp_path / "out", split={"validation": None, "test": None})
    assert {item["id"]: item["reason"] for item in report["rejected"]} == {
        "train/a/leak.bmp.png": "duplicate_of:test/a/0.png",
        "train/a/two.png": "conflicting_labels",
        "train/b/two.png": "conflicting_labels",
        "val/b/leak.jpg": "near_duplicate_of:test/b/1.png",
    }
    assert [cluster["ids"] for cluster in report["duplicates"]["near"]] == [["test/b/1.png", "val/b/leak.jpg"]]
    assert report["duplicates"]["near"][0]["splits"] == ["test", None]
    assert "test/b/1.png" in packed.ids


def test_near_copies_in_one_pool_are_kept_on_one_side_and_listed(tree: Write, tmp_path: Path, files: dict[str, Any]):
    copies = {f"{name[:-4]}.jpg": image for name, image in files.items() if name.startswith("a")}
    report, packed = run(tree(files | copies), tmp_path / "out")
    where = {line["id"]: line["split"] for line in manifest(tmp_path / "out")}
    assert len(report["duplicates"]["near"]) == 6
    assert all(where[name] == where[f"{name[:-4]}.png"] for name in copies)
    assert len(packed.ids) == 24
    off, _ = run(tree({}), tmp_path / "out", checks={"near_duplicates": None})
    assert off["duplicates"]["near"] == []


def test_an_empty_class_is_an_error_with_the_way_out(tree: Write, tmp_path: Path, files: dict[str, Any]):
    broken = {f"c/{n}.png": b"broken" for n in range(5)}
    with pytest.raises(
        ConfigError, match=r"c: train \d, validation \d, test \d; rejected: 5 not_an_image(.|\n)*do:.*add samples"
    ):
        run(tree(files | broken), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "raw"]


def test_what_fails_leaves_the_folder_of_before(tree: Write, tmp_path: Path, files: dict[str, Any]):
    root, out = tree(files), tmp_path / "out"
    run(root, out)
    before = (out / "images.npy").read_bytes()

    def stopped(iterable: Any, description: str, total: int | None = None, unit: str = "it") -> Any:
        for number, item in enumerate(iterable):
            if description == "writing arrays" and number == 5:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        pack(settings(root, split={"seed": 3}), "image_classification", SPEC, out, stopped, 1)
    assert (out / "images.npy").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def test_what_is_odd_is_noted(tree: Write, tmp_path: Path, files: dict[str, Any], picture: Picture):
    deep = np.asarray(picture(3).convert("L")).astype(np.uint16) * 16  # 12 bits in a file of 16
    root = tree({**files, "a/deep.png": Image.fromarray(deep), "a/phone.heic": b"x", "d/phone.txt": b"x"})
    report, _ = run(root, tmp_path / "packed")
    assert [note.partition(";")[0].partition(":")[0] for note in report["notes"]] == [
        "1 images are nearly black, with no value above 16 of 255 (a/deep.png)",
        "1 .heic file is not read",
        "d",
    ]


def test_the_limit_is_counted(tree: Write, tmp_path: Path, files: dict[str, Any]):
    report, packed = run(tree(files), tmp_path / "out", limit_per_class=2)
    test = report["counts"]["test"]
    assert report["left_aside"] == {label: 6 - 2 - test[label] for label in "abc"}
    assert report["counts"] == {**{split: {"a": 1, "b": 1, "c": 1} for split in ("train", "validation")}, "test": test}
    assert len(packed.ids) == 6 + sum(test.values())


def test_missing_files_of_a_table(tree: Write, tmp_path: Path, files: dict[str, Any]):
    lines = ["image,label", *(f"{name},{name[0]}" for name in files), "gone.png,a", "a/0.png,a"]
    root = tree(files | {"t.csv": "\n".join(lines).encode()})
    report, _ = run(root, tmp_path / "out", source={"kind": "image_table", "table": "t.csv"})
    assert [(item["id"], item["reason"]) for item in report["rejected"]] == [
        ("a/0.png", "duplicate_of:a/0.png"),
        ("gone.png", "missing"),
    ]


def test_one_class_is_refused(tree: Write, tmp_path: Path, picture: Picture):
    with pytest.raises(ConfigError, match="at least two classes, found only"):
        run(tree({"only/1.png": picture(1)}), tmp_path / "out")


MEASURE = """
import resource, sys
from pathlib import Path
from tlpipe.config import parse
from tlpipe.data.pack import pack
from tlpipe.data.spec import Data
from tlpipe.preprocess.image import ImagePreprocess
if __name__ == "__main__":
    data = parse({"source": {"kind": "image_folder", "path": sys.argv[1]}}, Data, "data")
    pack(data, "image_classification", ImagePreprocess(size=224, resize_to=256), Path(sys.argv[2]), workers=1)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tree: Write, tmp_path: Path, picture: Picture):
    """Twelve times as many images are 108 MB more of arrays; the peak may grow by a tenth of that."""
    peaks = []
    (tmp_path / "measure.py").write_text(MEASURE)
    for number in (25, 300):
        root = tree({f"{label}/{n}.png": picture(2 * n + "ab".index(label)) for label in "ab" for n in range(number)})
        command = [sys.executable, str(tmp_path / "measure.py"), str(root), str(tmp_path / "out")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        peaks.append(int(result.stdout) * 1024)
    assert peaks[1] - peaks[0] < 0.1 * 550 * 256 * 256 * 3
