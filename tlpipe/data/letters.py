"""The offline source task: printed letters in the fonts that matplotlib ships, distorted and rendered here."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
"""Capitals, and the small letters that do not look like their capitals (as EMNIST's balanced split merges them)."""
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol",
    "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10", "cmmi10", "cmb10",
)  # fmt: skip
EDGE = 32
"""Pixels of a rendered letter's side."""


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def render(letter: str, generator: np.random.Generator) -> NDArray[np.uint8]:
    """One letter, light on dark, (EDGE, EDGE, 3) uint8: random font, size, slant, stroke, sharpness and noise."""
    canvas = 2 * EDGE
    font = _font(FONTS[generator.integers(len(FONTS))], int(generator.integers(canvas // 2, canvas * 9 // 10)))
    image = Image.new("L", (canvas, canvas))
    centre = canvas / 2
    stroke = int(generator.integers(0, 4))
    ImageDraw.Draw(image).text((centre, centre), letter, fill=255, font=font, anchor="mm", stroke_width=stroke)
    image = image.transform(
        (canvas, canvas), Image.Transform.AFFINE, _affine(generator, centre), Image.Resampling.BILINEAR
    )
    image = _frame(image, generator).filter(ImageFilter.GaussianBlur(generator.uniform(0, 2)))
    coarse = int(generator.integers(8, EDGE + 1))
    image = image.resize((coarse, coarse), Image.Resampling.BOX).resize((EDGE, EDGE), Image.Resampling.BILINEAR)
    light = np.asarray(image, np.float32) * generator.uniform(0.6, 1.1)
    light += generator.normal(0, generator.uniform(0, 16), light.shape)
    return np.repeat(np.clip(light, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def _frame(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Cut the letter out with a margin of at most a quarter, and no narrower than half of its height."""
    left, top, right, bottom = image.getbbox() or (0, 0, *image.size)
    edge = max(right - left, bottom - top) * generator.uniform(0.5, 1)
    wide, tall = (max(edge, side) * generator.uniform(1, 1.25) / 2 for side in (right - left, bottom - top))
    x, y = (left + right) / 2, (top + bottom) / 2
    box = (round(x - wide), round(y - tall), round(x + wide), round(y + tall))
    return image.crop(box).resize((2 * EDGE, 2 * EDGE), Image.Resampling.BILINEAR)


def _affine(generator: np.random.Generator, centre: float) -> tuple[float, float, float, float, float, float]:
    """A rotation within 20 degrees, a shear, a stretch and a shift, about the centre; in Pillow's six numbers."""
    angle, shear = generator.uniform(-0.35, 0.35), generator.uniform(-0.3, 0.3)
    wide, tall = generator.uniform(0.8, 1.4, 2)
    matrix = np.array([[np.cos(angle), np.sin(angle) + shear], [-np.sin(angle), np.cos(angle)]]) @ np.diag([wide, tall])
    offset = np.full(2, centre) - matrix @ (np.full(2, centre) + generator.uniform(-0.08, 0.08, 2) * 2 * centre)
    a, b, d, e = (float(value) for value in matrix.ravel())
    return a, b, float(offset[0]), d, e, float(offset[1])


def letters(count: int, seed: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """`count` (image, class index) pairs, classes in turn; equal arguments give equal pixels."""
    for index in range(count):
        label = index % len(CLASSES)
        yield render(CLASSES[label], np.random.default_rng([seed, index])), label
