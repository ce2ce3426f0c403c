"""A small trained-looking model and raw images for it, made once."""

import numpy as np
import onnx
import pytest
import torch

from tlpipe.backbones.letters import Letters
from tlpipe.export.onnx import onnx_model
from tlpipe.export.parity import HeldOut
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.strategies.plan import Plan
from tlpipe.tasks.union import ImageClassification
from tlpipe.train.model import About, Classifier

LABELS = ("ant", "bee", "größe", "wasp")


@pytest.fixture(scope="session")
def about() -> About:
    return About(
        strategy="all_layers",
        run_key="0" * 64,
        task=ImageClassification(),
        backbone=Letters(width=4),
        preprocess=ImagePreprocess(size=32, resize_to=37, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)),
        labels=LABELS,
        dropout=0.2,
        temperature=1.7,
        validation={},
        plan=Plan(strategy="all_layers", start="head", groups=(), phases=()),
        total_parameters=1,
        trainable_parameters=1,
    )


@pytest.fixture(scope="session")
def images(about: About) -> HeldOut:
    """Smooth raw images of several sizes, two of them equal; the packed ones are their packed form."""
    generator = np.random.default_rng(0)
    shapes = [(40, 50), (40, 50), (37, 37), (21, 90), (64, 33), (33, 34), (50, 40), (30, 30), (90, 60), (41, 41)]
    raw = [smooth(generator, height, width) for height, width in shapes]
    return HeldOut(raw, np.stack([about.preprocess.pack(image) for image in raw]))


def smooth(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width, :1][:2] / 10.0
    waves = np.sin(
        rows * generator.uniform(0.2, 2, 3) + columns * generator.uniform(0.2, 2, 3) + generator.uniform(0, 6)
    )
    return np.uint8(np.clip(127 + 100 * waves + generator.normal(0, 20, (height, width, 3)), 0, 255))


@pytest.fixture(scope="session")
def model(about: About, images: HeldOut) -> Classifier:
    """Norms whose statistics are not the initial ones, and a head for which several classes come first."""
    views = torch.from_numpy(np.stack([about.preprocess(image) for image in images.raw]))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        encoder = about.backbone.encoder()
        model = Classifier(encoder, about.task.head(encoder.feature_dim, len(LABELS), about.dropout))
        for _ in range(20):
            encoder(torch.randn(16, 3, 32, 32) * 1.5)
        logits, linear = model.eval()(views), model.head[1]
        linear.weight.mul_(3 / logits.std())
        linear.bias.mul_(0).sub_(model(views).mean(dim=0))
    return model


@pytest.fixture(scope="session")
def exported(model: Classifier, about: About) -> onnx.ModelProto:
    return onnx_model(model, about, 20)
