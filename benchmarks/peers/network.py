"""The network that every peer trains, its division into lower part, top and head, and the images as tensors."""

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import get_model

from benchmarks.peers.job import MEAN, RESIZE_TO, SIZE, SMALLEST_AREA, STD, Job, Part

TOPS = {"mobilenet_v2": ("features.16", "features.17", "features.18"), "resnet18": ("layer4",)}
"""What trains in a `top` phase besides the head: on the tlpipe side, groups block16, block17, top and layer4."""
HEADS = {"mobilenet_v2": "classifier", "resnet18": "fc"}


def build(job: Job) -> nn.Module:
    """Torchvision's model with the given weights and a fresh head of `job.classes` outputs."""
    model: nn.Module = get_model(job.backbone)
    model.load_state_dict(torch.load(job.weights, weights_only=True))
    layer = HEADS[job.backbone] + (".1" if job.backbone == "mobilenet_v2" else "")
    model.set_submodule(layer, nn.Linear(model.get_submodule(layer).in_features, job.classes))  # type: ignore[arg-type]
    return model


def prepare(job: Job) -> None:
    """The same threads and seed for every peer."""
    torch.set_num_threads(job.threads)
    random.seed(job.seed)
    torch.manual_seed(job.seed)


def part_of(job: Job, name: str) -> Part:
    """The part that a parameter or module of `build(job)` belongs to; `all` is what only trains in that phase."""
    if name.split(".")[0] == HEADS[job.backbone]:
        return "head"
    return "top" if any(name == top or name.startswith(f"{top}.") for top in TOPS[job.backbone]) else "all"


def trains(job: Job, name: str, part: Part) -> bool:
    """Whether the parameter or module called `name` trains in a phase of this kind."""
    return {"head": 0, "top": 1, "all": 2}[part_of(job, name)] <= {"head": 0, "top": 1, "all": 2}[part]


def training_view() -> transforms.Compose:
    """Random resized crop and flip, the usual of all these tools."""
    crop = transforms.RandomResizedCrop(SIZE, scale=(SMALLEST_AREA, 1.0))
    return transforms.Compose([crop, transforms.RandomHorizontalFlip(), *_tensor()])


def evaluation_view() -> transforms.Compose:
    """Resize, centre crop."""
    return transforms.Compose([transforms.Resize(RESIZE_TO), transforms.CenterCrop(SIZE), *_tensor()])


def _tensor() -> list[object]:
    return [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]


def images(job: Job, split: str) -> ImageFolder:
    """One split as (image, label) pairs; the training split is augmented."""
    view = training_view() if split == "train" else evaluation_view()
    return ImageFolder(str(Path(job.images) / split), view)


def loader(job: Job, split: str) -> "DataLoader[tuple[Tensor, Tensor]]":
    """Batches of one split, the training split shuffled."""
    return DataLoader(
        images(job, split), job.batch, shuffle=split == "train", num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )  # fmt: skip


@torch.inference_mode()
def accuracy(model: nn.Module, job: Job, split: str) -> float:
    """Share of a split that the model gets right."""
    model.eval()
    right = total = 0
    for x, y in loader(job, split):
        right += int((model(x).argmax(1) == y).sum())
        total += len(y)
    return right / total
