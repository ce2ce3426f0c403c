"""Pictures are the same bytes every time, readable for any number of classes, and literal about names."""

from pathlib import Path

import numpy as np
import pytest

from tlpipe.evaluate.figures import LONGEST, confusion_figure, cut, mistakes_figure, reliability_figure, save_png
from tlpipe.evaluate.predictions import Predictions


def predictions(skill: float = 1.0, names: tuple[str, ...] = ("a", "$b$", "日本")) -> Predictions:
    generator = np.random.default_rng(0)
    labels = generator.integers(len(names), size=40)
    probabilities = generator.dirichlet(np.ones(len(names)), 40)
    probabilities[np.arange(40), labels] += skill
    shares = probabilities / probabilities.sum(1, keepdims=True)
    return Predictions(names, np.arange(40), ("",) * 40, ("test",) * 40, labels, shares)


def test_equal_figures_are_equal_bytes(tmp_path: Path):
    images = np.random.default_rng(0).integers(256, size=(40, 8, 8, 3), dtype=np.uint8)
    for turn in ("first", "second"):
        said = predictions(0.3)
        save_png(confusion_figure(said.confusion(), said.classes), tmp_path / f"confusion-{turn}.png")
        save_png(reliability_figure(said), tmp_path / f"reliability-{turn}.png")
        save_png(mistakes_figure(said, images, 6), tmp_path / f"mistakes-{turn}.png")
    for name in ("confusion", "reliability", "mistakes"):
        first, second = (tmp_path / f"{name}-{turn}.png" for turn in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
        assert b"Software" not in first.read_bytes()


@pytest.mark.parametrize(("classes", "numbers"), [(2, True), (20, True), (21, False), (100, False)])
def test_confusion_fits_its_number_of_classes(classes: int, numbers: bool):
    figure = confusion_figure(np.eye(classes, dtype=np.int64) * 3, [f"class {i}" for i in range(classes)])
    axes = figure.axes[0]
    assert len(axes.get_xticklabels()) == len(axes.get_yticklabels()) == classes
    assert [text.get_text() for text in axes.texts] == (["100"] * classes if numbers else [])
    assert max(figure.get_size_inches()) <= 15


def test_mistakes_name_truth_prediction_and_probability():
    said = Predictions(("cat", "dog"), np.array([1]), ("",), ("test",), np.array([0]), np.array([[0.25, 0.75]]))
    images = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 9, np.uint8)])
    axes = mistakes_figure(said, images, 5).axes[0]
    assert [text.get_text() for text in axes.texts] == ["true cat", "said dog, 75 %"]
    assert np.array_equal(axes.images[0].get_array(), images[1])


def test_no_mistakes_are_said_in_words():
    figure = mistakes_figure(predictions(skill=9.0), np.zeros((40, 4, 4, 3), np.uint8), 5)
    assert figure.texts[0].get_text() == "No mistakes on 40 samples"


def test_long_names_are_cut():
    assert cut("x" * 80) == "x" * (LONGEST - 1) + "…"
    assert cut("x" * LONGEST) == "x" * LONGEST
