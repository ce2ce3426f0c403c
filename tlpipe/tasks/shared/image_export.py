"""Export of tasks on images: the graph's input, raw held-out images, and golden samples."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, cast

from PIL import Image

from tlpipe.bundle import Port
from tlpipe.config import ConfigError
from tlpipe.data.base import Source
from tlpipe.export.golden import Truth
from tlpipe.export.graph import INPUT
from tlpipe.export.parity import Choice, HeldOut, Pictures, noisy
from tlpipe.golden import GoldenSample, golden_sample
from tlpipe.preprocess.decode import UnreadableImage
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.limits import SampleLimits
from tlpipe.train.model import About

LARGEST = 1.5
"""Longest side of a golden image, in edges of the resize: larger ones are cut, so that the bundle stays small."""


def inputs(preprocess: Any) -> tuple[Port, ...]:
    """What the graph takes: raw images of any size."""
    return (Port(name=INPUT, dtype="uint8", shape=("batch", "height", "width", 3), layout="NHWC"),)


def limits(samples: HeldOut) -> SampleLimits:
    """What the training refused."""
    return SampleLimits(max_pixels=samples.max_pixels)


def held_out(choice: Choice) -> HeldOut:
    """The chosen images, decoded from their raw bytes when their turn comes."""
    ids = choice.track([choice.packed.ids[row] for row in choice.rows], "torch against onnxruntime", unit="images")
    preprocess = cast(ImagePreprocess, choice.packed.preprocess)
    images = raw_images(choice.source, ids, preprocess, choice.checks.max_pixels)
    return HeldOut(images, choice.packed.samples[choice.rows], max_pixels=choice.checks.max_pixels)


def raw_images(source: Source, ids: Iterator[str], preprocess: ImagePreprocess, max_pixels: int) -> Iterator[Pictures]:
    """Each sample decoded from its raw bytes. Raises ConfigError when a file is not what it was when it was packed."""
    for name in ids:
        try:
            yield preprocess.read(source.read(name), max_pixels)
        except (OSError, UnreadableImage) as error:
            raise ConfigError(f"the sample {name!r} can no longer be read ({error}); run `dvc repro` again") from None


def golden_samples(truth: Truth, about: About, samples: Any, raw: Sequence[Pictures]) -> Iterator[GoldenSample]:
    """Golden samples of raw images, and one of coloured noise."""
    preprocess: Any = about.preprocess
    most = int(LARGEST * preprocess.resize_to)
    for image in (*(_cut(image, most) for image in raw), next(noisy(raw[0], preprocess.resize_to))):
        file = BytesIO()
        Image.fromarray(image).save(file, "PNG", optimize=True)
        yield golden_sample("image/png", file.getvalue(), (truth(preprocess(image)[None]),))


def _cut(image: Pictures, most: int) -> Pictures:
    top, left = (max(0, side - most) // 2 for side in image.shape[:2])
    return image[top : top + most, left : left + most]
