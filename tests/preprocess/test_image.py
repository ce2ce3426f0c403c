from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tlpipe.preprocess.image import ImagePreprocess


def random_image(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["shorter", "squash"]))
def test_packed_rows_have_one_shape(height: int, width: int, resize: Literal["shorter", "squash"]):
    spec = ImagePreprocess(size=8, resize_to=11, resize=resize)
    packed = spec.pack(random_image(height, width))
    assert packed.shape == (11, 11, 3)
    assert packed.dtype == np.uint8
    assert spec.crop(packed).shape == (8, 8, 3)


def test_the_shorter_edge_keeps_the_aspect_ratio():
    assert ImagePreprocess(size=8, resize_to=10).resized_shape(20, 33) == (10, 16)
    assert ImagePreprocess(size=8, resize_to=10).resized_shape(33, 20) == (16, 10)


def test_pack_is_pillow_and_a_centre_crop():
    image = random_image(40, 60)
    expected = np.asarray(Image.fromarray(image).resize((15, 10), Image.Resampling.BILINEAR))[:, 2:12]
    np.testing.assert_array_equal(ImagePreprocess(size=8, resize_to=10).pack(image), expected)


def test_normalise_by_hand():
    spec = ImagePreprocess(size=8, resize_to=8, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    view = np.full((1, 8, 8, 3), 255, np.uint8)
    result = spec.normalise(view)
    assert result.shape == (1, 3, 8, 8)
    assert result[0, :, 0, 0].tolist() == [1.0, 3.0, 1.0]


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="at least size"):
        ImagePreprocess(size=9, resize_to=8)
