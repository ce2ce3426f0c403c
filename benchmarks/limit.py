"""The arithmetic limit of the comparison's scenarios on this machine: `python -m benchmarks.limit`.

FLOPs are counted by `torch.utils.flop_counter` (a multiply-add is two) and divided by three measured rates: the best
square matrix product, the best convolution, and what the bare network itself reaches on a batch that is already there.
"Once" is the least work for the same epochs: what is frozen is computed once a sample. "Each epoch" is the work of a
tool that runs frozen layers again in every epoch.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from benchmarks.peers.environment import FOLDER
from benchmarks.peers.goals import FULL, QUICK
from benchmarks.peers.job import SIZE, Phase
from benchmarks.peers.with_tlpipe import TOPS
from tlpipe.backbones.families import carve
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.model import Classifier

Shape = Sequence[int]
EDGES = (256, 512, 1024, 2048, 4096)
CONVOLUTIONS = (
    (64, 64, 56, 3, 1), (128, 128, 28, 3, 1), (256, 256, 14, 3, 1), (512, 512, 7, 3, 1), (256, 256, 28, 1, 1),
    (96, 576, 14, 1, 1), (320, 1280, 7, 1, 1), (144, 144, 56, 3, 144), (576, 576, 14, 3, 576),
)  # fmt: skip
"""(channels in, channels out, edge, kernel, groups): of ResNets and of MobileNetV2, the last two depthwise."""
BATCH = 16
HEADER = """| scenario | frozen layers | GFLOP | s, matmul rate | s, best convolution | s, bare network |
|---|---|---|---|---|---|"""
SECONDS = 1.0
"""How long each thing is repeated; the fastest repetition counts."""


@dataclass(frozen=True)
class Work:
    """FLOPs, or seconds, per image."""

    lower: float
    """Forward through what is frozen in a `top` phase."""
    upper: float
    """Forward from there to the logits."""
    top_step: float
    """Forward and backward of `upper`."""
    all_step: float
    """Forward and backward of everything."""
    head_step: float
    """Forward and backward of the head alone."""

    @property
    def forward(self) -> float:
        """Everything once, forward."""
        return self.lower + self.upper


def fastest(work: Callable[[], object], machine: Machine) -> float:
    """Seconds of the fastest repetition."""
    work()
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        started = time.perf_counter()
        work()
        if machine.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def matmul_rate(machine: Machine) -> float:
    """Best FLOP/s over square products."""
    rates = []
    for edge in EDGES:
        a, b = (torch.randn(edge, edge, device=machine.device, dtype=machine.dtype) for _ in range(2))
        rates.append(2 * edge**3 / fastest(partial(torch.matmul, a, b), machine))
    return max(rates)


@torch.no_grad()
def convolution_rates(machine: Machine) -> dict[str, float]:
    """FLOP/s of each convolution, forward, in the faster of the two memory layouts."""
    found = {}
    for channels, out, edge, kernel, groups in CONVOLUTIONS:
        x = torch.randn(BATCH, channels, edge, edge, device=machine.device, dtype=machine.dtype)
        weight = torch.randn(out, channels // groups, kernel, kernel, device=machine.device, dtype=machine.dtype)
        flops = 2 * BATCH * edge**2 * out * (channels // groups) * kernel**2
        times = []
        for layout in (torch.contiguous_format, torch.channels_last):
            placed, kept = x.to(memory_format=layout), weight.to(memory_format=layout)
            run = partial(functional.conv2d, placed, kept, padding=kernel // 2, groups=groups)
            times.append(fastest(run, machine))
        kind = "depthwise " if groups > 1 else ""
        found[f"{kind}{kernel}x{kernel} {channels}-{out} at {edge}"] = flops / min(times)
    return found


class Pieces:
    """The network, to be run in the pieces that phases are made of."""

    def __init__(self, name: str, machine: Machine) -> None:
        encoder = carve(get_model(name))
        self.cut = encoder.groups.index(TOPS[name][0])
        head = ImageClassification().head(encoder.feature_dim, 2, 0.0)
        self.model: Classifier = machine.place(Classifier(encoder, head))  # type: ignore[assignment]
        self.machine = machine
        x = torch.randn(BATCH, 3, SIZE, SIZE, device=machine.device)
        self.inputs = machine.place(nn.Identity())(x).contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(BATCH, device=machine.device) % 2
        self.middle = self._lower()
        self.features = self._run(lambda: encoder.run(self.inputs, 0, len(encoder.groups)))

    def work(self, cost: Callable[[Callable[[], object]], float]) -> Work:
        """What `cost` finds for a batch of each piece, per image."""
        encoder, depth = self.model.encoder, len(self.model.encoder.groups)
        pieces = [
            self._lower,
            lambda: self._run(lambda: self.model(self.middle, self.cut)),
            lambda: self._step(self.middle, self.cut),
            lambda: self._step(self.inputs, 0),
            lambda: self._step(self.features, depth),
        ]
        encoder.train()
        return Work(*(cost(piece) / BATCH for piece in pieces))

    @torch.no_grad()
    def _run(self, work: Callable[[], Tensor]) -> Tensor:
        with self.machine.autocast():
            return work()

    def _lower(self) -> Tensor:
        return self._run(lambda: self.model.encoder.run(self.inputs, 0, self.cut))

    def _step(self, x: Tensor, cut: int) -> None:
        self.model.zero_grad(set_to_none=True)
        with self.machine.autocast():
            loss = functional.cross_entropy(self.model(x, cut), self.labels)
        loss.backward()


def convolution_backward(gradient: Shape, x: Shape, weight: Shape, *others: object, **more: object) -> int:
    """FLOPs of a convolution's backward: as many as forward for each of the two gradients that is asked for.

    torch's own formula (2.15) multiplies a grouped convolution's weight gradient by the number of groups: MobileNetV2's
    training step came out as 20 times its forward pass.
    """
    asked: Sequence[bool] = others[-1]  # type: ignore[assignment]
    return 2 * prod(gradient) * prod(weight[1:]) * sum(asked[:2])


def count(work: Callable[[], object]) -> float:
    """FLOPs of one call."""
    right = {torch.ops.aten.convolution_backward: convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=right) as counter:
        work()
    return float(counter.get_total_flops())


def total(work: Work, phases: Sequence[Phase], train: int, held_out: int, once: bool) -> float:
    """What all phases need; validation after every epoch included.

    Args:
        work: Per image.
        phases: The scenario.
        train: Training images.
        held_out: Validation images.
        once: Whether what is frozen is computed once a sample, or in every epoch.
    """
    looks, found = train + held_out, 0.0
    parts = {phase.part for phase in phases}
    if once and parts != {"all"}:
        found += looks * (work.forward if "head" in parts else work.lower)
    for phase in phases:
        frozen = {"head": work.forward, "top": work.lower, "all": 0.0}[phase.part]
        step = {"head": work.head_step, "top": work.top_step, "all": work.all_step}[phase.part]
        check = {"head": 0.0, "top": work.upper, "all": work.forward}[phase.part]
        found += phase.epochs * (train * step + held_out * check + (0.0 if once else looks * frozen))
    return found


def main() -> None:
    """Measure the rates, print the table, write `.tlpipe/bench/results/limit.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=list(TOPS), default="mobilenet_v2")
    parser.add_argument("--train", type=int, default=195, help="training images (default: hymenoptera's)")
    parser.add_argument("--validation", type=int, default=48)
    parser.add_argument("--quick", action="store_true", help="the comparison's quick numbers of epochs")
    asked = parser.parse_args()
    machine = Runtime().resolve()
    print(f"{machine.describe()}; load {os.getloadavg()[0]:.1f}: rates of a busy machine are too low")
    matmul, convolutions = matmul_rate(machine), convolution_rates(machine)
    pieces = Pieces(asked.backbone, machine)
    flops, seconds = pieces.work(count), pieces.work(lambda piece: fastest(piece, machine))
    rate = flops.all_step / seconds.all_step / 1e9
    print(f"{asked.backbone}: forward {flops.forward / 1e9:.3f} GFLOP an image, step {flops.all_step / 1e9:.3f}")
    print(f"matrix product {matmul / 1e9:.1f} GFLOP/s, the network's training step {rate:.1f} GFLOP/s")
    print(*(f"{name}: {each / 1e9:.1f} GFLOP/s" for name, each in convolutions.items()), sep="\n")
    rows = []
    print(HEADER)
    for name, phases in (QUICK if asked.quick else FULL).items():
        for once in (True, False):
            arithmetic, bare = (total(each, phases, asked.train, asked.validation, once) for each in (flops, seconds))
            times = (arithmetic / matmul, arithmetic / max(convolutions.values()), bare)
            rows.append({"scenario": name, "once": once, "gflop": arithmetic / 1e9, "seconds": times})
            cells = [name, "once" if once else "each epoch", f"{arithmetic / 1e9:.0f}", *(f"{t:.2f}" for t in times)]
            print(f"| {' | '.join(cells)} |")
    folder = FOLDER / "results"
    folder.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine.describe(), "matmul": matmul, "convolutions": convolutions, "rows": rows}
    costs = {"flops": asdict(flops), "seconds": asdict(seconds), "asked": vars(asked)}
    (folder / "limit.json").write_text(json.dumps({**found, **costs}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
