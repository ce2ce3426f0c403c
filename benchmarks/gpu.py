"""Images a second on a GPU, and the share of its matmul rate, beside timm: `python -m benchmarks.gpu`.

ResNet-50 and ViT-B/16 at 224 pixels, in the precision that tlpipe chooses (bf16 on GPUs that have it). tlpipe's side
is its real trainer and its real frozen pass: packed images, augmentation, schedule, clipping and bookkeeping. timm's is
the step of its training script (`create_optimizer_v2`, autocast, channels-last, label smoothing) on one batch that is
on the device already, so its loader costs it nothing here. Sides alternate. `--tiny` runs small networks anywhere, to
see that the script works. Writes `.tlpipe/bench/results/gpu.json`.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.limit import convolution_backward, matmul_rate
from benchmarks.peers.environment import FOLDER
from benchmarks.step import TRAINING, packed_noise, timed
from tlpipe.backbones.timm import Timm
from tlpipe.data.packed import Packed
from tlpipe.strategies.scratch import Scratch
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.cache.embed import embed
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import Classifier
from tlpipe.train.trainer.events import Step
from tlpipe.train.trainer.loop import Trainer

NETWORKS, TINY = ("resnet50", "vit_base_patch16_224"), ("resnet18", "vit_tiny_patch16_224")
CLASSES, EPOCHS = 10, 10
ROUNDS, WARM = 3, 5
"""How often the sides alternate, and steps before the clock starts."""
Work = Callable[[], object]


def ours(name: str, packed: Packed, machine: Machine, batch: int) -> Work:
    """One training step of everything by tlpipe's trainer."""
    encoder = Timm(name=name).encoder()
    plan = Scratch(kind="scratch", lr=1e-4, epochs=1000).plan(encoder.groups)
    model = Classifier(encoder, ImageClassification().head(encoder.feature_dim, CLASSES, 0.0))
    training = TRAINING.model_copy(update={"batch_size": batch})
    trainer = Trainer(model, plan, ImageClassification(), training, Batches(packed, machine.device), machine)
    steps = (event for event in trainer.run() if isinstance(event, Step))
    return lambda: next(steps)


def theirs(name: str, machine: Machine, batch: int, frozen: bool) -> Work:
    """One step of timm's script, of everything or, with `frozen`, of the head alone."""
    model = timm.create_model(name, num_classes=CLASSES).to(machine.device, memory_format=torch.channels_last)
    if frozen:
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
    network = torch.compile(model) if machine.compile_model else model
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-4, weight_decay=0.02)
    loss, (x, y) = LabelSmoothingCrossEntropy(0.1), _batch(machine, batch)
    model.train(not frozen)

    def step() -> None:
        optimizer.zero_grad()
        with machine.autocast():
            value = loss(network(x), y)
        value.backward()
        optimizer.step()

    return step


def _batch(machine: Machine, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(batch, 3, 224, 224, device=machine.device).contiguous(memory_format=torch.channels_last)
    return x, torch.arange(batch, device=machine.device) % CLASSES


def flops(step: Work, batch: int) -> float:
    """Per image, counted on timm's eager step."""
    right = {torch.ops.aten.convolution_backward: convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=right) as counter:
        step()
    return float(counter.get_total_flops()) / batch


def rate(step: Work, machine: Machine, steps: int, images: int) -> float:
    """Images a second over `steps` of `images` each."""
    return steps * images / timed(lambda: [step() for _ in range(steps)], machine)


def frozen_pass(name: str, packed: Packed, machine: Machine, folder: Path, batch: int) -> float:
    """Images a second of tlpipe's embed stage, which is all that a head costs per image."""
    encoder, count = Timm(name=name).encoder(), packed.ranges["test"][0]
    list(embed(encoder, packed, machine, folder, batch))
    return count / timed(lambda: list(embed(encoder, packed, machine, folder, batch)), machine)


def measure(name: str, machine: Machine, batch: int, steps: int, peak: float) -> dict[str, float | str]:
    """One network's rates; both sides' steps are warmed up first and then alternate."""
    eager = Machine(machine.device, machine.dtype, compile_model=False)
    work = flops(theirs(name, eager, batch, frozen=False), batch)
    with tempfile.TemporaryDirectory() as folder:
        preprocess = Timm(name=name).preprocess()
        packed = packed_noise(Path(folder), preprocess, batch, WARM + ROUNDS * steps)
        sides = {"tlpipe": ours(name, packed, machine, batch), "timm": theirs(name, machine, batch, frozen=False)}
        for step in sides.values():
            rate(step, machine, WARM, batch)
        rounds = [{side: rate(step, machine, steps, batch) for side, step in sides.items()} for _ in range(ROUNDS)]
        full = {side: statistics.median(each[side] for each in rounds) for side in sides}
        sides.clear()
        once = frozen_pass(name, packed, machine, Path(folder) / "features", batch)
    head = theirs(name, machine, batch, frozen=True)
    rate(head, machine, WARM, batch)
    epoch = rate(head, machine, steps, batch)
    return {
        "network": name, "gflop_an_image": work / 1e9, "tlpipe": full["tlpipe"], "timm": full["timm"],
        "ratio": full["tlpipe"] / full["timm"], "share": full["tlpipe"] * work / peak,
        "timm_share": full["timm"] * work / peak, "frozen_pass": once, "timm_head_epoch": epoch,
        "head_ratio": EPOCHS * once / epoch,
    }  # fmt: skip


def main() -> None:
    """Measure, print a table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="of each round")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--compile", action="store_true", help="torch.compile on both sides")
    parser.add_argument("--tiny", action="store_true", help="small networks, batch 2, one step: does it work?")
    asked = parser.parse_args()
    machine = Runtime(compile=asked.compile).resolve()
    if asked.tiny:
        asked.networks, asked.batch, asked.steps = list(TINY), 2, 1
    elif machine.device.type != "cuda":
        print(f"benchmarks.gpu: skipped, this machine has no CUDA device ({machine.describe()}); --tiny runs anywhere")
        return
    peak = matmul_rate(machine)
    print(f"{machine.describe()}, batch {asked.batch}, matrix product {peak / 1e12:.2f} TFLOP/s")
    print("| network | tlpipe images/s | timm images/s | ratio | tlpipe share of matmul | frozen pass images/s |"
          f" head, {EPOCHS} epochs: times as fast |\n|---|---|---|---|---|---|---|")  # fmt: skip
    rows = []
    for name in asked.networks:
        row = measure(name, machine, asked.batch, asked.steps, peak)
        rows.append(row)
        rates = f"{row['tlpipe']:.1f} | {row['timm']:.1f} | {row['ratio']:.2f} | {row['share']:.3f}"
        print(f"| {name} | {rates} | {row['frozen_pass']:.1f} | {row['head_ratio']:.1f} |", flush=True)
    folder = FOLDER / "results"
    folder.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine.describe(), "asked": vars(asked), "matmul": peak, "rows": rows}
    (folder / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
