"""Page-locked host memory, from which a GPU copies without a detour through the driver's own buffer."""

import ctypes
import logging
import math
import weakref
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tlpipe.serve.runtime.providers import driver

log = logging.getLogger("tlpipe.serve")
PORTABLE = 1
"""CU_MEMHOSTALLOC_PORTABLE: page-locked for every context, so for whichever one onnxruntime copies in."""


class DriverError(RuntimeError):
    """CUDA's driver does not do what it was asked for."""


def pinned(shape: tuple[int, ...], dtype: DTypeLike, gpu: int) -> NDArray[Any]:
    """An uninitialised array in page-locked memory, freed with the last reference to it.

    Where the driver gives none (its limit is reached, or it is not there), the array is in plain memory and the log
    says so: copies are slower then, nothing else changes. onnxruntime's own allocator of such memory is not used
    because Python reaches it only through providers that are plugins, which the CUDA provider of its packages is not.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        memory = _allocate(size, gpu) if size else bytearray()
    except DriverError as error:
        log.warning("the buffers are not page-locked", extra={"reason": str(error), "bytes": size})
        return np.empty(shape, dtype)
    return np.frombuffer(memory, dtype).reshape(shape)


class Staging:
    """Page-locked memory for what a session is fed, a buffer an input, used again by every call."""

    def __init__(self, gpu: int) -> None:
        self._gpu = gpu
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def place(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        """`value`, copied into the input's buffer, where it stands until the next call."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < value.nbytes:
            size = max(value.nbytes, 0 if buffer is None else 2 * buffer.nbytes)
            buffer = self._buffers[name] = pinned((size,), np.uint8, self._gpu)
        placed = buffer[: value.nbytes].view(value.dtype).reshape(value.shape)
        np.copyto(placed, value)
        return placed


def _allocate(size: int, gpu: int) -> Any:
    cuda, context = driver(), _context(gpu)
    if cuda is None:
        raise DriverError("there is no NVIDIA driver")
    address = ctypes.c_void_p()
    _check("cuCtxPushCurrent", cuda.cuCtxPushCurrent_v2(context))
    try:
        _check("cuMemHostAlloc", cuda.cuMemHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), PORTABLE))
    finally:
        cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    memory = (ctypes.c_ubyte * size).from_address(address.value or 0)
    # At the interpreter's end the process's memory goes anyway, and the driver may have gone before.
    weakref.finalize(memory, _free, cuda, context, address).atexit = False
    return memory


def _free(cuda: Any, context: ctypes.c_void_p, address: ctypes.c_void_p) -> None:
    cuda.cuCtxPushCurrent_v2(context)
    cuda.cuMemFreeHost(address)
    cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


@cache
def _context(gpu: int) -> ctypes.c_void_p:
    """The GPU's primary context, which onnxruntime uses too; kept until the process ends."""
    cuda = driver()
    if cuda is None:
        raise DriverError("there is no NVIDIA driver")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    _check("cuInit", cuda.cuInit(0))
    _check("cuDeviceGet", cuda.cuDeviceGet(ctypes.byref(device), gpu))
    _check("cuDevicePrimaryCtxRetain", cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
    return context


def _check(name: str, code: int) -> None:
    if code:
        raise DriverError(f"{name} gives {code}")
