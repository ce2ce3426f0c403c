"""The learning-rate range test of one strategy, on what the stages before it wrote, and its picture in text."""

from collections.abc import Sequence
from pathlib import Path

from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.params import Params
from tlpipe.progress import track
from tlpipe.train.inputs.batches import Batches
from tlpipe.train.model import load_about
from tlpipe.train.trainer.initial_models import Starts
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.lr_range import Point, lr_range, range_plan, suggestion

HEAD, PACKED, FEATURES = Path("models/head"), Path("data/packed"), Path("data/features")
LINES, WIDTH = 24, 50


def measure(params: Params, strategy: str, steps: int, high: float) -> tuple[list[Point], float]:
    """The test's points and the suggested peak rate. Reads data/packed and models/head, writes no output.

    Raises ConfigError when the head stage has not run, or the strategy has no rate.
    """
    head = load_about(HEAD)
    if not PACKED.is_dir():
        raise ConfigError(f"{PACKED} does not exist; the prepare stage writes it: run `dvc repro head`")
    packed, machine = Packed.open(PACKED), params.runtime.resolve(head.backbone.hidden_size)
    part = packed.parts[0]
    samples = len(part.rows("train"))
    scale = params.training.scale(samples, head.backbone.skeleton().batch_norms)
    plan = params.finetune[strategy].plan(head.plan.groups, scale)
    plan, training = range_plan(plan, params.training, high, steps, samples)
    model = Starts(plan, HEAD, params.head, packed, FEATURES).model(training, 0)
    trainer = Trainer(model, plan, head.task, training, Batches(part, machine.device), machine)
    points = list(track(lr_range(trainer), f"{strategy}: range test", steps, "steps"))
    return points, suggestion(points)


def chart(points: Sequence[Point]) -> str:
    """A line for every so many steps: the rate, the smoothed loss, and a bar as long as the loss is high."""
    shown = points[:: max(1, -(-len(points) // LINES))]
    low, high = min(point.loss for point in shown), max(point.loss for point in shown)
    lines = [f"{'rate':>8}  {'loss':>8}"]
    for point in shown:
        share = (point.loss - low) / (high - low) if high > low else 0.0
        lines.append(f"{point.lr:8.1e}  {point.loss:8.4f}  {'#' * (1 + round(share * (WIDTH - 1)))}")
    return "\n".join(lines)
