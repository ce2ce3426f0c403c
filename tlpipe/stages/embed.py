"""embed: the frozen backbone, once over the train and validation splits; its features at every depth."""

import time
from pathlib import Path

import numpy as np
import torch

from tlpipe import config
from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.progress import track
from tlpipe.train.cache.embed import Features, embed
from tlpipe.train.cache.feature_cache import FeatureCache
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.pretraining.source import load_source, source_encoder
from tlpipe.train.trainer.history import write_json
from tlpipe.train.trainer.resume import hash_code, hash_files, run_key

BATCH = 64
SOURCE, PACKED, OUT = Path("models/source"), Path("data/packed"), Path("data/features")
CACHE = Path(".tlpipe/reuse/features")
"""What the last run computed: DVC deletes the stage's outs before it runs."""


def main() -> None:
    """Write data/features/ and reports/training/embed/timing.json."""
    runtime: Runtime = config.load("runtime", Runtime)
    packed, source = Packed.open(PACKED), load_source(SOURCE)
    machine, encoder = runtime.resolve(source.backbone.hidden_size), source_encoder(SOURCE, source)
    begun = time.perf_counter()
    cache = FeatureCache.open(CACHE, _key(machine))
    batches = embed(encoder, packed, machine, OUT, BATCH, cache)
    done = sum(track(batches, f"embedding on {machine.describe()}", -(-packed.labelled // BATCH), "batches"))
    seconds = time.perf_counter() - begun
    if not machine.team.first:
        return
    require_finite(Features.open(OUT), machine.precision)
    timing = {"seconds": seconds, "device": machine.describe(), "precision": machine.precision}
    write_json(Path("reports/training/embed/timing.json"), timing)
    known = f", {packed.labelled - done:,} known from before" if done < packed.labelled else ""
    print(f"{done:,} samples at {len(encoder.cuts) - 1} depths in {seconds:.1f} s{known}")


def _key(machine: Machine) -> str:
    """Everything that decides the features of a packed image."""
    threads, instructions = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    code = hash_code("embed")
    return run_key(hash_files([SOURCE]), machine.describe(), threads, instructions, torch.__version__, BATCH, code)


def require_finite(features: Features, precision: str) -> None:
    """Raise ConfigError when the backbone gives something that is no finite number."""
    bad = [group for group in features.groups if not np.isfinite(features.at(group)).all()]
    if bad:
        do = "set runtime.precision to fp32" if precision != "fp32" else "its weights are too large or damaged"
        raise ConfigError(f"the backbone's features after {bad[0]} are not all finite numbers; {do}")
