"""From packed questions through the trainer to judged answers: labels, loss, decoding and judging mean the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from tests.asked import BACKBONE, TASK, pack_asked
from tlpipe.answer_metrics import THRESHOLD
from tlpipe.evaluate.answers import AnswerPredictions
from tlpipe.evaluate.predict import predict
from tlpipe.strategies.scratch import Scratch
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import About, Classifier
from tlpipe.train.spec import STILL, Training
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.loop import Trainer

EPOCHS = 120
KEPT = {"views": 0, "noise": 0, "storage": "auto", "gigabytes": 1}


def test_a_few_questions_are_learnt_by_heart(
    tmp_path: Path, machine: Machine, make_training: Callable[..., Training]
) -> None:
    """After the last epoch, because the validation split has questions that cannot be answered from these."""
    packed = pack_asked(tmp_path, 5)
    torch.manual_seed(0)
    encoder = BACKBONE.encoder()
    plan = Scratch(kind="scratch", lr=5e-3, epochs=EPOCHS).plan(encoder.groups)
    training = make_training(
        norm_statistics="source", augment=STILL, cache=KEPT, patience=EPOCHS, label_smoothing=0.0, batch_size=8
    )
    model = Classifier(encoder, TASK.head(encoder.feature_dim, 2, 0.0))
    trainer = Trainer(model, plan, TASK, training, Batches(packed, machine.device), machine, tmp_path / "cache")
    for event in trainer.run():
        if isinstance(event, Epoch) and event.epoch == EPOCHS:
            break
    about = About(
        strategy="scratch", run_key="0", task=TASK, backbone=BACKBONE, preprocess=packed.preprocess,
        labels=packed.classes, dropout=0.0, temperature=1.0, validation={}, plan=plan, total_parameters=1,
        trainable_parameters=1,
    )  # fmt: skip
    said = np.concatenate(list(predict(trainer.model, about, packed, "train", 7, machine)))
    found = AnswerPredictions.assemble(packed, {"train": said}, {THRESHOLD: 0.0})
    assert found.measure()["f1"] > 0.9
