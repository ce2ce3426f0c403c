"""Questions about small drawn images: target tasks of the letters backbone, near and far."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlpipe.data.letters import CLASSES, EDGE, render

Drawn = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, EDGE, EDGE, 3) and labels (N,)."""
GLYPH = 12
"""Edge of a small glyph in `count` and `position`, pixels."""


def printed(generator: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """A printed digit: the source's renderer, new classes."""
    return render(str(label), generator)


def orientation(generator: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """A letter turned by `label` quarters: the source's letters, another question."""
    return np.rot90(render("FGRJLPBEQ"[generator.integers(9)], generator), label).copy()


def count(generator: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """One to six small letters anywhere: how many?"""
    canvas = np.zeros((EDGE, EDGE, 3), np.uint8)
    cells = generator.permutation(9)[: label + 1]
    for cell in cells.tolist():
        _paste(canvas, generator, cell)
    return canvas


def position(generator: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """A small letter in one of nine places: which?"""
    canvas = np.zeros((EDGE, EDGE, 3), np.uint8)
    _paste(canvas, generator, label)
    noise = generator.normal(0, 12, canvas.shape[:2])[..., None]
    return np.clip(canvas + noise, 0, 255).astype(np.uint8)


def texture(generator: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """A noisy grating of one of four directions and two frequencies: nothing that the source has seen."""
    direction = (label % 4) * np.pi / 4 + generator.normal(0, 0.12)
    frequency = (1.1, 1.6)[label // 4] * generator.uniform(0.85, 1.15)
    y, x = np.mgrid[:EDGE, :EDGE]
    wave = np.sin(frequency * (x * np.cos(direction) + y * np.sin(direction)) + generator.uniform(0, 2 * np.pi))
    light = 128 + 45 * wave + generator.normal(0, 60, wave.shape)
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def _paste(canvas: NDArray[np.uint8], generator: np.random.Generator, cell: int) -> None:
    """A small letter near the middle of one of nine cells."""
    glyph = Image.fromarray(render(CLASSES[generator.integers(len(CLASSES))], generator)).resize((GLYPH, GLYPH))
    step = (EDGE - GLYPH) // 2
    top, left = (int(np.clip(step * place + generator.integers(-2, 3), 0, EDGE - GLYPH)) for place in divmod(cell, 3))
    window = canvas[top : top + GLYPH, left : left + GLYPH]
    np.maximum(window, np.asarray(glyph), out=window)


QUESTIONS: dict[str, tuple[Callable[[np.random.Generator, int], NDArray[np.uint8]], int]] = {
    "printed": (printed, 10),
    "orientation": (orientation, 4),
    "count": (count, 6),
    "position": (position, 9),
    "texture": (texture, 8),
}
"""(draw one image of a class, number of classes)."""


def draw(question: str, total: int, seed: int) -> Drawn:
    """`total` images, classes in turn; equal arguments give equal pixels."""
    make, classes = QUESTIONS[question]
    labels = np.arange(total) % classes
    images = [make(np.random.default_rng([seed, index]), int(label)) for index, label in enumerate(labels)]
    return np.stack(images), labels.astype(np.int64)


def handwritten() -> Drawn:
    """scikit-learn's digits (UCI, 8 x 8 pixels), brought to the backbone's size."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(each).resize((EDGE, EDGE), Image.Resampling.BILINEAR)) for each in pixels]
    return np.repeat(np.stack(large)[..., None], 3, axis=-1), digits.target.astype(np.int64)
