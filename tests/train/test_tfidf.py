"""TF-IDF as a strategy: counts as scikit-learn's, folds that nothing leaks through, and a bundle that is proved."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.untrained import answer_without_torch, make_about, make_text_bundle
from tlpipe.backbones.bert import Bert, Size
from tlpipe.bundle import read_bundle
from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import write_texts
from tlpipe.export.parity import ParityError
from tlpipe.export.text_parity import AWKWARD, HeldOutTexts, vectorizers
from tlpipe.preprocess.ngrams import VOCABULARY, NgramPreprocess, Ngrams, pad, write_vocabulary
from tlpipe.preprocess.text import TextPreprocess
from tlpipe.serve import BadInput, Predictor
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.tasks.union import TextClassification
from tlpipe.train.heads.tfidf import Corpus, Fitted, NgramModel, cross_fit

STRATEGY = TfIdf(kind="tfidf")
WORDS = ("fine film, splendid acting", "bad film! dreadful ACTING", "so-so naïve film")
LABELS = ("neg", "pos", "größe")


def packed(folder: Path, labels: np.ndarray, texts: list[str], folds: int = 0, test: int = 0) -> Packed:
    """Packed texts, as much of them as the strategy reads."""
    write_texts(folder, [(text,) for text in texts])
    labelled = len(texts) - test
    bounds = np.linspace(0, labelled, folds + 1).astype(int) if folds else []
    cut = labelled if folds else labelled * 3 // 4
    return Packed(
        folder=folder, samples=None, labels=labels, classes=LABELS[: labels.max() + 1],
        task="text_classification", preprocess=TextPreprocess(), fingerprint="",
        ranges={"train": (0, cut), "validation": (cut, labelled), "test": (labelled, len(texts))},
        folds=tuple((int(low), int(high)) for low, high in pairwise(bounds)), refit=bool(folds),
    )  # fmt: skip


def said(labels: np.ndarray, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [f"{WORDS[label]} {' '.join(generator.choice(['of', 'it', 'we', 'a'], 3))}" for label in labels]


def test_counts_idf_and_lengths_are_those_of_scikit_learn() -> None:
    texts = [*said(np.arange(12) % 3), *(text for text in AWKWARD if text.strip())]
    corpus = Corpus.of([(text,) for text in texts], NgramPreprocess())
    rows = np.arange(len(texts))
    solution = corpus.fit(rows, rows % 2, 2, STRATEGY, 1.0)[-1]
    ours = corpus.vectors(rows, solution.kept, solution.idf).toarray()
    theirs = [each.fit(texts) for each in vectorizers(NgramPreprocess())]
    expected = np.concatenate([each.transform(texts).toarray() for each in theirs], axis=1)
    names = [name for each in theirs for name in each.get_feature_names_out()]
    kept = [
        name
        for part, columns in zip(corpus.names, solution.kept, strict=True)
        for name in map(part.__getitem__, columns)
    ]
    assert kept == names
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    model = LogisticRegression(C=1.0, max_iter=1000, tol=1e-6).fit(expected, rows % 2)
    probability = corpus.logits(solution, rows).softmax(1)[:, 1].numpy()
    np.testing.assert_allclose(probability, model.predict_proba(expected)[:, 1], atol=1e-3)


def test_every_label_is_held_out_once_and_nothing_of_it_is_learnt(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).permutation(np.arange(60) % 2)
    learnable = cross_fit(STRATEGY, packed(tmp_path, labels, said(labels), folds=5))
    assert learnable.held_out.shape == (60, 2)
    assert (learnable.held_out.argmax(1).numpy() == labels).mean() == 1
    texts = [f"word{row}" for row in range(60)]
    random = cross_fit(STRATEGY, packed(tmp_path, labels, texts, folds=5))
    assert (random.held_out.argmax(1).numpy() == labels).mean() < 0.75, "texts that say nothing must not look learnable"
    labels[:12] = 1 - labels[:12]
    corpus, rows = Corpus.of([(text,) for text in texts], NgramPreprocess()), np.arange(12, 60)
    part = packed(tmp_path, labels, texts, folds=5).parts[0]
    assert part.rows("train").tolist() == rows.tolist()
    fits = corpus.fit(rows, labels[rows], 2, STRATEGY, 100.0)
    again = cross_fit(STRATEGY, packed(tmp_path, labels, texts, folds=5))
    chosen = fits[sorted(STRATEGY.strengths).index(again.strength)]
    torch.testing.assert_close(again.held_out[:12], corpus.logits(chosen, np.arange(12)))


def test_a_single_split_and_a_class_that_train_lacks(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    labels[-1] = 2
    fitted = cross_fit(STRATEGY, packed(tmp_path, labels, said(labels)))
    assert fitted.held_out.shape == (10, 3)
    assert (fitted.held_out.argmax(1) != 2).all()
    assert fitted.path[0].penalty > fitted.path[-1].penalty


def test_the_most_common_n_grams_are_kept(tmp_path: Path) -> None:
    labels = np.arange(40) % 2
    small = STRATEGY.model_copy(update={"most": 100})
    fitted = cross_fit(small, packed(tmp_path, labels, said(labels), folds=5))
    assert len(fitted.characters) == 100
    assert " film" in fitted.characters
    assert fitted.words == sorted(fitted.words)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    labels = np.arange(60) % 3
    return cross_fit(STRATEGY, packed(tmp_path_factory.mktemp("packed"), labels, said(labels), folds=5))


ABOUT = make_about(
    task=TextClassification(),
    backbone=Bert(corpus=("x",), size=Size(layers=2, width=16, heads=2, vocabulary=100), max_length=24),
    preprocess=NgramPreprocess(),
    labels=LABELS,
    plan=Plan(strategy="tfidf", start="texts", groups=(), phases=()),
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, fitted: Fitted) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_vocabulary(folder / VOCABULARY, fitted.words, fitted.characters)
    held = HeldOutTexts([(text,) for text in said(np.arange(6) % 3, 9)], folder / VOCABULARY)
    return make_text_bundle(folder, fitted.model, ABOUT, held)


def test_the_bundle_says_what_scikit_learn_says_of_raw_texts(bundle: Path) -> None:
    about = read_bundle(bundle)
    assert {"model.onnx", "golden.json", VOCABULARY} == set(about.sha256)
    assert [port.name for port in about.inputs] == ["ngram_ids", "ngram_counts"]
    assert {case.name for case in about.parity} == {"raw", "awkward"}
    assert all(case.probabilities < 1e-5 and case.same == 1 for case in about.parity)


def test_a_wrong_idf_or_another_count_fails_the_gate(tmp_path: Path, fitted: Fitted) -> None:
    write_vocabulary(tmp_path / VOCABULARY, fitted.words, fitted.characters[::-1])
    held = HeldOutTexts([(text,) for text in said(np.arange(6) % 3, 9)], tmp_path / VOCABULARY)

    class Louder(NgramModel):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.stack([x[:, 0], x[:, 1].clamp(max=1)], 1))

    other = Louder(len(fitted.words), len(fitted.characters), 3)
    other.load_state_dict(fitted.model.state_dict())
    with pytest.raises(ParityError, match="does not compute what was trained"):
        make_text_bundle(tmp_path, other.eval(), ABOUT, held)


def test_it_is_served_without_torch(bundle: Path, fitted: Fitted) -> None:
    predictor = Predictor(bundle, device="cpu", batch=4)
    ngrams = Ngrams(bundle / VOCABULARY, NgramPreprocess())
    texts = [WORDS[0], WORDS[2], "nothing known 🙂", "bad film"]
    for text, answer in zip(texts, predictor(texts), strict=True):
        with torch.no_grad():
            truth = (fitted.model(torch.from_numpy(pad([ngrams.count((text,))]))) / 1.7).softmax(1)[0]
        assert answer["probability"] == pytest.approx(float(truth.max()), abs=2e-5)
    assert [answer["label"] for answer in predictor([WORDS[1], WORDS[2]])] == ["pos", "größe"]
    assert answer_without_torch(bundle, WORDS[1])["label"] == "pos"
    with pytest.raises(BadInput, match="empty"):
        predictor(" ")


def test_tensors_that_no_text_gives_are_refused(bundle: Path) -> None:
    reading = Predictor(bundle, device="cpu").loaded.reading
    good = {"ngram_ids": np.zeros((1, 2), np.int64), "ngram_counts": np.ones((1, 2), np.int64)}
    reading.check(good)
    for name, value in (("ngram_ids", reading.vocabulary), ("ngram_ids", -1), ("ngram_counts", -1)):
        with pytest.raises(BadInput, match=name):
            reading.check({**good, name: np.full((1, 2), value)})
    with pytest.raises(BadInput, match="shapes"):
        reading.check({**good, "ngram_ids": np.zeros((1, 3), np.int64)})


def test_a_pair_is_one_text() -> None:
    both, joined = NgramPreprocess().split(("a b", "c")), NgramPreprocess().split(("a b c",))
    assert both == joined
    assert json.dumps(both[0]) == '{"a": 1, "b": 1, "c": 1, "a b": 1, "b c": 1}'
    with pytest.raises(ValueError, match="shorter length first"):
        NgramPreprocess(words=(2, 1))
