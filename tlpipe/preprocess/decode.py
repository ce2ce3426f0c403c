"""Raw bytes of an image file to RGB pixels, read right whatever the mode, or a typed reason why not."""

import io
import re
import warnings
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""What is tried: raster formats only, because EPS and WMF files are programs that other software would run."""
EXTENSIONS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".mpo", ".jp2", ".j2k", ".avif",
))  # fmt: skip
"""Names (lower case) by which files are taken for images."""
MAX_PIXELS = 100_000_000
"""What `max_pixels` is where nothing else is said."""
MOST_PIXELS = 178_956_970
"""Pillow refuses larger images whatever it is told; `max_pixels` above it would have no effect."""


class UnreadableImage(ValueError):  # noqa: N818 - it is raised for data, and reads as a finding
    """An image file that cannot be used.

    `reason` is for programs: `empty`, `not_an_image`, `truncated`, `too_large`, `corrupt` or `unsupported`; `detail`
    is for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def decode(
    raw: bytes, max_pixels: int = MAX_PIXELS, edge: int | None = None, spend: Callable[[int], None] | None = None
) -> NDArray[np.uint8]:
    """The file `raw` as RGB pixels (H, W, 3) uint8: the first frame or page, turned as its EXIF orientation says.

    The one reader of images, in training and wherever a bundle is served; this module needs numpy and Pillow alone.
    Transparency is flattened on white, 16-bit grey is divided by 257 and rounded, CMYK is taken as Adobe's (inverted)
    in JPEG files, and colour profiles are not applied.

    Args:
        raw: The bytes of the file.
        max_pixels: Images of more pixels, by their header, are refused and never decoded.
        edge: Pixels to which the shorter side will be resized; what that makes is held to `max_pixels` too.
        spend: Told the number of pixels before they are decoded; may raise UnreadableImage.

    Raises:
        UnreadableImage: Whatever keeps the file from being used.
    """
    if not raw:
        raise UnreadableImage("empty", "the file has no bytes")
    # Pillow tells its findings (odd EXIF, malformed MPO, many pixels) as warnings; here they are reasons or nothing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _pixels(raw, max_pixels, edge, spend)
        except (UnreadableImage, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise UnreadableImage("too_large", _first_line(error)) from None
        except UnidentifiedImageError:
            raise UnreadableImage("not_an_image", f"{len(raw):,} bytes of no image format that is read") from None
        except Exception as error:  # a broken file can raise nearly anything from inside a decoder
            reason = "truncated" if re.search("truncated|unexpected end", str(error), re.IGNORECASE) else "corrupt"
            raise UnreadableImage(reason, _first_line(error)) from None


def _pixels(raw: bytes, max_pixels: int, edge: int | None, spend: Callable[[int], None] | None) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(raw), formats=_formats()) as image:
        width, height = image.size
        check_size(width, height, max_pixels, edge)
        if spend is not None:
            spend(width * height)
        image.load()
        return to_rgb(image)


def check_size(width: int, height: int, max_pixels: int, edge: int | None = None) -> None:
    """Raises UnreadableImage for an image of no pixels, or of more than `max_pixels`: its own or those of its resize.

    With `edge`, the shorter side will be resized to that many pixels, which makes a long image larger.
    """
    if width < 1 or height < 1:
        raise UnreadableImage("empty", f"{width} x {height} pixels")
    if width * height > max_pixels:
        raise UnreadableImage("too_large", f"{width} x {height} pixels, more than the {max_pixels:,} allowed")
    if edge is not None:
        columns, rows = (edge * side // min(width, height) for side in (width, height))
        if columns * rows > max_pixels:
            detail = (
                f"{width} x {height} pixels are {columns} x {rows} once resized, more than the {max_pixels:,} allowed"
            )
            raise UnreadableImage("too_large", detail)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A loaded image as RGB pixels (H, W, 3), turned and converted as `decode` does. Raises UnreadableImage."""
    # the format goes with the original: a turned image is a new one that has none
    return np.array(_rgb(_upright(image), image.format))


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken metadata does not make the pixels unusable
        return image


def _rgb(image: Image.Image, form: str | None) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and form in ("PNG", "PPM")):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65_535)
        if isinstance(clear := image.info.get("transparency"), int):
            grey[grey == clear] = 65_535  # of 16 bits a PNG names one level that is transparent
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnreadableImage(
            "unsupported", f"pixels of mode {image.mode} have no defined white; save as 8 or 16 bits a channel"
        )
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


def _first_line(error: Exception) -> str:
    return f"{error}".partition("\n")[0][:200] or type(error).__name__
