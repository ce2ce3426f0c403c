"""Activations come back as they were, or as near as their storage promises, in the memory layout that they had."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tlpipe.train.cache.stored_activations import Layout, StoredActivations, Writer

CPU = torch.device("cpu")
MAPS = torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0))
KINDS = {
    "maps": MAPS,
    "channels_last": MAPS.to(memory_format=torch.channels_last),
    "channels at the end": MAPS.permute(0, 2, 3, 1).contiguous(),
    "tokens": MAPS.flatten(2),
    "features": MAPS.flatten(1),
}


def through(folder: Path, x: Tensor, storage: str, axis: int = 1) -> Tensor:
    layout = Layout.of(x, storage, axis)  # type: ignore[arg-type]
    writer, written = Writer(folder, len(x), layout), []
    for start, part in ((0, x[:4]), (4, x[4:])):
        encoded = layout.encode(part)
        writer.write(start, *encoded)
        written.append(layout.again(encoded, CPU))
    writer.close()
    rows = [np.array([4, 1]), np.array([0, 5, 2, 3])]
    read = torch.cat(list(StoredActivations(folder, CPU).stream(rows)))
    back = read[torch.argsort(torch.tensor([4, 1, 0, 5, 2, 3]))]
    assert torch.equal(back, torch.cat(written))
    return read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_exact_is_exact_and_keeps_the_strides(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    x = KINDS[kind].to(dtype)
    read = through(tmp_path / "kept", x, "exact")
    assert torch.equal(read, x[[4, 1, 0, 5, 2, 3]])
    assert read.dtype == dtype
    assert Layout.of(read, "exact", 1).order == Layout.of(x, "exact", 1).order


@pytest.mark.parametrize("kind", KINDS)
def test_half_keeps_eleven_bits_and_all_of_bfloat16(tmp_path: Path, kind: str) -> None:
    x, rows = KINDS[kind], [4, 1, 0, 5, 2, 3]
    assert torch.allclose(through(tmp_path / "half", x, "half"), x[rows], rtol=2**-10, atol=1e-7)
    brain = x.bfloat16()
    assert torch.equal(through(tmp_path / "brain", brain, "half"), brain[rows])


@pytest.mark.parametrize("kind", ["maps", "channels_last", "tokens"])
def test_int8_errs_by_half_a_step_of_its_samples_channel(tmp_path: Path, kind: str) -> None:
    x, rows = KINDS[kind] * 3 + 100, [4, 1, 0, 5, 2, 3]
    axes = (2, 3) if x.ndim == 4 else (1,)
    step = (x.amax(axes, keepdim=True) - x.amin(axes, keepdim=True)) / 255
    error = (through(tmp_path / "kept", x, "int8") - x[rows]).abs()
    assert bool((error <= step[rows] * 0.51 + 1e-5).all())


def test_a_constant_channel_survives_int8(tmp_path: Path) -> None:
    x = torch.full((6, 2, 3, 3), 7.0)
    assert torch.equal(through(tmp_path / "kept", x, "int8"), x)


def test_bytes_are_what_the_files_take(tmp_path: Path) -> None:
    for storage in ("exact", "half", "int8"):
        through(tmp_path / storage, MAPS, storage)
        arrays = [np.load(path, mmap_mode="r").nbytes for path in (tmp_path / storage).glob("*.npy")]
        assert sum(arrays) == 6 * Layout.of(MAPS, storage, 1).bytes_per_sample(MAPS)  # type: ignore[arg-type]
