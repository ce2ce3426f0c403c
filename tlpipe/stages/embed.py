"""embed: the frozen backbone, once over the train and validation splits; its features at every depth."""

import time
from pathlib import Path

from tlpipe import config
from tlpipe.data.packed import Packed
from tlpipe.progress import track
from tlpipe.train.device import Runtime
from tlpipe.train.embed import embed
from tlpipe.train.history import write_json
from tlpipe.train.source import load_source, source_encoder

BATCH = 64
SOURCE, PACKED, OUT = Path("models/source"), Path("data/packed"), Path("data/features")


def main() -> None:
    """Write data/features/ and reports/training/embed/timing.json."""
    runtime: Runtime = config.load("runtime", Runtime)
    packed, source = Packed.open(PACKED), load_source(SOURCE)
    machine, encoder = runtime.resolve(source.backbone.hidden_size), source_encoder(SOURCE, source)
    begun = time.perf_counter()
    batches = embed(encoder, packed, machine, OUT, BATCH)
    done = sum(track(batches, f"embedding on {machine.describe()}", -(-packed.labelled // BATCH), "batches"))
    seconds = time.perf_counter() - begun
    if not machine.team.first:
        return
    timing = {"seconds": seconds, "device": machine.describe(), "precision": machine.precision}
    write_json(Path("reports/training/embed/timing.json"), timing)
    print(f"{done:,} samples at {len(encoder.cuts) - 1} depths in {seconds:.1f} s")
