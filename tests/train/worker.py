"""What a worker of tests/train/test_parallel.py does: embed, train, and write down what came out.

python tests/train/worker.py FOLDER OUT PLAN [shard]; alone, or under torchrun.
"""

import json
import sys
from pathlib import Path

import torch

from tests.train.conftest import make_encoder, make_training
from tests.train.test_fit import GROUPS
from tlpipe.data.packed import Packed
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.unfreeze import AllLayers
from tlpipe.tasks.image_classification import ImageClassification
from tlpipe.train.batches import Batches
from tlpipe.train.device import Runtime
from tlpipe.train.embed import embed
from tlpipe.train.events import Epoch
from tlpipe.train.fit import Trainer
from tlpipe.train.model import Classifier

PLANS = {
    "staged": AllLayers(kind="all_layers", lr=3e-2, gamma=0.5, stages=2, stage_epochs=3, epochs=2).plan(GROUPS),
    "scratch": Scratch(kind="scratch", lr=3e-2, epochs=3).plan(GROUPS),
}


def main(packed: Packed, out: Path, plan: str, shard: bool) -> None:
    machine, task = Runtime(device="cpu", precision="fp32", threads=1, shard=shard).resolve(), ImageClassification()
    list(embed(make_encoder(), packed, machine, out / "features", 8))
    encoder = make_encoder()
    encoder.stages["middle"][3].p = 0.0  # dropout is drawn by each process for its own samples
    model = Classifier(encoder, task.head(16, len(packed.classes), 0.0))
    training = make_training(
        optimizer="sgd", dropout=0.0, cache=make_training().cache.model_copy(update={"noise": 0.0})
    )
    batches = Batches(packed, machine.device)
    trainer = Trainer(model, PLANS[plan], task, training, batches, machine, out / "cache")
    epochs = [event for event in trainer.run() if isinstance(event, Epoch)]
    logits, _ = trainer.scores()
    trained = trainer.trained()
    if machine.team.first:
        torch.save({"model": trained, "logits": logits}, out / "result.pt")
        figures = [(epoch.train_loss, epoch.validation_loss) for epoch in epochs]
        (out / "history.json").write_text(json.dumps({"size": machine.team.size, "figures": figures}))


if __name__ == "__main__":
    main(Packed.open(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], "shard" in sys.argv)
