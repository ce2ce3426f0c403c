"""What a worker of tests/train/test_distributed.py does: embed, train, and write down what came out.

python tests/train/worker.py FOLDER OUT PLAN [shard] [adamw] [resume]; alone, or under torchrun. `resume` goes on, after
a few steps, in another trainer with what the first one's state was.
"""

import itertools
import json
import sys
from pathlib import Path

import torch

from tests import tagged
from tests.train.conftest import make_encoder, make_training
from tlpipe.backbones.base import Encoder
from tlpipe.data.packed import Packed
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.partial import LowRank, NormOnly
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.tasks.base import Task
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.cache.embed import embed
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.spec import STILL
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.loop import Trainer

STRATEGIES = {
    "staged": AllLayers(kind="all_layers", lr=3e-2, gamma=0.5, stages=2, stage_epochs=3, epochs=2),
    "scratch": Scratch(kind="scratch", lr=3e-2, epochs=3),
    "norm_only": NormOnly(kind="norm_only", lr=3e-2, epochs=3, soup=2),
    "lora": LowRank(kind="lora", rank=2, lr=3e-2, epochs=3),
    "all_depth_tuning": AllDepthTuning(kind="all_depth_tuning", lr=3e-2, rho=0.5, epochs=3),
}
STEPS = 9
"""Events before the interruption, in the middle of the second epoch."""


def network(packed: Packed) -> tuple[Task, Encoder]:
    """What learns the labels of images or the tags of words."""
    if packed.preprocess.kind == "words":
        torch.manual_seed(0)
        task, encoder = tagged.TASK, tagged.BACKBONE.encoder()
    else:
        task, encoder = ImageClassification(), make_encoder()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # dropout is drawn by each process for its own samples
    return task, encoder


def make(packed: Packed, out: Path, plan: str, machine: Machine, adamw: bool) -> Trainer:
    task, encoder = network(packed)
    phases, backbone = STRATEGIES[plan].plan(encoder.groups), encoder
    if phases.features == "all":
        backbone = AllDepths(encoder, packed.preprocess.example())
    model = Classifier(backbone, task.head(backbone.feature_dim, len(packed.classes), 0.0))
    usual = make_training()
    training = make_training(
        optimizer="adamw" if adamw else "sgd",
        dropout=0.0,
        cache=usual.cache.model_copy(update={"noise": 0.0}),
        augment=usual.augment if task.views else STILL,
    )
    return Trainer(model, phases, task, training, Batches(packed, machine.device), machine, out / "cache")


def main(packed: Packed, out: Path, plan: str, words: list[str]) -> None:
    machine = Runtime(device="cpu", precision="fp32", threads=1, shard="shard" in words).resolve()
    list(embed(network(packed)[1], packed, machine, out / "features", 8))
    trainer, epochs = make(packed, out, plan, machine, "adamw" in words), list[Epoch]()
    if "resume" in words:
        epochs = [event for event in itertools.islice(trainer.run(), STEPS) if isinstance(event, Epoch)]
        state = trainer.state()
        trainer = make(packed, out, plan, machine, "adamw" in words)
        trainer.restore(state)
    epochs += [event for event in trainer.run() if isinstance(event, Epoch)]
    logits, _ = trainer.scores()
    trained = trainer.trained()
    if machine.team.first:
        torch.save({"model": trained, "logits": logits}, out / "result.pt")
        figures = [(epoch.train_loss, epoch.validation["loss"]) for epoch in epochs]
        (out / "history.json").write_text(json.dumps({"size": machine.team.size, "figures": figures}))


if __name__ == "__main__":
    main(Packed.open(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
