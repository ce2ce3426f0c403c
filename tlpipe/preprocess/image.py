"""What an image goes through before the network sees it; it travels with the weights, never with a model's name."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from tlpipe.config import Spec
from tlpipe.preprocess.decode import MAX_PIXELS, decode

Channel = Annotated[float, Field(ge=-10, le=10)]
Channels = tuple[Channel, Channel, Channel]
LEAST_STD = 1e-3
"""Less than a grey level is no spread of pixels, and divides by nearly nothing."""
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)


class ImagePreprocess(Spec):
    """Resize (Pillow's antialiased filters on uint8 RGB), centre crop, scale to [0, 1], normalise.

    `resize` is the policy: `shorter` brings the shorter edge to `resize_to` and keeps the aspect ratio,
    `squash` ignores the aspect ratio and gives `resize_to` x `resize_to`.
    """

    kind: Literal["image"] = "image"
    size: Annotated[int, Field(ge=8, le=2048)] = 224
    """Edge of the square that the network sees, pixels."""
    resize_to: Annotated[int, Field(ge=8, le=4096)] = 256
    """Edge after the resize, before the centre crop, pixels; at least `size`."""
    resize: Literal["shorter", "squash"] = "shorter"
    """Side that becomes `resize_to` pixels: the shorter one, or both (then the aspect ratio changes)."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """Filter of the antialiased resize."""
    mean: Channels = IMAGENET_MEAN
    """Subtracted after scaling to [0, 1], one number a channel, RGB order."""
    std: Channels = IMAGENET_STD
    """Standard deviation of each channel, after division by 255."""

    @model_validator(mode="after")
    def _crop_fits(self) -> "ImagePreprocess":
        if self.resize_to < self.size:
            raise ValueError(
                f"resize_to ({self.resize_to}) must be at least size ({self.size}): "
                "a crop cannot be larger than the image"
            )
        if min(self.std) < LEAST_STD:
            raise ValueError(f"std must be at least {LEAST_STD:g} in every channel of [0, 1], got {self.std}")
        return self

    def example(self) -> NDArray[np.float32]:
        """One input of the network: zeros (1, 3, size, size)."""
        return np.zeros((1, 3, self.size, self.size), np.float32)

    @property
    def edge(self) -> int | None:
        """Pixels to which the shorter side is brought; None where the resize ignores the aspect ratio."""
        return self.resize_to if self.resize == "shorter" else None

    def read(
        self, raw: bytes, max_pixels: int = MAX_PIXELS, spend: Callable[[int], None] | None = None
    ) -> NDArray[np.uint8]:
        """The file `raw` as RGB pixels (H, W, 3) that `pack` takes. Raises UnreadableImage as `decode`."""
        return decode(raw, max_pixels, self.edge, spend)

    def inside(self) -> str:
        """What the exported graph does before the network, for people."""
        return f"resize ({self.resize}, {self.interpolation}) to {self.resize_to}, crop to {self.size}, normalise, "

    def resized_shape(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after the resize; the longer edge is rounded down, as in torchvision.

        All integer arithmetic, so that the ONNX graph can do exactly the same.
        """
        if self.resize == "squash":
            return self.resize_to, self.resize_to
        shorter = min(height, width)
        return self.resize_to * height // shorter, self.resize_to * width // shorter

    def pack(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Raw RGB (H, W, 3) uint8 -> resized and centre-cropped to (resize_to, resize_to, 3) uint8."""
        height, width = self.resized_shape(*image.shape[:2])
        resample = Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR
        raw = Image.fromarray(image)
        # One axis at a time, across first: Pillow 13 picks the order by cost, older ones and onnxruntime do not.
        resized = raw.resize((width, raw.height), resample).resize((width, height), resample)
        return centre_crop(np.asarray(resized), self.resize_to)

    def crop(self, packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Packed (..., resize_to, resize_to, 3) -> the evaluation view (..., size, size, 3)."""
        return centre_crop(packed, self.size)

    def evaluation(self, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network takes of packed rows (N, resize_to, resize_to, 3): their evaluation views."""
        return self.normalise(self.crop(packed))

    def normalise(self, view: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, S, S, 3) -> float32 (N, 3, S, S), normalised: what the network takes."""
        scaled = view.astype(np.float32) / np.float32(255)
        result = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(np.moveaxis(result, -1, -3))

    def batch(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Raw RGB images -> what the network takes of them, float32 (N, 3, size, size)."""
        return np.stack([self(image) for image in images])

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One raw RGB (H, W, 3) uint8 image of any size -> float32 (3, size, size)."""
        view: NDArray[np.float32] = self.normalise(self.crop(self.pack(image))[None])[0]
        return view


def centre_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The central `size` x `size` of (..., H, W, 3); odd margins leave the extra pixel at the bottom and right."""
    top, left = (image.shape[-3] - size) // 2, (image.shape[-2] - size) // 2
    return image[..., top : top + size, left : left + size, :]
