"""Whether bf16 is used on a CPU: by what the processor has and how wide the network is, never by a measurement.

A measurement follows the machine's load of the moment: one run would compute in bf16 and its clone in fp32.
"""

import torch

NARROW = 128
"""Hidden states of a transformer below which the casts cost more than the products gain: on an AMD EPYC with AVX-512
BF16, 16 and 48 wide ones were slower or no faster, and one of 256 took 7.2 s in bf16 for 12.6 s in fp32."""


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AMX or AVX512-BF16)."""
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def bf16_pays_on_cpu(width: int | None = None) -> bool:
    """Whether networks train faster in bf16 on processors like this one.

    Networks of convolutions (`width` None), and transformers with hidden states that are not narrow.
    """
    return cpu_has_bf16() and (width is None or width >= NARROW)
