import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from tlpipe.data.similar import EDGE, near_pairs, thumbnail

THRESHOLD = 0.92


def pairs_of(images: list[Image.Image], threshold: float = THRESHOLD) -> set[tuple[int, int]]:
    arrays = [np.asarray(image.convert("RGB")) for image in images]
    sides = np.array([min(image.size) for image in images])
    found, likeness = near_pairs(np.stack([thumbnail(array) for array in arrays]), sides, threshold)
    assert len(found) == len(likeness)
    return {(int(first), int(second)) for first, second in found}


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def changed(image: Image.Image) -> list[Image.Image]:
    edge = round(image.width * 0.9)
    return [
        jpeg(image, 60),
        image.resize((edge, edge), Image.Resampling.BICUBIC),
        image.resize((2 * image.width, 2 * image.height), Image.Resampling.BILINEAR),
        ImageEnhance.Brightness(image).enhance(0.8),
        ImageEnhance.Contrast(image).enhance(0.8),
    ]


def smooth(seed: int, edge: int = 64) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((edge, edge), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("others", [0, 1, 5, 300])
def test_copies_are_found_among_few_and_many(others: int):
    original = smooth(0)
    copies = changed(original)
    images = [original, *copies, *(smooth(seed) for seed in range(1, others + 1))]
    of_original = {pair for pair in pairs_of(images) if pair[0] == 0}
    assert of_original == {(0, number) for number in range(1, len(copies) + 1)}


def test_different_images_are_not_alike():
    assert pairs_of([smooth(seed) for seed in range(1000)]) == set()


def test_images_without_contrast_are_like_none():
    assert pairs_of([Image.new("RGB", (40, 40), colour) for colour in ("white", "black", "#010101", "white")]) == set()


def test_one_and_no_image():
    assert pairs_of([smooth(0)]) == set()
    found, likeness = near_pairs(np.zeros((0, EDGE * EDGE), np.uint8), np.zeros(0, np.int64), THRESHOLD)
    assert found.shape == (0, 2)
    assert likeness.shape == (0,)


def test_a_long_run_of_copies_hangs_together():
    images = [smooth(0)] * 120 + [smooth(seed) for seed in range(1, 40)]
    linked = {number for pair in pairs_of(images) for number in pair}
    assert linked == set(range(120))


@pytest.fixture(scope="module")
def digits() -> list[Image.Image]:
    from sklearn.datasets import load_digits

    return [Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in load_digits().images]


def test_no_two_handwritten_digits_are_taken_for_copies(digits: list[Image.Image]):
    assert pairs_of(digits) == set()


def test_copies_of_handwritten_digits_are_found(digits: list[Image.Image]):
    chosen = digits[::20]
    for change in (lambda image: ImageEnhance.Brightness(image).enhance(0.8), lambda image: jpeg(image, 95)):
        found = pairs_of([*digits, *map(change, chosen)])
        expected = {(20 * number, len(digits) + number) for number in range(len(chosen))}
        assert len(found & expected) >= 0.95 * len(expected)
        assert found <= expected


def rows(folder: Path) -> list[Image.Image]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png"))
    return [Image.open(path).convert("RGB") for path in files]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hymenoptera", "rsscn7", "chest_xray", "cifar10", "fashion_mnist_png"])
def test_precision_and_recall_on_real_images(shared: Path, name: str):
    images = rows(shared / "data" / name)
    genuine = {(0, 0)} | pairs_of(images)
    assert len(genuine) <= 2, "chest_xray has one pair with equal pixels, the others none"
    chosen = range(0, len(images), len(images) // 100)
    for change, recall in ((lambda i: jpeg(i, 75), 0.75), (lambda i: ImageEnhance.Brightness(i).enhance(0.8), 0.97)):
        copies = {(index, len(images) + number) for number, index in enumerate(chosen)}
        found = pairs_of([*images, *(change(images[index]) for index in chosen)])
        assert len(found & copies) >= recall * len(copies)
        assert len(found - copies - genuine) <= 2


def test_fifty_thousand_take_seconds_not_hours():
    """Compared in full they would be 1.25 billion pairs; at most some thousands may be looked at."""
    from tlpipe.data import similar

    generator = np.random.default_rng(0)
    unit: NDArray[np.float32] = generator.standard_normal((50_000, 64), dtype=np.float32)
    keys = (unit @ generator.standard_normal((64, similar.BITS), dtype=np.float32) > 0) @ (
        1 << np.arange(similar.BITS, dtype=np.int64)
    )
    order = np.argsort(keys, kind="stable")
    compared = sum(len(pairs) for pairs in similar._neighbours(keys[order], order))
    assert compared < 50_000
