"""A model that answers questions as a bundle: from raw questions onnxruntime gives the answers of torch, or nothing."""

from pathlib import Path

import numpy as np
import pytest

from tests.asked import BACKBONE, PREPROCESS, TASK, pack_asked
from tests.untrained import make_about, make_noisy
from tlpipe.bundle import read_bundle
from tlpipe.data.asked import asked
from tlpipe.data.corpus import train_wordpiece
from tlpipe.export.parity import ParityError
from tlpipe.export.spec import Export
from tlpipe.export.write import export_bundle
from tlpipe.preprocess.answers import Answers, Span
from tlpipe.tasks.question_answering.export import HeldOutQuestions, Said, _tied
from tlpipe.train.model import Classifier

ABOUT = make_about(
    task=TASK, backbone=BACKBONE, preprocess=PREPROCESS, labels=("start", "end"), dropout=0.0, temperature=1.3,
    fitted={"no_answer_threshold": 0.1},
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Classifier:
    return make_noisy(ABOUT, seed=1)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> HeldOutQuestions:
    packed = pack_asked(tmp_path_factory.mktemp("asked"))
    raw = [(each.question, each.passage.context) for each in asked(packed, "test")]
    return HeldOutQuestions(raw, packed.folder / "tokenizer.json")


def test_it_is_written_when_every_answer_is_the_same(model: Classifier, held: HeldOutQuestions, tmp_path: Path):
    export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, ABOUT, held, {}, Export(batch=4))
    bundle = read_bundle(tmp_path / "bundle")
    assert [(case.name, case.batch) for case in bundle.parity] == [
        ("raw", 1), ("raw", 4), ("awkward", 1), ("awkward", 4),
    ]  # fmt: skip
    assert all(case.same == 1 and case.logits is not None and case.logits < 1e-5 for case in bundle.parity)
    assert bundle.fitted == ABOUT.fitted
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == [
        "bundle.json", "golden.json", "model.onnx", "tokenizer.json",
    ]  # fmt: skip


def test_another_tokenizer_is_found_out(model: Classifier, held: HeldOutQuestions, tmp_path: Path):
    other = tmp_path / "tokenizer.json"
    train_wordpiece(["entirely other words are here"] * 3, 100, True, other)
    swapped = HeldOutQuestions(held.raw, held.tokenizer)
    swapped.__dict__["files"] = {"tokenizer.json": other}
    with pytest.raises(ParityError, match="tokens of them"):
        export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, ABOUT, swapped, {}, Export(batch=4))
    assert not (tmp_path / "bundle").exists()


def test_without_questions_there_is_nothing_to_compare(model: Classifier, held: HeldOutQuestions, tmp_path: Path):
    none = HeldOutQuestions([], held.tokenizer)
    with pytest.raises(ParityError, match="the test split is empty"):
        export_bundle(tmp_path / "bundle", tmp_path / "parity.json", model, ABOUT, none, {}, Export(batch=4))


def said(*spans: tuple[str, float], null: float = -9.0, threshold: float | None = 0.0) -> Said:
    best = tuple(Span(text, 0, len(text), score, 0.1) for text, score in spans)
    return Said(np.zeros((1, 2), np.float32), Answers(best, null, 0.1), threshold)


def test_a_tie_is_an_answer_that_torch_finds_as_good():
    truth = said(("a", 1.0), ("b", 0.99), ("c", 0.5))
    assert _tied(truth, said(("b", 1.0)), tolerance=0.01)
    assert not _tied(truth, said(("c", 1.0)), tolerance=0.01)
    assert not _tied(truth, said(("d", 1.0)), tolerance=0.01)
    assert _tied(said(("a", 1.0), null=0.98), said(("a", 1.0), null=1.01), tolerance=0.01)
    assert not _tied(said(("a", 1.0), null=0.5), said(("a", 1.0), null=1.01), tolerance=0.01)
