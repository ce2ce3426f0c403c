"""Random views of packed images, a whole batch at a time, on whatever device the batch is."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.spec import Augment

COLUMNS = (7, 3)
"""Random numbers of one view: zoom or area, angle, mirror, two of place, brightness, contrast; then aspect, saturation,
hue. Drawn block by block, so that a later block leaves what a seed drew before it as it was."""
DRAWS = sum(COLUMNS)
"""Random numbers of one view."""


def draw(count: int, generator: torch.Generator) -> Tensor:
    """(count, DRAWS) uniform in [0, 1): all that is random in as many views, whatever the settings.

    Changing one kind of augmentation thus does not change what the others draw.
    """
    return torch.cat([torch.rand(count, columns, generator=generator) for columns in COLUMNS], dim=1)


class Views:
    """Packed uint8 (B, R, R, 3) -> normalised float (B, 3, S, S), for training and for evaluation."""

    def __init__(self, preprocess: ImagePreprocess, device: torch.device) -> None:
        self.preprocess = preprocess
        shape = (1, 3, 1, 1)
        self.mean = torch.tensor(preprocess.mean, device=device).view(shape)
        self.std = torch.tensor(preprocess.std, device=device).view(shape)

    def evaluation(self, packed: Tensor) -> Tensor:
        """The central crop: what `ImagePreprocess` gives for the same packed images."""
        size, edge = self.preprocess.size, packed.shape[1]
        margin = (edge - size) // 2
        crop = packed[:, margin : margin + size, margin : margin + size]
        normalised: Tensor = (crop.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        return normalised.contiguous()

    def training(self, packed: Tensor, augment: Augment, draws: Tensor) -> Tensor:
        """A window of each image by its `draws` (B, DRAWS): flipped, cut out, rotated, in other light and colours."""
        if augment.still:
            return self.evaluation(packed)
        images = packed.permute(0, 3, 1, 2).contiguous().float()
        draws = draws.to(packed.device, non_blocking=True)
        theta = windows(draws, self.preprocess.size / packed.shape[1], augment)
        grid = _grid(theta, self.preprocess.size)
        views = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        # In place, and on the scale of the pixels: each new array of this size costs as much as the sums in it.
        if augment.brightness:
            _light(views, augment.brightness, draws[:, 5:7])
        if augment.saturation or augment.hue:
            views = _colour(views, augment, draws[:, 8:10])
        return views.sub_(255 * self.mean).div_(255 * self.std)


def windows(draws: Tensor, crop: float, augment: Augment) -> Tensor:
    """Affine maps (B, 2, 3) from output to input coordinates in [-1, 1]; `crop` = evaluation crop / image edge."""
    across, down, x, y = _boxes(draws, augment) if augment.area else _zooms(draws, crop, augment)
    angle = (2 * draws[:, 1] - 1) * math.radians(augment.rotate)
    mirror = torch.where((draws[:, 2] < 0.5) & augment.flip, -1.0, 1.0)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = [cosine * across * mirror, -sine * down, x, sine * across * mirror, cosine * down, y]
    return torch.stack(rows, dim=1).view(len(draws), 2, 3)


def _zooms(draws: Tensor, crop: float, augment: Augment) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half the width and the height (B,) of a square window about the middle, and its centre's x and y (B,)."""
    low, high = augment.zoom
    zoom = (low + (high - low) * draws[:, 0]) * crop
    shift = (2 * draws[:, 3:5] - 1) * (2 * augment.shift * crop)
    return zoom, zoom, shift[:, 0], shift[:, 1]


def _boxes(draws: Tensor, augment: Augment) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Half the width and the height (B,) of a window that lies in the image, and its centre's x and y (B,).

    The random resized crop of Inception (Szegedy et al. 2015, arXiv 1409.4842): area uniform, aspect log-uniform, any
    place; a side that would be longer than the image's is cut to it.
    """
    low, high = augment.area or (1.0, 1.0)
    edge = torch.sqrt(low + (high - low) * draws[:, 0])
    stretch = torch.exp((2 * draws[:, 7] - 1) * (math.log(augment.aspect) / 2))
    across, down = (edge * stretch).clamp_max(1), (edge / stretch).clamp_max(1)
    return across, down, (2 * draws[:, 3] - 1) * (1 - across), (2 * draws[:, 4] - 1) * (1 - down)


def _grid(theta: Tensor, size: int) -> Tensor:
    """`affine_grid` (B, S, S, 2) for square images, as one sum of what depends on the column and on the row."""
    line = ((2 * torch.arange(size, device=theta.device) + 1) / size - 1)[None, :, None]
    columns, rows = line * theta[:, None, :, 0], line * theta[:, None, :, 1] + theta[:, None, :, 2]
    return columns[:, None] + rows[:, :, None]


def _light(images: Tensor, strength: float, draws: Tensor) -> None:
    """Multiply brightness and contrast (around each image's mean) by 1 +- strength, in place; stays in [0, 255]."""
    brightness, contrast = (1 + strength * (2 * draws - 1)).T.reshape(2, len(images), 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images.mul_(contrast).add_(mean * (brightness - contrast)).clamp_(0, 255)


LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in how light a colour looks (ITU-R BT.601)."""


def _colour(images: Tensor, augment: Augment, draws: Tensor) -> Tensor:
    """Saturation times 1 +- `saturation` and a turn of the colour circle by up to +- `hue` of it; stays in [0, 255].

    One matrix an image: what is grey stays as it is, and how light a colour looks too. (a, b) = the blue and the red
    difference from the lightness are scaled and turned in their plane.
    """
    saturation = 1 + augment.saturation * (2 * draws[:, 0] - 1)
    angle = (2 * draws[:, 1] - 1) * (2 * math.pi * augment.hue)
    cosine, sine = torch.cos(angle) * saturation, torch.sin(angle) * saturation
    red, green, blue = LUMA
    difference = images.new_tensor([[1 - red, -green, -blue], [-red, -green, 1 - blue]])
    turned = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2) @ difference
    middle = -(red * turned[:, 0] + blue * turned[:, 1]) / green
    matrix = torch.stack([turned[:, 0], middle, turned[:, 1]], dim=1) + images.new_tensor([LUMA, LUMA, LUMA])
    return torch.einsum("bij,bjhw->bihw", matrix, images).clamp_(0, 255)


def mix(images: Tensor, targets: Tensor, augment: Augment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup or CutMix (a coin decides where both are on) of images (B, 3, S, S) and class probabilities (B, C).

    Activations (B, C, H, W) are mixed like images (manifold mixup, arXiv 1806.05236); mixup takes any shape.
    """
    choices = [name for name in ("mixup", "cutmix") if getattr(augment, name)]
    if not choices:
        return images, targets
    kind = choices[int(torch.randint(len(choices), (), generator=generator))]
    other = torch.randperm(len(images), generator=generator).to(images.device)
    share = _beta(getattr(augment, kind), generator)
    if kind == "cutmix":
        images, share = _paste(images, images[other], share, generator)
    else:
        images = share * images + (1 - share) * images[other]
    return images, share * targets + (1 - share) * targets[other]


def _beta(alpha: float, generator: torch.Generator) -> float:
    """One draw of Beta(alpha, alpha) as a ratio of Gamma draws from `generator`."""
    gammas = torch._standard_gamma(torch.full((2,), alpha, dtype=torch.float64), generator=generator)
    return float(gammas[0] / gammas.sum().clamp_min(1e-300))


def _paste(images: Tensor, others: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Replace a rectangle of area 1 - share; the share that is really left comes back with the images."""
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    tall, wide = int(height * side), int(width * side)
    top = int(torch.randint(height - tall + 1, (), generator=generator))
    left = int(torch.randint(width - wide + 1, (), generator=generator))
    pasted = images.clone()
    pasted[..., top : top + tall, left : left + wide] = others[..., top : top + tall, left : left + wide]
    return pasted, 1 - tall * wide / (height * width)
