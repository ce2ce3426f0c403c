"""The offline default: a small residual network that the `pretrain` stage trains on printed letters."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from tlpipe.backbones.base import Backbone, Encoder, SequentialEncoder
from tlpipe.preprocess.image import ImagePreprocess


class Letters(Backbone):
    """A residual network for 32-pixel images, pretrained here on rendered letters (no download)."""

    modality: ClassVar[Literal["image", "text"]] = "image"
    trained_here: ClassVar[bool] = True

    kind: Literal["letters"] = "letters"
    width: Annotated[int, Field(ge=4, le=256)] = 32
    """Channels of the first stage; each of the three later ones doubles them."""
    samples: Annotated[int, Field(ge=100, le=1_000_000)] = 12_000
    """Letters to render for pretraining."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Number of passes over the printed letters."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the letters and of the fresh weights."""

    def preprocess(self) -> ImagePreprocess:
        """32 pixels, mean 0.5, deviation 0.25."""
        return ImagePreprocess(size=32, resize_to=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    def encoder(self) -> Encoder:
        """Stem and four residual stages; features (B, 8 * width)."""
        widths = [self.width, 2 * self.width, 4 * self.width, 8 * self.width]
        stages: dict[str, nn.Module] = {"stem": _convolution(3, self.width, 1)}
        for index, (before, after) in enumerate(zip([self.width, *widths], widths, strict=False), start=1):
            stages[f"stage{index}"] = _Residual(before, after, stride=1 if index == 1 else 2)
        stages["stage4"] = nn.Sequential(stages["stage4"], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return SequentialEncoder(stages, widths[-1])


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=False)
    )


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016), (B, C, H, W) -> (B, C', H/stride, W/stride)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, stride)
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after))
        changed = stride != 1 or before != after
        self.shortcut = (
            nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            if changed
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = nn.functional.relu(self.second(self.first(x)) + self.shortcut(x))
        return result
