"""Trainings of one draw of labels: the plain loop as given, and tlpipe's Trainer on the same labelled samples."""

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.accuracy.sets import SHARED, Images, backbone
from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed, Split
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.cache.embed import Features, embed
from tlpipe.train.hardware.device import Machine
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.heads.head import Head
from tlpipe.train.heads.linear import CrossFitted, cross_fit, install
from tlpipe.train.inputs.batches import Batches, chunks
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Augment, Cache, Training
from tlpipe.train.trainer.crossfit import Role
from tlpipe.train.trainer.loop import Trainer

TASK = ImageClassification()
HEAD = Head(penalties=(1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001), balance="none", iterations=500)
AUGMENTS: dict[str, dict[str, Any]] = {
    "none": {"flip": False, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0},
    "recipe": {"flip": True, "zoom": (0.75, 1.1), "rotate": 10, "shift": 0.05, "brightness": 0.2},
    "area50": {"flip": True, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0.2, "area": (0.5, 1)},
    "area25": {"flip": True, "zoom": (1, 1), "rotate": 0, "shift": 0, "brightness": 0.2, "area": (0.25, 1)},
    "area50c": {
        "flip": True, "zoom": (1, 1), "rotate": 10, "shift": 0, "brightness": 0.3, "area": (0.5, 1),
        "saturation": 0.3, "hue": 0.02,
    },
    "area25c": {
        "flip": True, "zoom": (1, 1), "rotate": 10, "shift": 0, "brightness": 0.4, "area": (0.25, 1),
        "saturation": 0.4, "hue": 0.05,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One way of fine-tuning. The defaults are the plain loop's values where tlpipe has them."""

    strategy: str = "all_layers"
    augment: str = "area50"
    lr: float = 1e-3
    rho: float = 0.1
    epochs: int = 20
    steps: int = 0
    """In place of `epochs`, if not 0: about so many optimizer steps."""
    decay: float = 0.02
    warmup: float = 0.1
    smoothing: float = 0.1
    dropout: float = 0.2
    batch: int = 16
    start: str = "head"
    """`head` = the fitted head, `random` = the same layer with fresh weights."""
    views: int = 0
    """Kept views of the frozen prefix; 0 = fresh ones."""
    layers: int = 3
    """Of top_layers."""
    mixup: float = 0
    cutmix: float = 0
    ema: float = 0
    auto: bool = False
    """Rates, epochs and decay as the product's rule has them for so many samples."""
    wise: bool = False
    """Of all_depth_tuning: end with the interpolation that the folds choose."""

    def training(self, seed: int) -> Training:
        """The recipe that the Trainer is given; nothing is stopped early."""
        augment = Augment.model_validate({**AUGMENTS[self.augment], "mixup": self.mixup, "cutmix": self.cutmix})
        decay: float | Literal["auto"] = "auto" if self.auto else self.decay
        return Training(
            seed=seed, batch_size=self.batch, optimizer="adamw", weight_decay=decay, schedule="cosine",
            warmup=self.warmup, label_smoothing=self.smoothing, clip_norm=1.0, norm_statistics="source", balance="none",
            dropout=self.dropout, ema=self.ema or None, monitor="accuracy", patience=10_000, augment=augment,
            cache=Cache(views=self.views, noise=0, storage="auto", gigabytes=2),
        )  # fmt: skip

    def plan(self, groups: tuple[str, ...], samples: int) -> Plan:
        """What trains."""
        scale = Scale(samples=samples, batch_size=self.batch, batch_norms=True)
        given = round(self.steps / -(-samples // self.batch)) if self.steps else self.epochs
        values: dict[str, Any] = {"lr": self.lr, "rho": self.rho, "epochs": given}
        if self.auto:
            values = dict.fromkeys(values, "auto")
        if self.strategy == "top_layers":
            rho = values.pop("rho")
            about: dict[str, Any] = {"layers": self.layers, "gamma": "auto" if rho == "auto" else 0.8}
            stage = {"stage_epochs": "auto" if self.auto else 1} if self.layers > 1 else {}
            return TopLayers.model_validate({"kind": "top_layers", **values, **about, **stage}).plan(groups, scale)
        if self.strategy == "all_depth_tuning":
            about = {"kind": "all_depth_tuning", "wise_ft": self.wise}
            return AllDepthTuning.model_validate({**values, **about}).plan(groups, scale)
        return AllLayers.model_validate({"kind": "all_layers", "stages": 1, **values}).plan(groups, scale)


class Cell:
    """A draw of labels of a set: its packed samples in folds, the features of every depth, and the fitted heads."""

    def __init__(self, images: Images, labels: int, draw: int, machine: Machine, work: Path) -> None:
        self.images, self.machine, self.draw, self.work = images, machine, draw, work
        self.packed = images.packed(labels, draw)
        self.groups = tuple(backbone(images.preprocess.size).skeleton().groups)
        self.test = torch.from_numpy(self.packed.labels[self.packed.rows("test")])

    @cached_property
    def features(self) -> Features:
        """What `embed` writes, of the labelled samples."""
        folder = self.work / "features" / self.packed.fingerprint
        encoder = backbone(self.images.preprocess.size).pretrained()[0]
        for _ in embed(encoder, self.packed, self.machine, folder, 64):
            pass
        return Features.open(folder)

    @cached_property
    def head(self) -> CrossFitted:
        """The head on the backbone's output, penalty by pooled loss out of fold."""
        return cross_fit(HEAD, self.packed, self.features, self.groups[-1:])

    @cached_property
    def depths(self) -> CrossFitted:
        """The head on the features of every depth, tilt too."""
        encoder = AllDepths(backbone(self.images.preprocess.size).encoder(), self.images.preprocess.example())
        return cross_fit(HEAD, self.packed, self.features, self.groups, encoder.widths)

    def start(self, setting: Setting, part: int | None = None) -> Classifier:
        """The model that a fine-tuning begins with: of all labelled samples, or of the part that holds out a fold."""
        encoder: Encoder = backbone(self.images.preprocess.size).pretrained()[0]
        every = setting.strategy.startswith("all_depth")
        if every:
            encoder = AllDepths(encoder, self.images.preprocess.example())
        torch.manual_seed(self.draw)
        layers = TASK.head(encoder.feature_dim, len(self.packed.classes), setting.dropout)
        if setting.start == "head":
            fitted = self.depths if every else self.head
            install(layers, fitted.fitted if part is None else fitted.parts[part])
        return Classifier(encoder, layers)

    def trainer(self, setting: Setting, part: int | None = None) -> Trainer:
        """The training on all labelled samples, or without those of a fold; the last epoch is kept."""
        packed = self.packed.whole if part is None else self.packed.parts[part]
        plan = setting.plan(self.groups, self.packed.labelled)
        role = Role("last", records=part is not None and plan.wise_ft)
        batches, cache = Batches(packed, self.machine.device), self.work / "cache"
        model, training = self.start(setting, part), setting.training(self.draw)
        return Trainer(model, plan, TASK, training, batches, self.machine, cache, role)

    def logits(self, model: Classifier, packed: Packed | None = None, split: Split = "test") -> Tensor:
        """(N, C) of one split, evaluation view."""
        packed = packed or self.packed
        views, batches = views_of(packed.preprocess, self.machine.device), Batches(packed, self.machine.device)
        parts = chunks(packed.rows(split), 64)
        model.eval()
        with torch.inference_mode():
            found = [model(views.evaluation(images)) for images in batches.samples.stream(parts)]
        return torch.cat(found).double()

    def figures(self, logits: Tensor) -> dict[str, float]:
        """Accuracy and loss on the test split."""
        loss = float(functional.cross_entropy(logits, self.test))
        return {"test": round(float((logits.argmax(1) == self.test).double().mean()), 4), "nll": round(loss, 4)}

    def labelled_loss(self, model: Classifier) -> float:
        """Cross-entropy on all labelled samples, evaluation view."""
        labels = torch.from_numpy(self.packed.labels[: self.packed.labelled])
        return round(float(functional.cross_entropy(self.logits(model, split="train"), labels)), 4)

    def frozen(self, name: str) -> dict[str, Any]:
        """What a frozen head reaches: `head_only` or `all_depth_head`."""
        every = name == "all_depth_head"
        fitted = self.depths if every else self.head
        model = self.start(Setting(strategy="all_depth_tuning" if every else "all_layers", dropout=0.0))
        about = {"penalty": fitted.fitted.penalty, "tilt": str(fitted.tilt)}
        return {**self.figures(self.logits(model)), **self.held_out(fitted.logits), **about}

    def held_out(self, logits: Tensor) -> dict[str, Any]:
        """Pooled accuracy of out-of-fold logits (N, C) in packed order, and a 1 for every sample that is right."""
        labels = torch.from_numpy(self.packed.labels[: self.packed.labelled])
        right = (logits.argmax(1) == labels).int().tolist()
        return {"pooled": round(sum(right) / len(right), 4), "right": "".join(map(str, right))}


def plain() -> ModuleType:
    """The plain loop as given: shared/baselines/plain.py."""
    spec = importlib.util.spec_from_file_location("plain", SHARED / "baselines/plain.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(SHARED / "baselines/plain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
