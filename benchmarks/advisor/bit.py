"""BiT-HyperRule (Kolesnikov et al. 2020, arXiv 1912.11370): the published rule for fewer than 20,000 samples.

Everything trains at one rate from a zero head: SGD with momentum 0.9 and no weight decay, 500 steps of 128 samples at
0.001 (the repository's equivalent of 512 at 0.003), warm-up over the first 100, a tenth after 200, 300, 400. Like the
rest of the grid without augmentation, and at the grid's resolution.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tlpipe.data.packed import Packed
from tlpipe.train.hardware.device import Machine
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.inputs.views import views_of
from tlpipe.train.model import Classifier
from tlpipe.train.trainer.randomness import numpy_generator

STEPS, BATCH, RATE, WARMUP = 500, 128, 0.001, 100
DROPS = (200, 300, 400)


def rate(step: int) -> float:
    """Learning rate of a step, counted from 0."""
    if step < WARMUP:
        return RATE * step / WARMUP
    return RATE * 0.1 ** sum(step >= drop for drop in DROPS)


def fine_tune(model: Classifier, packed: Packed, machine: Machine, seed: int) -> None:
    """Train `model` in place on the training split; the last step's weights are kept, nothing is selected."""
    machine.place(model)
    for parameter in model.head.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    batches, views = Batches(packed, machine.device), views_of(packed.preprocess, machine.device)
    rows, generator = packed.rows("train"), numpy_generator(seed, "bit")
    stream = np.concatenate([generator.permutation(rows) for _ in range(-(-STEPS * BATCH // len(rows)))])
    model.train()
    for step in range(STEPS):
        chosen = stream[step * BATCH : (step + 1) * BATCH]
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        logits = model(views.evaluation(batches.samples.take(chosen)))
        loss = functional.cross_entropy(logits, batches.labels_of(chosen))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    model.eval()
