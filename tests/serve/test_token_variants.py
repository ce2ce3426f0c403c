"""Variants of what reads tokens: judged as the task is, whatever it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest

from tests import asked, tagged
from tests.untrained import fit_again, make_about, make_noisy, make_text_bundle
from tlpipe.backbones.bert import Bert, Size
from tlpipe.bundle import read_bundle
from tlpipe.data import tokens
from tlpipe.data.asked import asked as questions_of
from tlpipe.data.asked import find, write_answers
from tlpipe.data.corpus import train_wordpiece
from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.data.targets import IGNORED
from tlpipe.export.text_parity import HeldOutTexts
from tlpipe.preprocess.text import Tokenizer
from tlpipe.serve import Predictor
from tlpipe.serve.runtime.load import load
from tlpipe.serve.runtime.session import Runtime
from tlpipe.serve.variants.gate import Gate
from tlpipe.serve.variants.search import make_variants
from tlpipe.tasks.base import Task
from tlpipe.tasks.question_answering.export import HeldOutQuestions
from tlpipe.tasks.token_classification.export import HeldOutWords
from tlpipe.tasks.union import TextClassification
from tlpipe.train.model import About

CPU = Runtime(device="cpu", threads=1)
KEEPS_ALL = Gate(loss=1, calibration=2, rounds=3).model_copy(update={"faster": 0.0})
TEXT = Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=200), max_length=24)
WORDS = ["a", "fine", "film", "was", "bad", "so", "long", "enough", "to", "rest", "naïve", "🙂", "日本"]
LABELS = ("neg", "pos", "größe")


class Case(NamedTuple):
    """A bundle, and packed data whose truth is what the bundle itself says, so that its figure is 1."""

    bundle: Path
    data: Path
    metric: str
    samples: int
    asked: object
    """What `Predictor` may be given."""


def about_of(task: Task, backbone: Bert, labels: tuple[str, ...], **more: Any) -> About:
    preprocess = task.preprocess(backbone.preprocess())
    return make_about(task=task, backbone=backbone, preprocess=preprocess, labels=labels, **more)


def texts(folder: Path) -> Case:
    """48 texts of 3 to 20 words."""
    generator = np.random.default_rng(0)
    chosen = [" ".join(generator.choice(WORDS, generator.integers(3, 20))) for _ in range(48)]
    train_wordpiece(WORDS * 9, 200, True, folder / "tokenizer.json")
    held = HeldOutTexts([(text,) for text in chosen[:4]], folder / "tokenizer.json")
    about = about_of(TextClassification(), TEXT, LABELS)
    bundle = make_text_bundle(folder, make_noisy(about), about, held)
    preprocess = read_bundle(bundle).preprocessing
    data = folder / "packed"
    data.mkdir()
    tokenizer = Tokenizer(folder / "tokenizer.json", preprocess)
    tokens.write(data, [(row.ids, row.types) for row in tokenizer.rows([(text,) for text in chosen])])
    labels = [LABELS.index(answer["label"]) for answer in Predictor(bundle, device="cpu")(chosen)]
    assert len(set(labels)) > 1
    np.save(data / "labels.npy", labels)
    (data / "manifest.csv").write_text("id\n" + "".join(f"{number}\n" for number in range(48)))
    content = {
        "classes": LABELS, "task": "text_classification",
        "ranges": {"train": [0, 8], "validation": [8, 48], "test": [48, 48]},
        "preprocess": preprocess.model_dump(mode="json"), "fingerprint": "f",
    }  # fmt: skip
    (data / "dataset.json").write_text(json.dumps(content))
    return Case(bundle, data, "accuracy", 40, chosen[0])


def words(folder: Path) -> Case:
    """Sentences, some of them longer than a window."""
    packed = tagged.pack_tagged(folder, validation=30)
    held = HeldOutWords([[word for word, _ in tagged.sentence(3)]], packed.folder / "tokenizer.json")
    about = about_of(tagged.TASK, tagged.BACKBONE, tagged.LABELS)
    bundle = make_text_bundle(folder, make_noisy(about), about, held)
    labels = packed.labels.copy()
    labels[labels != IGNORED] = said(bundle, packed, "probabilities").argmax(axis=1)
    np.save(packed.folder / "labels.npy", labels)
    return Case(bundle, packed.folder, "entity_f1", 30, "Ada ran in New York")


def questions(folder: Path) -> Case:
    """Questions with and without an answer, about contexts of one window and of several."""
    packed = asked.pack_asked(folder, 24)
    pair = read_texts(packed.folder)[0]
    about = about_of(asked.TASK, asked.BACKBONE, ("start", "end"), fitted={"no_answer_threshold": 0.0})
    held = HeldOutQuestions([(pair[0], pair[1])], packed.folder / "tokenizer.json")
    bundle = make_text_bundle(folder, make_noisy(about), about, held)
    every = [each for split in ("train", "validation", "test") for each in questions_of(packed, split)]
    answers = find(packed, every, said(bundle, packed, "logits"), nullable=True)
    threshold = float(np.median([each.margin for each in answers]))  # so that half of them have none
    fit_again(bundle, no_answer_threshold=threshold)
    found = [each.said(threshold) for each in answers]
    assert None in found
    assert len({None if span is None else span.text for span in found}) > 2
    write_answers(packed.folder, [[span.text] if span else [] for span in found])
    count = len(questions_of(packed, "validation"))
    return Case(bundle, packed.folder, "f1", count, pair)


def said(bundle: Path, packed: Packed, name: str) -> np.ndarray:
    """The graph's outputs (m, C) for the marks of all rows, a row a call."""
    session = load(bundle, CPU).session
    found = []
    for row in range(len(packed.samples)):
        feeds = dict(zip(session.inputs, np.moveaxis(packed.samples[[row]], 1, 0), strict=True))
        found.append(packed.targets.select([row], session.run(feeds)[name]))
    return np.concatenate(found)


@pytest.fixture(scope="module", params=[texts, words, questions], ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    make: Callable[[Path], Case] = request.param
    return make(tmp_path_factory.mktemp(make.__name__))


def test_a_variant_that_passes_is_a_bundle_that_serves(case: Case, tmp_path: Path):
    findings = {each.variant: each for each in make_variants(case.bundle, case.data, tmp_path, CPU, KEEPS_ALL)}
    assert list(findings) == ["fp16", "int8"]
    original = Predictor(case.bundle, device="cpu")([case.asked])[0]
    for name, finding in findings.items():
        assert (finding.problems, finding.samples, finding.metric) == ((), case.samples, case.metric)
        assert finding.bytes < finding.of_bytes
        assert 0.5 < finding.agreement <= 1
        assert finding.loss.value == pytest.approx(
            1 - read_bundle(tmp_path / name).metrics["validation"][case.metric].value
        )
        assert finding.loss.low <= finding.loss.value <= finding.loss.high <= 1
        assert finding.loss.high > 0, "so few samples prove nothing"
        assert (finding.loss.value == 0) == (finding.agreement == 1)
        assert Predictor(tmp_path / name, device="cpu")([case.asked])[0].keys() == original.keys()


def test_a_variant_that_fails_is_not_kept(case: Case, tmp_path: Path):
    gate = Gate(faster=1000, calibration=2, rounds=3)
    for finding in make_variants(case.bundle, case.data, tmp_path, CPU, gate):
        assert any("required 1000" in each for each in finding.problems)
    assert list(tmp_path.iterdir()) == []


def test_a_variant_whose_outputs_are_no_numbers_is_not_kept(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(model: bytes) -> bytes:
        graph = onnx.load_from_string(model)
        weights = next(each for each in graph.graph.initializer if each.data_type == 1 and len(each.dims) == 2)
        weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * np.nan, weights.name))
        return graph.SerializeToString()

    monkeypatch.setattr("tlpipe.serve.variants.search.fp16", broken)
    found = {each.variant: each.problems for each in make_variants(case.bundle, case.data, tmp_path, CPU, KEEPS_ALL)}
    assert found == {"fp16": ("its outputs are not finite",), "int8": ()}
    assert [path.name for path in tmp_path.iterdir()] == ["int8"]
