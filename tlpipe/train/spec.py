"""How fine-tuning is done, whatever the strategy: the `training:` section of params.yaml."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from tlpipe.config import Spec
from tlpipe.strategies.scale import Scale

if TYPE_CHECKING:
    MonitorName = str
else:
    # fingerprints do not follow it: it is what params.yaml may say, and changes no result
    from tlpipe.metric_facts import MonitorName

Fraction = Annotated[float, Field(ge=0, lt=1)]
Area = Annotated[float, Field(gt=0, le=1)]
Dropout = Annotated[float, Field(ge=0, le=0.9)]
"""With less than a tenth of the features left, a step learns from noise."""
Smoothing = Annotated[float, Field(ge=0, le=0.5)]
"""Above a half, the wrong classes together weigh more than the right one."""
LONGEST = 10_000
"""Epochs of the longest phase: no patience can be longer."""


class Augment(Spec):
    """Random views of training images; drawn anew for every image and epoch, on the device, in batches."""

    flip: bool
    """Mirror half of the images left to right; false where left and right differ in meaning, as in letters."""
    zoom: tuple[Annotated[float, Field(gt=0, le=4)], Annotated[float, Field(gt=0, le=4)]] = (1, 1)
    """Smallest and largest edge of the window that is cut out, relative to the evaluation crop."""
    rotate: Annotated[float, Field(ge=0, le=180)]
    """Largest rotation either way, degrees."""
    shift: Annotated[float, Field(ge=0, le=1)] = 0
    """Largest displacement of the window's centre from the image's, relative to the evaluation crop."""
    brightness: Fraction
    """Brightness and contrast are multiplied by 1 +- this."""
    mixup: Annotated[float, Field(ge=0, le=4)]
    """Alpha of the Beta distribution that mixes pairs of images and labels; 0 = off (arXiv 1710.09412)."""
    cutmix: Annotated[float, Field(ge=0, le=4)]
    """Alpha of the Beta distribution that pastes rectangles of other images; 0 = off (arXiv 1905.04899)."""
    area: tuple[Area, Area] | None = None
    """Smallest and largest share of the image that a window anywhere in it covers (random resized crop), in place of
    `zoom` and `shift`; null = a window about the middle, by these."""
    aspect: Annotated[float, Field(ge=1, le=4)] = 4 / 3
    """Largest aspect ratio of the windows of `area`: width over height lies between 1 / this and this."""
    saturation: Fraction = 0
    """Saturation is multiplied by 1 +- this."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0
    """Largest turn of the colour circle either way, in turns."""

    @model_validator(mode="after")
    def _ordered(self) -> "Augment":
        for name, bounds in (("zoom", self.zoom), ("area", self.area)):
            if bounds and bounds[0] > bounds[1]:
                raise ValueError(f"{name} must be [smallest, largest], got {list(bounds)}")
        if self.area and (tuple(self.zoom) != (1, 1) or self.shift):
            raise ValueError(
                f"area: {list(self.area)} beside zoom: {list(self.zoom)} and shift: {self.shift:g}: a window has its "
                "size and place from the one or from the others; remove area, or zoom and shift"
            )
        return self

    @property
    def still(self) -> bool:
        """Whether every view of an image is its evaluation view (mixing comes later and does not count)."""
        coloured = self.brightness or self.saturation or self.hue
        moves = self.flip or self.rotate or self.shift or self.area
        return not moves and not coloured and tuple(self.zoom) == (1, 1)


STILL = Augment(flip=False, zoom=(1, 1), rotate=0, shift=0, brightness=0, mixup=0, cutmix=0)
"""No augmentation at all."""


class Cache(Spec):
    """What frozen layers give is computed once and kept on disk (`.tlpipe/cache`) while the layers above train."""

    views: Annotated[int, Field(ge=0, le=1000)]
    """Augmented views of each sample that are kept, one an epoch in turn; 0 = off: each epoch draws new views and runs
    them through the frozen layers again. No more views than epochs are made, and then nothing is kept."""
    noise: Annotated[float, Field(ge=0, le=1)]
    """Gaussian noise added to the kept activations of training samples, in standard deviations of the batch."""
    storage: Literal["auto", "exact", "half", "int8"]
    """auto = half precision, or a byte a value with a range for each sample and channel where that is too large; either
    only if it changes no checked probability by more than 0.01."""
    gigabytes: Annotated[float, Field(ge=0, le=100_000)]
    """Gigabytes of disk that all kept activations may take, less where the disk has less room; what does not fit is
    computed anew each epoch, with a message."""


class Training(Spec):
    """The recipe that all fine-tuning strategies share; what differs between them is in their own sections."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    """Seed of the order of samples, of augmentation, dropout and fresh weights."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 1
    """Trainings of each strategy, with `seed`, `seed` + 1, …: the first one's model is the strategy's, and the others
    tell how much of its figures is luck. Each draws its own views. Strategies that draw nothing run once."""
    retries: Annotated[int, Field(ge=0, le=20)] = 2
    """Trainings with other seeds in place of one that ends no better than a constant answer; every one is reported."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    """Number of samples in a step."""
    optimizer: Literal["adamw", "sgd"]
    """AdamW (bias-corrected) or SGD with Nesterov momentum 0.9."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """Decoupled for AdamW; never on biases, norms and other vectors, embeddings, tokens and tables of positions.
    auto = by the number of samples."""
    schedule: Literal["constant", "linear", "cosine"]
    """Schedule of the learning rate over each phase, after the warm-up."""
    warmup: Fraction
    """Share of each phase in which the rate climbs from 0, newly unfrozen groups and all."""
    label_smoothing: Smoothing
    """Share of the target that is spread evenly over all classes."""
    clip_norm: Annotated[float, Field(ge=1e-4, le=1e6)] | None
    """Largest global gradient norm; null = no clipping."""
    norm_statistics: Literal["source", "batch"]
    """Batch norms of layers that train: keep the source's running statistics, so that fine-tuning begins with exactly
    the function that the head was fitted on, or use and update each batch's. Fresh weights always use the batch's."""
    balance: Literal["none", "weights", "sampling"]
    """Remedy for class imbalance: weigh the loss by inverse class frequency, or draw classes equally often."""
    dropout: Dropout
    """Dropout before the head's linear layer."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    """Decay a step of an exponential moving average of the weights, which is then what is validated and kept; it warms
    up, so that the weights at the start are soon forgotten."""
    keep: Literal["auto", "best", "last"] = "auto"
    """The weights that a training ends with: those after the epoch with the best `monitor`, or after the last. With
    folds the epoch is chosen on all out-of-fold predictions together. auto = the last where what ships is trained on
    all labelled samples (`data.split.folds` and `refit`), the best where a single validation split decides."""
    final: Literal["refit", "average"] = "refit"
    """Model that ships where there are folds: the training on all labelled samples, or the mean of the weights of the
    folds' models, which costs no further training. The mean ships only if its loss on the labelled samples is no higher
    than its members' is on average, else the refit: few samples can leave the folds in different basins."""
    monitor: MonitorName = "auto"
    """Validation figure of early stopping and best-weights restore; of equally good epochs the later one is kept. auto
    = `compare.metric`. Losses are compared after a temperature is fitted. What there is depends on the task."""
    patience: Annotated[int, Field(ge=1, le=LONGEST)] | None = None
    """A phase ends when `monitor` has not improved for so many epochs, of which its warm-up and its first third do not
    count; null = every phase runs to its end, as it does with folds and on all labelled samples in any case."""
    augment: Augment = STILL
    """Random augmentation of images; texts are never changed."""
    cache: Cache
    """Activation cache of frozen layers."""

    def grace(self, epochs: int) -> int:
        """The first so many passes of a phase of `epochs`, which `patience` does not count."""
        return math.ceil(epochs * max(self.warmup, 1 / 3))

    def scale(self, samples: int | None, batch_norms: bool) -> Scale:
        """What decides the values that are `auto`: the training samples, and whether the network has batch norms."""
        return Scale(samples=samples, batch_size=self.batch_size, optimizer=self.optimizer, batch_norms=batch_norms)

    def decay(self, samples: int | None) -> float:
        """The weight decay for so many training samples."""
        return Scale(samples=samples).weight_decay() if self.weight_decay == "auto" else self.weight_decay
