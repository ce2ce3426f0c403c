"""One sample through every door: training, the predictor, `tlpipe predict`, the server, the example, the gate.

All of the odd inputs of ../shared/faults where it is, and odd ones made here: what one door takes all take, as the same
pixels or tokens, and what one refuses all refuse.
"""

import csv
import io
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
from typer.testing import CliRunner

from tests.bundles import make_bundle_of
from tests.serve.conftest import make_model
from tlpipe.bundle import read_bundle
from tlpipe.cli import app
from tlpipe.data.base import Sample
from tlpipe.data.ingest import Job, Unreadable, create_scratch, ingest
from tlpipe.export.parity import HeldOut
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.preprocess.text import Tokenizer
from tlpipe.serve import BadInput, Predictor
from tlpipe.serve.files import predict_files

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(os.environ.get("TLPIPE_SHARED", ROOT.parent / "shared")) / "faults" / "images"
MAX_PIXELS = 200_000


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def odd() -> dict[str, bytes]:
    """Files that careless readers take for something else."""
    ramp = np.add.outer(np.arange(40), np.arange(50))
    colours = Image.fromarray(np.stack([ramp, ramp[::-1], 2 * ramp], -1).astype(np.uint8))
    frames = [Image.new("RGB", (40, 50), colour) for colour in ("red", "lime")]
    alpha = colours.copy()
    alpha.putalpha(Image.fromarray((ramp * 2).astype(np.uint8)))
    clear = Image.new("RGBA", (40, 50), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (10, 10, 30, 40))
    turned = Image.Exif()
    turned[0x0112] = 6
    keyed = colours.quantize(8)
    made = {
        "alpha.png": saved(alpha, "PNG"), "clear.png": saved(clear, "PNG"),
        "grey_alpha.png": saved(alpha.convert("LA"), "PNG"),
        "keyed.gif": saved(keyed, "GIF", transparency=0), "keyed.png": saved(keyed, "PNG", transparency=1),
        "sixteen.png": saved(Image.fromarray((ramp * 700).astype(np.uint16)), "PNG"),
        "turned.jpg": saved(colours, "JPEG", exif=turned), "turned.png": saved(colours, "PNG", exif=turned),
        "cmyk.jpg": saved(colours.convert("CMYK"), "JPEG"), "one_bit.png": saved(colours.convert("1"), "PNG"),
        "float.tiff": saved(Image.fromarray(ramp.astype(np.float32)), "TIFF"),
        "cut.png": (whole := saved(colours, "PNG"))[: len(whole) // 2],
        "empty.png": b"", "noise.jpg": b"\xff\xd8\xff" + bytes(99),
        "long.png": saved(Image.new("RGB", (1, 9000)), "PNG"), "tall.png": saved(Image.new("RGB", (1, 100)), "PNG"),
        "large.png": saved(Image.new("RGB", (500, 401)), "PNG"),
        "pixel.png": saved(Image.new("RGB", (1, 1), "red"), "PNG"),
    }  # fmt: skip
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        made[f"frames_{kind}.{kind.lower()}"] = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd")
    for name, raw in odd().items():
        (root / name).write_bytes(raw)
    for path in sorted(FAULTS.iterdir()) if FAULTS.is_dir() else ():
        (root / f"shared_{path.name}").write_bytes(path.read_bytes())
    return root


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a limit of its own, which passed its gate."""
    root = tmp_path_factory.mktemp("doors")
    model, about = make_model(0)
    generator = np.random.default_rng(0)
    raw = [np.kron(generator.integers(0, 256, (8, 9, 3), np.uint8), np.ones((6, 6, 1), np.uint8)) for _ in range(3)]
    held = HeldOut(raw, np.stack([about.preprocess.pack(image) for image in raw]), max_pixels=MAX_PIXELS)
    spec = Export(samples=3, batch=2, tolerance=0.25, agreement=0.9)
    export_bundle(root / "bundle", root / "parity.json", model, about, held, {}, spec)
    return root / "bundle"


class Folder:
    """As much of a source as reading needs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


@pytest.fixture(scope="module")
def trained(folder: Path, served: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray | None]:
    """What training packs of each file; None where it rejects it."""
    bundle, scratch = read_bundle(served), tmp_path_factory.mktemp("scratch") / "scratch"
    names, edge = sorted(path.name for path in folder.iterdir()), bundle.preprocessing.resize_to
    job = Job(Folder(folder), bundle.preprocessing, bundle.limits.max_pixels, scratch)  # type: ignore[arg-type]
    create_scratch(job, len(names))
    outcomes = list(ingest(job, list(enumerate(names)), 1))
    rows = np.fromfile(scratch, np.uint8).reshape(len(names), edge, edge, 3)
    return {
        name: None if isinstance(outcome, Unreadable) else row
        for name, outcome, row in zip(names, outcomes, rows, strict=True)
    }


def test_every_door_reads_every_odd_image_alike(
    folder: Path, served: Path, trained: dict[str, np.ndarray | None], own_server: Any, tmp_path: Path
):
    taken = {name for name, packed in trained.items() if packed is not None}
    assert {"alpha.png", "sixteen.png", "frames_GIF.gif", "tall.png"} <= taken
    assert {"large.png", "long.png", "cut.png", "empty.png", "float.tiff"}.isdisjoint(taken)
    predictor = Predictor(served, device="cpu", top=9)
    out = tmp_path / "out.jsonl"
    command = ["predict", served, *(folder / name for name in trained), "--out", out, "--device", "cpu", "--all"]
    result = CliRunner().invoke(app, [str(each) for each in command])
    assert result.exit_code == 0, result.output
    lines = dict(zip(trained, map(json.loads, out.read_text().splitlines()), strict=True))
    for name, packed in trained.items():
        raw = (folder / name).read_bytes()
        status, content, _ = own_server.send("POST", "/predict?top=9", raw)
        if packed is None:
            with pytest.raises(BadInput):
                predictor(raw)
            assert status in (400, 413), name
            assert "error" in lines[name], name
        else:
            expected = predictor(packed)
            assert predictor(raw) == expected, name
            assert predictor.loaded.reading.load(folder / name).rows[0]["image"].tolist() == packed.tolist(), name
            assert content["predictions"] == [expected], name
            assert {key: lines[name][key] for key in expected} == expected, name


def test_the_example_answers_as_the_server(folder: Path, served: Path, trained: dict[str, np.ndarray | None]):
    """Within what the graph's own resize may differ by; files that nobody takes end it with the reason."""
    predictor, names = (
        Predictor(served, device="cpu", top=9),
        [name for name, row in trained.items() if row is not None],
    )
    program = [sys.executable, "-X", "utf8", str(ROOT / "examples/predict.py"), str(served / "model.onnx")]
    done = subprocess.run(
        [*program, *(str(folder / name) for name in names)], check=True, capture_output=True, encoding="utf-8"
    )
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        words = line.removeprefix(str(folder / name)).split()
        said = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        top = predictor(folder / name)["top"]
        assert said == pytest.approx({each["label"]: each["probability"] for each in top}, abs=0.1), name
    refused = subprocess.run([*program, str(folder / "long.png")], check=False, capture_output=True, encoding="utf-8")
    assert "too_large: 1 x 9000 pixels are 37 x 333000 once resized" in refused.stderr
    assert refused.returncode == 1


TEXTS = {
    "plain": "a fine film", "line end": "a fine film\n", "windows": "\r\n a fine film\t", "no-break": "\u00a0bad\u3000",
    "mark": "\ufeffbad", "blank": " \n\t", "nothing": "", "long": "word " * 200_001, "control": "so\x00 so",
}  # fmt: skip


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle_of("text_classification", tmp_path_factory.mktemp("texts"))


@pytest.fixture
def learnt(texts: Path, tmp_path: Path) -> Callable[[list[str]], dict[int, list[int]]]:
    """Ids of the texts that training keeps, by their number."""
    from tlpipe.data.read_texts import TextReader
    from tlpipe.data.reader import Intake
    from tlpipe.data.spec import Data
    from tlpipe.data.text_table import TextTable

    def read(raw: list[str]) -> dict[int, list[int]]:
        root = tmp_path / "table"
        root.mkdir()
        lines = [json.dumps({"text": text, "label": "ab"[at % 2]}) for at, text in enumerate(raw)]
        (root / "t.jsonl").write_text("\n".join(lines))
        source = TextTable(kind="text_table", path=str(root), table="t.jsonl")
        samples: list[Sample] = source.scan()
        intake = Intake(
            Data(source=source), read_bundle(texts).preprocessing, samples, tmp_path, lambda each, *_: each, 1, texts
        )
        reader = TextReader(intake)
        return {
            int(sample.id[-8:]) - 1: reader.rows[at].ids.tolist()
            for at, sample in enumerate(samples)
            if at not in reader.rejected
        }

    return read


def test_every_door_reads_every_odd_text_alike(
    texts: Path, learnt: Callable[[list[str]], dict[int, list[int]]], serve: Any, tmp_path: Path
):
    names = list(TEXTS)
    expected = {names[at]: ids for at, ids in learnt(list(TEXTS.values())).items()}
    assert set(names) - set(expected) == {"blank", "nothing", "long"}
    assert expected["plain"] == expected["line end"] == expected["windows"]
    predictor = Predictor(texts, device="cpu")
    with serve(texts, tmp_path / "log", "--drain", 0) as server:
        for name, text in TEXTS.items():
            (tmp_path / "a.txt").write_bytes(text.encode())
            found = list(predictor.stream([text, text.encode(), tmp_path / "a.txt", {"text": text}]))
            for media, body in (("text/plain", text), ("application/json", json.dumps({"text": text}))):
                status, content, _ = server.send("POST", "/predict", body.encode(), {"content-type": media})
                assert (status == 200) is (name in expected), (name, content)
                found += content.get("predictions", [BadInput("refused")])
            if name not in expected:
                assert all(isinstance(each, BadInput) for each in found), name
                continue
            # only a file begins with a byte order mark: as a character of a text it is one
            answers = found[1:3] + found[4:5] if name == "mark" else found
            assert all(each == answers[0] for each in answers), name
            row = predictor.loaded.reading.load(text).rows[0]
            assert row["input_ids"][: row["attention_mask"].sum()].tolist() == expected[name], name


def test_a_table_is_a_sample_a_row(texts: Path, tmp_path: Path):
    predictor = Predictor(texts, device="cpu")
    rows = [("a fine film ", "pos"), ("bad", "neg"), ("  ", "neg"), ("one, two", "pos")]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text, "label": each}) + "\n" for text, each in rows))
    expected = [each if not isinstance(each, BadInput) else None for each in predictor.stream(row[0] for row in rows)]
    assert [each is None for each in expected] == [False, False, True, False]
    for name in ("t.csv", "t.jsonl"):
        found = list(predict_files(predictor, [tmp_path / name]))
        assert [None if isinstance(answer, BadInput) else answer for _, answer in found] == expected, name
    assert next(name for name, _ in predict_files(predictor, [tmp_path / "t.csv"])) == f"{tmp_path / 't.csv'}:2"


def test_a_table_without_the_column_is_an_error_that_names_it(texts: Path, tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("sentence,label\ngood,pos\n")
    command = ["predict", str(texts), str(path), "--device", "cpu"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "has no column 'text'" in refused.stderr
    assert "--text-column" in refused.stderr
    answered = CliRunner().invoke(app, [*command, "--text-column", "sentence"])
    assert answered.exit_code == 0, answered.output
    assert answered.stdout.count("\n") == 2
    other = CliRunner().invoke(app, [*command, "--text-column", "sentence", "--pair-column", "premise"])
    assert "no column 'premise'" in other.stderr


def test_the_tokenizer_of_the_bundle_is_the_trainings(texts: Path):
    """What the comparison above rests on."""
    tokenizer = Tokenizer(texts / "tokenizer.json", read_bundle(texts).preprocessing)
    assert next(tokenizer.rows([("a fine film",)])).ids.tolist() != next(tokenizer.rows([("bad",)])).ids.tolist()
