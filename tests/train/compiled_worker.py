"""What the trainings of tests/train/test_compiling.py do.

python tests/train/compiled_worker.py FOLDER OUT (compiled|eager) DEATH: train, or go on; after DEATH events (0 = never)
save and be killed.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from tests.train.worker import make
from tlpipe.data.packed import Packed
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.resume import Keeper


def main(packed: Packed, out: Path, compiled: bool, death: int) -> None:
    machine = Runtime(device="cpu", precision="fp32", threads=1, compile=compiled).resolve()
    # not AdamW, which makes steps of the rounding in gradients of biases before batch norms, whose value is 0
    trainer, keeper = make(packed, out, "staged", machine, adamw=False), Keeper("test", "key", root=out)
    if state := keeper.load():
        trainer.restore(state["trainer"])
    figures = [] if state is None else state["figures"]
    for number, event in enumerate(trainer.run(), start=1):
        if isinstance(event, Epoch):
            figures.append([event.train_loss, event.validation["loss"]])
        if number == death:
            keeper.save({"trainer": trainer.state(), "figures": figures})
            os.kill(os.getpid(), signal.SIGKILL)
    kept = [boundary.cut for boundary in trainer.frozen.boundaries.values()]
    torch.save({"model": trainer.trained(), "figures": figures, "kept": kept}, out / "result.pt")


if __name__ == "__main__":
    main(Packed.open(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3] == "compiled", int(sys.argv[4]))
