import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tlpipe.preprocess.decode import UnreadableImage, check_size, decode
from tlpipe.preprocess.image import ImagePreprocess

MANY = 1_000_000
COLOURS = np.array([[[10, 200, 30], [255, 0, 0]], [[0, 0, 255], [9, 9, 9]], [[250, 128, 4], [0, 0, 0]]], np.uint8)


def save(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: list[bytes]) -> bytes:
    """A PNG file written by hand, for what Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def reason(raw: bytes, max_pixels: int = MANY) -> str:
    with pytest.raises(UnreadableImage) as error:
        decode(raw, max_pixels)
    assert error.value.detail
    return error.value.reason


def outcome(raw: bytes) -> str:
    try:
        pixels = decode(raw, 10_000)
    except UnreadableImage as error:
        return error.reason
    return "image" if pixels.ndim == 3 and pixels.shape[2] == 3 else f"pixels of shape {pixels.shape}"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_colours_are_exact_in_every_lossless_format(kind: str):
    pixels = decode(save(Image.fromarray(COLOURS), kind), MANY)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, COLOURS)


def test_grey_becomes_three_equal_channels():
    grey = np.array([[0, 127], [200, 255]], np.uint8)
    np.testing.assert_array_equal(decode(save(Image.fromarray(grey)), MANY), np.repeat(grey[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    bits = Image.fromarray(np.array([[True, False], [False, True]]))
    assert bits.mode == "1"
    assert decode(save(bits), MANY)[..., 0].tolist() == [[255, 0], [0, 255]]


def test_the_transparent_level_of_16_bits_is_white():
    image = Image.fromarray(np.array([[0, 50, 514]], np.uint16))
    assert decode(save(image, transparency=50), MANY)[0].tolist() == [[0] * 3, [255] * 3, [2] * 3]


def test_transparency_is_flattened_on_white():
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    assert decode(save(Image.fromarray(pixels, "RGBA")), MANY)[0].tolist() == [[255, 0, 0], [255] * 3, [204] * 3]


def test_grey_with_alpha_is_flattened_on_white():
    image = Image.merge("LA", [Image.new("L", (2, 1), 100), Image.fromarray(np.array([[255, 0]], np.uint8))])
    assert decode(save(image), MANY)[0].tolist() == [[100] * 3, [255] * 3]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_entry(kind: str):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert decode(save(image, kind), MANY)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert decode(save(image, kind, transparency=1), MANY)[0].tolist() == [[255, 0, 0], [255] * 3, [0, 0, 255]]


def test_palette_with_an_alpha_for_each_entry_gives_no_warning():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 0])
    assert decode(save(image, transparency=bytes([0, 51])), MANY)[0].tolist() == [[255] * 3, [204] * 3]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str):
    deep = np.array([[0, 257, 128 * 257, 128 * 257 + 129, 65_535]], np.uint16)
    assert decode(save(Image.fromarray(deep), kind), MANY)[0, :, 0].tolist() == [0, 1, 128, 129, 255]


@pytest.mark.parametrize("depth", [65_535, 4095])
def test_grey_maps_of_more_than_eight_bits_are_read(depth: int):
    raw = b"P5 3 1 %d\n" % depth + struct.pack(">3H", 0, depth // 2 + 1, depth)
    assert decode(raw, MANY)[0, :, 0].tolist() == [0, 128, 255]


def test_sixteen_bit_big_endian_tiff():
    raw = save(Image.frombytes("I;16B", (2, 1), struct.pack(">2H", 1000, 40_000)), "TIFF")
    assert decode(raw, MANY)[0, :, 0].tolist() == [round(1000 / 257), round(40_000 / 257)]


def test_sixteen_bit_colour():
    raw = png(2, 1, 16, 2, [struct.pack(">6H", 65_535, 0, 128 * 257, 257, 514, 771)])
    assert decode(raw, MANY)[0].tolist() == [[255, 0, 128], [1, 2, 3]]


def test_float_pixels_are_refused_not_clipped():
    assert reason(save(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF")) == "unsupported"


@pytest.mark.parametrize(("kind", "tolerance"), [("TIFF", 0), ("JPEG", 6)])
def test_cmyk(kind: str, tolerance: int):
    """Pillow writes CMYK JPEG files as Adobe does: inverted, with Adobe's marker."""
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 0, 0, 255): (0, 0, 0)}
    for ink, colour in inks.items():
        pixels = decode(save(Image.new("CMYK", (16, 16), ink), kind), MANY)
        assert np.abs(pixels.astype(int) - colour).max() <= tolerance


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    raw = save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(raw, MANY)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("size", "edge", "most", "refused"),
    [
        ((10, 10), None, 100, False), ((10, 11), None, 100, True), ((1, 30), None, 100, False),
        ((1, 30), 2, 120, False), ((1, 30), 2, 119, True), ((30, 1), 2, 119, True), ((7, 3), 5, 55, False),
        ((7, 3), 5, 54, True),
    ],
)  # fmt: skip
def test_the_limit_holds_for_the_image_and_for_its_resize(
    size: tuple[int, int], edge: int | None, most: int, refused: bool
):
    raw, spent = save(Image.new("RGB", size), "PNG"), []
    if refused:
        with pytest.raises(UnreadableImage, match="too_large"):
            decode(raw, most, edge, spent.append)
        assert not spent
    else:
        assert decode(raw, most, edge, spent.append).shape[:2] == size[::-1]
        assert spent == [size[0] * size[1]]


def test_the_limit_of_the_resize_is_what_the_resize_makes():
    generator = np.random.default_rng(0)
    for height, width in generator.integers(1, 400, (200, 2)).tolist():
        rows, columns = ImagePreprocess(size=9, resize_to=16).resized_shape(height, width)
        check_size(width, height, max(rows * columns, height * width), 16)
        if rows * columns > height * width:
            with pytest.raises(UnreadableImage, match=f"{columns} x {rows} once resized"):
                check_size(width, height, rows * columns - 1, 16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(kind: str, orientation: int):
    """What each orientation means is taken from the EXIF standard: where row 0 and column 0 of the file are seen."""
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    upright = np.kron(COLOURS, np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    raw = save(Image.fromarray(np.ascontiguousarray(stored[orientation](upright))), kind, exif=exif, **options)
    pixels = decode(raw, MANY)
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() <= (8 if kind == "JPEG" else 0)


def test_broken_exif_does_not_lose_the_image():
    raw = save(Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    np.testing.assert_array_equal(decode(raw, MANY), COLOURS)


def noise(kind: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return save(Image.fromarray(pixels), kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM"])
def test_half_a_file_is_refused(kind: str):
    raw = noise(kind)
    assert reason(raw[: len(raw) // 2]) in {"truncated", "corrupt", "not_an_image"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "PPM"])
def test_half_a_file_is_called_truncated(kind: str):
    raw = noise(kind)
    assert reason(raw[: len(raw) // 2]) == "truncated"


def test_no_bytes_and_no_pixels_are_empty():
    assert reason(b"") == "empty"
    assert reason(png(0, 5, 8, 2, [])) in {"empty", "not_an_image"}


@pytest.mark.parametrize("raw", [b"hello", b"<html></html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_other_files_are_no_images(raw: bytes):
    assert reason(raw) == "not_an_image"


def test_a_bomb_is_refused_by_its_header():
    bomb = png(60_000, 60_000, 8, 2, [b"\0"])
    assert reason(bomb) == "too_large"
    assert reason(png(10_000, 9_000, 8, 2, [b"\0"]), 50_000_000) == "too_large"


def test_the_limit_itself_is_allowed():
    raw = save(Image.fromarray(COLOURS))
    assert decode(raw, 6).shape == (3, 2, 3)
    assert reason(raw, 5) == "too_large"


def test_many_pixels_below_the_limit_give_no_warning(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(save(Image.fromarray(COLOURS)), MANY).shape == (3, 2, 3)


@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_a_damaged_file_gives_an_image_or_a_reason(kind: str, data: st.DataObject):
    raw = bytearray(save(Image.fromarray(COLOURS), kind))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=5)):
        raw[place] = data.draw(st.integers(0, 255))
    assert outcome(bytes(raw)) in {"image", "not_an_image", "truncated", "too_large", "corrupt", "empty", "unsupported"}
