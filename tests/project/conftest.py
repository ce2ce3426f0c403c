"""Data of people: images, tables, tagged words, questions, each as small as can be."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.asked import articles
from tests.tagged import conll, sentence

Make = Callable[[str], Path]


def images(folder: Path, *classes: str, count: int = 12, edge: int = 20) -> None:
    """Noise with a mean of its own in each class folder."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 90, (edge, edge + 4, 3)) + 150 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")


def texts(path: Path, count: int = 60) -> None:
    """Good and bad films, two of each author."""
    lines = [
        f'"a {("bad", "good")[at % 2]} film, number {at}",{("neg", "pos")[at % 2]},a{at // 2}' for at in range(count)
    ]
    path.write_text("\n".join(["text,label,author", *lines]) + "\n")


@pytest.fixture
def data(tmp_path: Path) -> Make:
    """A folder of data of one kind."""

    def make(kind: str) -> Path:
        folder = tmp_path / "data of mine"
        folder.mkdir()
        if kind == "images":
            images(folder, "ant", "bee")
        elif kind == "split images":
            images(folder, "train/ant", "train/bee", "val/ant", "val/bee", count=6)
        elif kind == "texts":
            texts(folder / "films.csv")
        elif kind == "split texts":
            for name in ("train", "dev", "test"):
                texts(folder / f"{name}.csv", 20)
        elif kind == "image table":
            images(folder, "files")
            lines = [f"files/{at}.png,{'ab'[at % 2]},{at // 2}" for at in range(12)]
            (folder / "labels.csv").write_text("\n".join(["file,species,patient", *lines]) + "\n")
        elif kind == "words":
            for name in ("train", "test"):
                (folder / f"{name}.conll").write_text(conll([sentence(seed) for seed in range(20)]))
        else:
            (folder / "questions.json").write_text(json.dumps({"data": articles(6)}))
        return folder

    return make
