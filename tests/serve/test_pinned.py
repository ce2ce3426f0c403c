"""Page-locked memory, with a driver that only counts: what is asked of CUDA's, and what happens without one."""

import ctypes
import gc
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tlpipe.serve.runtime import pinned_memory as module
from tlpipe.serve.runtime.pinned_memory import Staging, pinned


class Driver:
    """Gives plain memory as if it were page-locked."""

    def __init__(self) -> None:
        self.given: dict[int, Any] = {}
        self.contexts = 0
        self.refuses = 0

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGet(self, device: Any, gpu: int) -> int:
        device._obj.value = gpu
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: ctypes.c_int) -> int:
        context._obj.value = 100 + device.value
        return 0

    def cuCtxPushCurrent_v2(self, context: ctypes.c_void_p) -> int:
        assert context.value == 103
        self.contexts += 1
        return 0

    def cuCtxPopCurrent_v2(self, context: Any) -> int:
        self.contexts -= 1
        return 0

    def cuMemHostAlloc(self, address: Any, size: ctypes.c_size_t, flags: int) -> int:
        assert (self.contexts, flags) == (1, 1)
        if self.refuses:
            return self.refuses
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.given[ctypes.addressof(memory)] = memory
        return 0

    def cuMemFreeHost(self, address: ctypes.c_void_p) -> int:
        assert self.contexts == 1
        del self.given[address.value]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    made = Driver()
    monkeypatch.setattr(module, "driver", lambda: made)
    module._context.cache_clear()
    yield made
    module._context.cache_clear()


def test_memory_is_the_drivers_until_its_last_user_has_gone(driver: Driver):
    array = pinned((3, 4), np.float32, 3)
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == ((3, 4), "f4", True, True)
    assert array.ctypes.data in driver.given
    array[:] = 7
    view = array[1:]
    del array
    gc.collect()
    assert len(driver.given) == 1
    assert (view == 7).all()
    del view
    gc.collect()
    assert (driver.given, driver.contexts) == ({}, 0)


def test_what_the_driver_refuses_is_plain_memory_and_said(driver: Driver, caplog: pytest.LogCaptureFixture):
    driver.refuses = 2
    with caplog.at_level(logging.WARNING, "tlpipe.serve"):
        array = pinned((5,), np.int64, 3)
    assert (array.shape, array.dtype, driver.given, driver.contexts) == ((5,), np.int64, {}, 0)
    ((message, reason),) = [(record.message, record.reason) for record in caplog.records]
    assert message == "the buffers are not page-locked"
    assert reason == "cuMemHostAlloc gives 2"


def test_without_a_driver_memory_is_plain(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(module, "driver", lambda: None)
    module._context.cache_clear()
    assert pinned((2, 3), np.uint8, 0).shape == (2, 3)
    assert caplog.records[0].reason == "there is no NVIDIA driver"


def test_a_buffer_is_used_again_and_grows(driver: Driver):
    staging = Staging(3)
    large = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    first = staging.place("x", large)
    np.testing.assert_array_equal(first, large)
    small = staging.place("x", large[:1, :, ::2].astype(np.float32))
    np.testing.assert_array_equal(small, large[:1, :, ::2])
    assert small.flags.c_contiguous
    assert small.ctypes.data == first.ctypes.data
    assert staging.place("y", large).ctypes.data != first.ctypes.data
    assert len(driver.given) == 2
    grown = staging.place("x", np.concatenate([large, large]))
    np.testing.assert_array_equal(grown[1], large[1])
    del first, small
    gc.collect()
    assert len(driver.given) == 2
