"""Whether bf16 pays on this machine's CPU: measured once, remembered beside the project."""

import json
import platform
import statistics
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.nn import functional

REMEMBERED = Path(".tlpipe/machine.json")
ROUNDS = 7
WORTH = 1.15
"""fp32 must take at least this many times as long: below, the rounding buys nothing."""


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def bf16_pays_on_cpu(remembered: Path = REMEMBERED) -> bool:
    """Whether convolutions and matrix products train faster in bf16 here; a second's measurement at the first call.

    What was found is kept in `remembered` for this processor and torch, so that a training that goes on after a crash
    goes on in the same precision.
    """
    if not cpu_has_bf16():
        return False
    name = f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    known: dict[str, float] = json.loads(remembered.read_text()) if remembered.is_file() else {}
    if name not in known:
        known[name] = speedup()
        remembered.parent.mkdir(parents=True, exist_ok=True)
        half = remembered.with_suffix(".half")
        half.write_text(json.dumps(known, indent=2) + "\n")
        half.replace(remembered)
    return known[name] >= WORTH


def speedup() -> float:
    """Time of a small network's forward and backward in fp32 over that in bf16: medians of interleaved rounds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, 28, 28, generator=generator).to(memory_format=torch.channels_last)
    kernel = torch.randn(128, 64, 3, 3, generator=generator).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(256, 128 * 28, generator=generator).requires_grad_()

    def step(bf16: bool) -> float:
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            maps = functional.conv2d(x, kernel, padding=1)
            out = functional.linear(maps.permute(0, 2, 3, 1).flatten(2), weight)
        out.float().sum().backward()
        return time.perf_counter() - begun

    times = {bf16: [step(bf16) for _ in range(2)] for bf16 in (False, True)}
    for _ in range(ROUNDS):
        for bf16, seconds in times.items():
            seconds.append(step(bf16))
    return statistics.median(times[False][2:]) / statistics.median(times[True][2:])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
