"""Whether bf16 pays on this machine's CPU: measured once for a kind of network, remembered beside the project."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

REMEMBERED = Path(".tlpipe/machine.json")
ROUNDS = 7
WORTH = 1.15
"""fp32 must take at least this many times as long: below, the rounding buys nothing."""


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def bf16_pays_on_cpu(width: int | None = None, remembered: Path = REMEMBERED) -> bool:
    """Whether a network trains faster in bf16 here; a second's measurement at the first call.

    One of convolutions, or a transformer with hidden states of `width`: in a narrow one the casts cost more than the
    products gain. What was found is kept in `remembered` for this processor and torch, so that a training that goes on
    after a crash goes on in the same precision.
    """
    if not cpu_has_bf16():
        return False
    name = f"{_processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    name += f", hidden states of {width}" if width else ""
    known: dict[str, float] = json.loads(remembered.read_text()) if remembered.is_file() else {}
    if name not in known:
        known[name] = speedup(convolutions() if width is None else transformer(width))
        remembered.parent.mkdir(parents=True, exist_ok=True)
        half = remembered.with_suffix(".half")
        half.write_text(json.dumps(known, indent=2) + "\n")
        half.replace(remembered)
    return known[name] >= WORTH


def speedup(forward: Callable[[], Tensor]) -> float:
    """Time of a forward and backward pass in fp32 over that in bf16: medians of interleaved rounds."""

    def step(bf16: bool) -> float:
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            out = forward()
        out.float().sum().backward()
        return time.perf_counter() - begun

    times = {bf16: [step(bf16) for _ in range(2)] for bf16 in (False, True)}
    for _ in range(ROUNDS):
        for bf16, seconds in times.items():
            seconds.append(step(bf16))
    return statistics.median(times[False][2:]) / statistics.median(times[True][2:])


def convolutions() -> Callable[[], Tensor]:
    """A convolution and a linear layer, eight samples."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 64, 28, 28, generator=generator).to(memory_format=torch.channels_last)
    kernel = torch.randn(128, 64, 3, 3, generator=generator).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(256, 128 * 28, generator=generator).requires_grad_()
    return lambda: functional.linear(functional.conv2d(x, kernel, padding=1).permute(0, 2, 3, 1).flatten(2), weight)


def transformer(width: int) -> Callable[[], Tensor]:
    """A layer of this width on 16 texts of 32 tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(width, 1, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
        x = torch.randn(16, 32, width)
    return lambda: layer(x)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
