"""torch.compile for a training: the same kernels however often it is interrupted, and a word where nothing compiles."""

import re
from functools import cache

import torch
from torch import Tensor, nn

from tlpipe.config import ConfigError


def compiled(network: nn.Module, lengths_vary: bool) -> nn.Module:
    """`network` compiled, with nothing left of what was compiled before in this process.

    Batches of one size give a kernel each, so that its bits do not depend on the sizes that came before. Where lengths
    vary there would be too many of them, and one kernel takes every size: it is made for the first batch that comes.
    """
    torch.compiler.reset()
    made: nn.Module = torch.compile(network, dynamic=lengths_vary)  # type: ignore[assignment]
    return made


@cache
def refuse_without_compiler(device: str) -> None:
    """Compile one sum for `device` (a type as torch names it).

    Raises:
        ConfigError: that failed: there is no compiler, or it does not work with this torch and Python.
    """
    try:
        torch.compile(_sum, dynamic=False)(torch.ones(64, device=device))
    except Exception as error:
        needs = "a C++ compiler (g++ or clang++)" if device == "cpu" else "triton and a C compiler (gcc or clang)"
        raise ConfigError(
            f"runtime.compile: true was given, but torch.compile does not work on {device} here ({_gist(error)}); it "
            f"needs {needs} that it can run: install what is missing, or set runtime.compile to false"
        ) from None


def _gist(error: Exception) -> str:
    """What the compiler said first, if it ran at all."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = [line for line in lines if re.search(r"\berror: ", line)]
    return (found or lines or [type(error).__name__])[0]


def _sum(x: Tensor) -> Tensor:
    return x * 2 + 1
