"""In which precision a machine computes: by what its hardware has and how wide the network is, never by a measurement.

A measurement follows the machine's load of the moment: one run would compute in bf16 and its clone in fp32.
"""

import os

import torch

NARROW = 128
"""Hidden states of a transformer below which the casts cost more than the products gain: on an AMD EPYC with AVX-512
BF16, 16 and 48 wide ones were slower or no faster, and one of 256 took 7.2 s in bf16 for 12.6 s in fp32."""
TENSOR_CORES = (7, 0)
"""The first compute capability with fast products of fp16; before it they are slower than those of fp32."""
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Names the environment variable without which cuBLAS adds up in another order when several streams use it."""


def fastest(device: torch.device, width: int | None = None, shared: bool = False) -> torch.dtype:
    """The type of the matrix products that is fast on `device`, for a network with hidden states of this width.

    `shared`: whether the weights are shared out between processes, where no loss is scaled.
    """
    if device.type == "cpu" and bf16_pays_on_cpu(width):
        return torch.bfloat16
    if device.type != "cuda":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    tensor_cores = torch.cuda.get_device_capability(device) >= TENSOR_CORES
    return torch.float16 if tensor_cores and not shared else torch.float32


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def bf16_pays_on_cpu(width: int | None = None) -> bool:
    """Whether networks train faster in bf16 on processors like this one.

    Networks of convolutions (`width` None), and transformers with hidden states that are not narrow.
    """
    return cpu_has_bf16() and (width is None or width >= NARROW)


def repeat_bits() -> None:
    """Let CUDA's operations give the same bits again; what has no such form warns (torch says which) and goes on.

    cuDNN then takes the same algorithm each time, in place of the one that was the fastest just now.
    """
    os.environ.setdefault(WORKSPACE, ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_deterministic_debug_mode("warn")  # `use_deterministic_algorithms` would load the compiler as well
