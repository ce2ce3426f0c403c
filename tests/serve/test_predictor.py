"""The bundle as a function, and over files."""

import csv
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tlpipe.cli import app
from tlpipe.csv_files import read_columns
from tlpipe.serve import BadInput, Predictor
from tlpipe.serve.files import found
from tlpipe.serve.predictor import ahead

Png = Callable[[np.ndarray], bytes]


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor(bundle, device="cpu", batch=2)


def test_every_kind_of_input_gives_the_same_answer(
    predictor: Predictor, pictures: list[np.ndarray], tmp_path: Path, png: Png
):
    image = pictures[0]
    path = tmp_path / "a.png"
    path.write_bytes(png(image))
    answers = [predictor(each) for each in (image, png(image), path, str(path), Image.fromarray(image))]
    assert all(answer == answers[0] for answer in answers)
    assert predictor([image, path]) == answers[:2]


def test_probabilities_are_the_graphs(
    predictor: Predictor, pictures: list[np.ndarray], graph: Callable[[np.ndarray], np.ndarray]
):
    preprocess = predictor.loaded.reading.preprocess
    for image, answer in zip(pictures, predictor(pictures), strict=True):
        expected = graph(preprocess.pack(image))[0]
        labels = predictor.loaded.bundle.labels
        assert {each["label"]: each["probability"] for each in answer["top"]} == pytest.approx(
            dict(zip(labels, expected, strict=True)), abs=2e-6
        )
        assert answer["label"] == labels[expected.argmax()]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (b"", "empty"),
        (b"nothing of an image", "not_an_image"),
        ("absent.jpg", "No such file"),
        ("nul\0", "null"),
        (3, "got int"),
        (np.zeros((4, 4, 3), np.float32), "got float32"),
        (np.zeros((4, 4, 4), np.uint8), "got uint8"),
        (np.zeros((0, 4, 3), np.uint8), "the image is empty"),
        (np.zeros((1, 80_000, 3), np.uint8), "too large"),
        (Image.new("F", (4, 4)), "mode F"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(predictor: Predictor, item: object, sentence: str):
    with pytest.raises(BadInput, match=sentence):
        predictor([item])


def test_a_bad_sample_does_not_end_the_stream(predictor: Predictor, pictures: list[np.ndarray]):
    items = [pictures[0], b"bad", pictures[1], b"", pictures[2]]
    found = list(predictor.stream(items))
    assert [isinstance(each, BadInput) for each in found] == [False, True, False, True, False]
    assert [found[0], found[2], found[4]] == predictor(pictures[:3])


def test_the_reader_is_never_far_ahead():
    taken: list[int] = []

    def source() -> Iterator[int]:
        for at in range(10_000):
            taken.append(at)
            yield at

    with ThreadPoolExecutor(2) as pool:
        results = ahead(pool, lambda at: at, source(), 8)
        assert [next(results) for _ in range(100)] == list(range(100))
        assert len(taken) <= 100 + 8 + 1


@pytest.fixture
def folder(tmp_path: Path, pictures: list[np.ndarray], png: Png) -> Path:
    root = tmp_path / "pictures"
    for at, image in enumerate(pictures):
        path = root / f"{'deep/' if at % 2 else ''}{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))
    (root / "cut.PNG").write_bytes(png(pictures[0])[:200])
    (root / "notes.txt").write_text("no image")
    return root


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result.stderr


def test_a_folder_to_csv(bundle: Path, folder: Path, tmp_path: Path, predictor: Predictor):
    out = tmp_path / "out" / "labels.csv"
    said = run("predict", bundle, folder, "--out", out, "--all", "--device", "cpu")
    assert "5 answered, 1 could not be used" in said
    rows = {row["path"]: row for row in csv.DictReader(StringIO(out.read_text(encoding="utf-8")))}
    assert len(rows) == 6
    bad = rows.pop(str(folder / "cut.PNG"))
    assert "the image cannot be used" in bad["error"]
    assert bad["label"] == ""
    for path, row in rows.items():
        answer = predictor(path)
        assert row["label"] == answer["label"]
        assert {f"p_{each['label']}": each["probability"] for each in answer["top"]} == {
            name: float(value) for name, value in row.items() if name.startswith("p_")
        }


def test_files_to_jsonl_in_their_order(bundle: Path, folder: Path, tmp_path: Path, predictor: Predictor):
    out = tmp_path / "labels.jsonl"
    files = [folder / "4.png", folder / "cut.PNG", folder / "0.png"]
    run("predict", bundle, *files, "--out", out, "--top", 2, "--device", "cpu")
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in files]
    assert "error" in lines[1]
    assert lines[0]["top"] == predictor(files[0])["top"][:2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_a_message(bundle: Path, folder: Path):
    said = run("predict", bundle, folder, "--out", "/dev/full", "--device", "cpu", code=2)
    assert "/dev/full cannot be written to its end: No space left" in said


def test_odd_names_and_odd_outcomes(bundle: Path, folder: Path, tmp_path: Path):
    odd = folder / "\udcff.png"
    (folder / "0.png").rename(odd)
    out = tmp_path / "labels.jsonl"
    run("predict", bundle, odd, "--out", out, "--device", "cpu")
    assert json.loads(out.read_text())["path"] == str(odd)
    run("predict", bundle, folder / "cut.PNG", "--device", "cpu", code=1)
    assert "does not exist" in run("predict", bundle, folder / "absent", "--device", "cpu", code=2)
    assert len(list(found([folder / "deep"], {".png"}))) == 2


def test_a_file_with_a_formula_for_a_name(bundle: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "0.png").rename(folder / "=1+1.png")
    monkeypatch.chdir(folder)
    run("predict", bundle, "=1+1.png", "--out", "out.csv", "--device", "cpu")
    assert Path("out.csv").read_text().splitlines()[1].startswith("'=1+1.png,")
    assert [row["path"] for row in read_columns(Path("out.csv"))] == ["=1+1.png"]


def test_a_folder_without_a_file_to_answer_for_is_an_error(bundle: Path, folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (folder / "notes.txt").rename(tmp_path / "empty" / "notes.txt")
    out = tmp_path / "labels.csv"
    said = run("predict", bundle, tmp_path / "empty", "--device", "cpu", "--out", out, code=2)
    assert "no file to answer for" in said
    assert ".jpeg" in said
    assert not out.exists()
