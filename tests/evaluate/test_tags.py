"""What is said of words, judged by sentences: figures, files, and the baseline to beat."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from seqeval.metrics import f1_score

from tests.tagged import LABELS, pack_tagged
from tlpipe.data.packed import Packed
from tlpipe.data.read_texts import read_texts
from tlpipe.evaluate.baseline import baselines
from tlpipe.evaluate.judged import difference
from tlpipe.evaluate.spec import Evaluate
from tlpipe.evaluate.tables import EVALUATED, write_tables
from tlpipe.evaluate.tags import TagPredictions
from tlpipe.tasks.token_classification.evaluation import usual_tag
from tlpipe.tasks.token_classification.figures import write_figures


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack_tagged(tmp_path_factory.mktemp("tags"))


@pytest.fixture(scope="module")
def said(packed: Packed) -> TagPredictions:
    """Mostly right: every seventh word is drawn."""
    generator, parts = np.random.default_rng(0), {}
    for split in EVALUATED:
        first, last = packed.targets.range(*packed.ranges[split])
        shares = np.eye(len(LABELS))[packed.targets.marks[first:last]] * 4 + generator.dirichlet(
            [0.5] * 5, last - first
        )
        shares[::7] = generator.dirichlet([0.5] * 5, len(shares[::7]))
        parts[split] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return TagPredictions.assemble(packed, parts)


def test_sentences_are_put_together_from_their_windows(packed: Packed, said: TagPredictions) -> None:
    test = said.of("test")
    low, high = packed.ranges["test"]
    assert test.size == len(set(packed.sample_of[low:high].tolist())) < high - low
    words = [len(text) for text in read_texts(packed.folder)[-test.size :]]
    assert np.bincount(test.sentences).tolist() == words


def test_figures_are_seqevals(said: TagPredictions) -> None:
    for split in EVALUATED:
        part = said.of(split)
        cuts = np.flatnonzero(np.diff(part.sentences)) + 1
        sides = [
            [[LABELS[tag] for tag in each] for each in np.split(tags, cuts)] for tags in (part.labels, part.predicted)
        ]
        found = part.measure()
        assert next(iter(found)) == "entity_f1"
        assert found["entity_f1"] == pytest.approx(f1_score(*sides))
        assert 0.1 < found["entity_f1"] < 1
        assert found["word_accuracy"] == pytest.approx((part.labels == part.predicted).mean())
        assert found["log_loss"] == pytest.approx(
            -np.log(part.probabilities[np.arange(len(part.labels)), part.labels]).mean()
        )


def test_the_file_keeps_everything(said: TagPredictions, tmp_path: Path) -> None:
    said.save(tmp_path / "predictions.csv")
    after = TagPredictions.load(tmp_path / "predictions.csv")
    assert after.alike(said)
    assert after.measure() == said.measure()
    other = replace(said, labels=said.labels[::-1].copy())
    assert not after.alike(other)


def test_differences_are_paired_by_sentence(said: TagPredictions) -> None:
    test = said.of("test")
    perfect = replace(test, probabilities=np.eye(len(LABELS))[test.labels])
    same = difference([test], [test], "entity_f1", 100, 0)
    assert same.low < same.value == 0 < same.high
    found = difference([perfect], [test], "entity_f1", 200, 0)
    assert found.value == pytest.approx(1 - test.measure()["entity_f1"])
    assert found.low > same.low + 0.1, f"{found} {same} {test.size}"
    assert not list(perfect.differences())[0].missed  # noqa: RUF015


def test_mistakes_name_what_was_missed_and_what_was_only_said(said: TagPredictions) -> None:
    test = said.of("test")
    wrong = [each for each in test.differences() if each.missed or each.invented]
    true = sum(int(tag) in (0, 1) for tag in test.labels)
    right = test.columns[:, :-5].reshape(len(test.columns), -1, 3)[:, :, 0].sum()
    assert sum(len(each.missed) for each in wrong) == true - right > 0


def test_tables_and_pictures_are_written(packed: Packed, said: TagPredictions, tmp_path: Path) -> None:
    spec = Evaluate(resamples=100, mistakes=3)
    metrics = write_tables(tmp_path, [said], spec)
    write_figures(tmp_path, said.of("test"), packed, spec)
    assert metrics["test"] == said.of("test").measure()
    lines = (tmp_path / "per_class.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["class", "per", "place"]
    assert {"confusion.csv", "reliability.csv", "mistakes.png"} <= {path.name for path in tmp_path.iterdir()}


def test_the_baseline_is_each_words_usual_tag(packed: Packed) -> None:
    first, last = packed.targets.range(*packed.ranges["train"])
    words = [word for text in read_texts(packed.folder) for word in text]
    seen: dict[str, list[int]] = {}
    for word, tag in zip(words[first:last], packed.targets.marks[first:last], strict=True):
        seen.setdefault(word, []).append(int(tag))
    low, high = packed.targets.range(*packed.ranges["test"])
    found = usual_tag(packed)["test"]
    assert found.sum(1) == pytest.approx(np.ones(high - low))
    for word, shares in zip(words[low:high], found, strict=True):
        counts = np.bincount(seen.get(word, []), minlength=5)
        assert counts[shares.argmax()] == counts.max() if word in seen else LABELS[shares.argmax()] == "O"
    (figures,) = baselines(packed, 100, 0).values()
    assert figures["test"]["entity_f1"]["value"] > 0.3
