"""Marks of samples that are never torn apart: what they are counted by, and that no fold leaks into another one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import asked, tagged
from tlpipe.advise.curve import learning_curve
from tlpipe.advise.evidence import Subject, gather, subject
from tlpipe.advise.marks import Marks, of_questions, of_samples, of_words
from tlpipe.advise.passes import look
from tlpipe.advise.probe import cross_validate, deal, few, held_out, measured
from tlpipe.data.packed import Packed
from tlpipe.entities import ENTITY_METRICS, columns
from tlpipe.preprocess.questions import END, FIRST, START
from tlpipe.sums import measure_sums
from tlpipe.train.hardware.device import Machine

NAMES = ("B-per", "B-place", "I-per", "I-place", "O")


def words(sentences: int, length: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tags of words, two of a sentence's in three O, and the words' sentences."""
    generator = np.random.default_rng(seed)
    labels = np.where(generator.random(sentences * length) < 0.67, 4, generator.integers(0, 4, sentences * length))
    return labels.astype(np.int64), np.repeat(np.arange(sentences), length)


def windows(contexts: int, seed: int = 0, length: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Labels of tokens of two questions about each context, every third of them without an answer, and the contexts."""
    generator, labels = np.random.default_rng(seed), []
    for number in range(2 * contexts):
        row = np.zeros(length, np.int64)
        start, end = (0, 0) if number % 3 == 0 else sorted(generator.integers(1, length, 2).tolist())
        row[0] |= FIRST
        row[start] |= START
        row[end] |= END
        labels.append(row)
    return np.concatenate(labels), np.repeat(np.arange(contexts), 2 * length)


def shown(marks: Marks, noise: float, seed: int = 0) -> np.ndarray:
    """Features that hold what is asked, and noise."""
    return (marks.answers + noise * np.random.default_rng(seed).normal(size=marks.answers.shape)).astype(np.float32)


def test_what_words_win_adds_up_to_the_f1_of_entities() -> None:
    labels, sentences = words(40)
    scores = np.random.default_rng(1).random((len(labels), 5)) + 0.6 * np.eye(5)[labels]
    table = columns(NAMES, labels, scores.argmax(1), np.zeros(len(labels)), sentences)
    found = measured(of_words(labels, sentences, NAMES).counts(scores))
    assert 0.1 < found.accuracy < 1
    assert found.accuracy == pytest.approx(measure_sums(table, ENTITY_METRICS)["entity_f1"])


def test_what_questions_win_is_the_place_accuracy_of_validation() -> None:
    labels, contexts = windows(12)
    scores = np.random.default_rng(1).normal(size=(len(labels), 2))
    expected = asked.TASK.scores(torch.from_numpy(scores), torch.from_numpy(labels), None)["place_accuracy"]  # type: ignore[arg-type]
    counts = of_questions(labels, contexts).counts(scores)
    assert counts[:, 1].tolist() == [2.0, 2.0, 4.0] * 4  # every third question has no answer
    assert 0 < expected < 1
    assert measured(counts).accuracy == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["words", "questions"])
def test_evidence_is_near_one_of_what_is_shown_and_at_chance_of_noise(kind: str) -> None:
    marks = of_words(*words(60), NAMES) if kind == "words" else of_questions(*windows(60))
    assert cross_validate([shown(marks, 0.02)], marks, 0).accuracy > 0.95
    noise = np.random.default_rng(3).normal(size=(len(marks.labels), 30)).astype(np.float32)
    blind = marks.counts(np.tile(marks.answers.mean(0), (len(marks.labels), 1)))
    assert cross_validate([noise], marks, 0).accuracy < measured(blind).accuracy + 0.1


def test_to_say_not_here_wins_nothing() -> None:
    labels, contexts = windows(12)
    scores = np.where((labels & FIRST > 0)[:, None], 1.0, -np.arange(len(labels))[::-1, None] / 1000) * np.ones(2)
    last = of_questions(labels, contexts).counts(scores).sum(0)
    ends = (labels.reshape(-1, 9)[:, -1] & np.array([[START], [END]]) > 0).sum()
    assert last.tolist() == [ends, 2 * (2 * 12 - 8)]


def test_labels_that_only_the_sentence_tells_are_at_chance() -> None:
    generator = np.random.default_rng(0)
    sentences = np.repeat(np.arange(80), 10)
    labels = np.repeat(generator.integers(0, 2, 80), 10)  # B-per or B-place, all words of a sentence alike
    features = generator.normal(size=(80, 60))[sentences] + 0.01 * generator.normal(size=(800, 60))
    blocks = [features.astype(np.float32)]
    honest = cross_validate(blocks, of_words(labels, sentences, NAMES), 0).accuracy
    leaking = cross_validate(blocks, of_samples(labels, 2), 0).accuracy
    assert leaking > 0.85
    assert abs(honest - 0.5) < 0.17


def test_answers_that_only_the_context_tells_are_at_chance() -> None:
    generator = np.random.default_rng(0)
    contexts, length, width = 40, 6, 400
    places = np.repeat(generator.integers(1, length, contexts), 2)
    labels = np.zeros((2 * contexts, length), np.int64)
    labels[:, 0], labels[np.arange(2 * contexts), places] = FIRST, START | END
    # both questions about a context have the same tokens, and nothing but having seen them tells the right one
    tokens = np.repeat(generator.normal(size=(contexts, length, width)), 2, axis=0)
    blocks = [tokens.reshape(-1, width).astype(np.float32)]
    honest, leaking = (
        cross_validate(blocks, of_questions(labels.ravel(), unit.repeat(length)), 0).accuracy
        for unit in (np.repeat(np.arange(contexts), 2), np.arange(2 * contexts))
    )
    assert leaking > 0.5
    assert honest < 0.3


@pytest.mark.parametrize("kind", ["words", "questions"])
def test_what_judges_was_not_seen(kind: str) -> None:
    marks = of_words(*words(23), NAMES) if kind == "words" else of_questions(*windows(23))
    fold, features = deal(marks.strata, 0), shown(marks, 0.1)
    before = held_out([features], marks, fold, np.ones(23, bool), 0)
    held = (fold == 2)[marks.units]
    other = marks.answers.copy()
    other[held] = 1 - other[held]
    labels = np.where(held, 0, marks.labels)
    after = held_out([features], replace(marks, labels=labels, answers=other), fold, np.ones(23, bool), 0)
    assert (before[held] == after[held]).all()
    assert not (before[~held] == after[~held]).all()


def test_a_probe_sees_few_marks_that_stand_for_all() -> None:
    labels = np.repeat([0, 1, 2], [8000, 600, 50])
    kept, weights = few(labels, 0)
    assert len(kept) <= 1000
    assert np.bincount(labels[kept]).tolist() == [475, 475, 50]
    assert np.bincount(labels[kept], weights).tolist() == pytest.approx([8000, 600, 50])
    kept, weights = few(labels[-300:], 0)
    assert (len(kept), set(weights)) == (300, {1.0})


def test_errors_of_words_that_hang_together_are_counted_as_such() -> None:
    generator = np.random.default_rng(0)
    together = np.repeat(generator.integers(0, 2, (50, 1)), 10, axis=1)
    apart = generator.permutation(together.ravel()).reshape(50, 10)
    one, other = (measured(np.stack([each.sum(1), np.full(50, 10)], 1).astype(float)) for each in (together, apart))
    assert one.accuracy == other.accuracy
    assert one.sigma > 2.5 * other.sigma


def test_the_curve_counts_samples_and_not_units() -> None:
    marks = of_questions(*windows(64))
    points = learning_curve([shown(marks, 0.5)], marks, 0, each=2.0)
    assert [point.samples for point in points if not point.measured] == [256, 512]


def evidence_of(packed: Packed, backbone: object, machine: Machine) -> tuple[Subject, dict[str, object]]:
    torch.manual_seed(0)
    encoder, control = backbone.encoder(), backbone.encoder()  # type: ignore[attr-defined]
    seen = subject(packed, packed.ranges["test"][0], 48, 0)
    found = gather(look(encoder, packed, seen.rows, machine).depths, encoder, control, packed, seen, machine, 0, 1)
    return seen, {**found.summary(), "score": found.score.name}


def test_evidence_of_tagged_words(tmp_path: Path, machine: Machine) -> None:
    packed = tagged.pack_tagged(tmp_path, train=60, validation=20)
    seen, found = evidence_of(packed, tagged.BACKBONE, machine)
    assert (found["score"], found["samples"], found["probed"], found["classes"]) == ("entity_f1", 80, 80, 2)
    assert len(seen.rows) > 80  # some sentences are several windows
    assert len(seen.marks.strata) == 80
    assert found["examples"] == sum(tag[0] == "B" for seed in range(80) for _, tag in tagged.sentence(seed))
    assert list(found["depths"]) == ["embeddings", "layer1", "layer2"]
    assert found["depths"]["embeddings"] > 0.3  # names are other words than fillers


def test_windows_of_a_sentence_are_one_unit(tmp_path: Path) -> None:
    packed = tagged.pack_tagged(tmp_path)
    seen = subject(packed, packed.ranges["test"][0], 48, 0)
    row = np.concatenate([np.full(packed.targets.count([each]), each) for each in seen.rows.tolist()])
    assert (packed.sample_of[row] == seen.marks.units).all()


def test_evidence_of_questions(tmp_path: Path, machine: Machine) -> None:
    packed = asked.pack_asked(tmp_path, count=24)
    seen, found = evidence_of(packed, asked.BACKBONE, machine)
    contexts = len(seen.marks.strata)
    assert (found["score"], found["samples"], found["classes"]) == ("place_accuracy", 3 * contexts, 1)
    assert seen.marks.counts(np.zeros((len(seen.marks.labels), 2)))[:, 1].sum() == 2 * found["examples"]
    assert found["learning_curve"][-1]["samples"] == 4 * 3 * contexts


def test_of_samples_with_many_marks_fewer_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tagged.pack_tagged(tmp_path, train=60)
    monkeypatch.setattr("tlpipe.advise.evidence.LIMIT", 30)
    monkeypatch.setattr("tlpipe.advise.evidence.NUMBERS", 48 * 200)
    seen = subject(packed, packed.ranges["test"][0], 48, 0)
    assert 0 < len(seen.marks.labels) <= 200
    assert len(seen.marks.strata) == seen.samples < seen.labelled == 70
    assert (packed.targets.marks[seen.lines] == seen.marks.labels).all()


@pytest.mark.parametrize("kind", ["words", "questions"])
def test_a_part_that_a_fold_holds_whole_is_no_obstacle(kind: str) -> None:
    marks = of_words(*words(12), NAMES) if kind == "words" else of_questions(*windows(12))
    fold = deal(marks.strata, 0)
    scores = held_out([shown(marks, 0.1)], marks, fold, fold == fold[0], 0)
    assert np.isfinite(scores).all()
    assert measured(marks.counts(scores)).accuracy > 0.5
