"""What onnxruntime can use on this machine, and for everything that it cannot use, why not."""

import contextlib
import ctypes
import io
import os
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnxruntime

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Names the environment variable that hides GPUs from CUDA and numbers the others anew."""
PACKAGES = ("onnxruntime", "onnxruntime-gpu")
INSTALL_CUDA = "pip install 'tlpipe[cuda]' puts them into this environment"


def installed() -> dict[str, str]:
    """Version by name of the onnxruntime packages that are installed; two of them overwrite each other's files."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def obstacles(device: str) -> tuple[str, ...]:
    """What keeps onnxruntime from `device` (`cpu`, `cuda`, `tensorrt`), a sentence each; empty when nothing."""
    if device == "cpu":
        return ()
    if PROVIDERS[device] not in onnxruntime.get_available_providers():
        return (_wrong_package(device),)
    return tuple(found for found in (_driver(), _library(device)) if found)


def _wrong_package(device: str) -> str:
    have = ", ".join(f"{name} {number}" for name, number in installed().items()) or "no onnxruntime package"
    return (
        f"the installed onnxruntime was built without {PROVIDERS[device]} ({have}); "
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )


@cache
def driver() -> ctypes.CDLL | None:
    """CUDA's driver, or None where there is none."""
    try:
        return ctypes.CDLL(DRIVER)
    except OSError:
        return None


@cache
def _driver() -> str | None:
    """Why CUDA's driver finds no GPU, or None when it finds one."""
    cuda = driver()
    if cuda is None:
        return f"there is no NVIDIA driver: {DRIVER} is not found; in a container, start it with the GPU (--gpus all)"
    if code := cuda.cuInit(0):
        return f"the NVIDIA driver does not start (cuInit gives {code}): no GPU is visible, or the driver is too old"
    return None if gpus() else f"the NVIDIA driver sees no GPU ({VISIBLE} is {os.environ.get(VISIBLE)!r})"


def gpus() -> int:
    """GPUs that CUDA's driver sees; it must have been found to work."""
    count, cuda = ctypes.c_int(0), driver()
    if cuda is not None:
        cuda.cuDeviceGetCount(ctypes.byref(count))
    return count.value


@cache
def _library(device: str) -> str | None:
    """Which library the provider lacks, or None when it loads; those of the Python environment are found first."""
    if sys.platform != "linux":
        return None
    preload()
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        if device == "tensorrt":
            ctypes.CDLL("libnvinfer.so.10")
        ctypes.CDLL(str(folder / f"libonnxruntime_providers_{device}.so"))
    except OSError as error:
        missing = str(error).partition(":")[0]
        if missing.startswith("libnvinfer"):
            return f"a library of TensorRT is missing: {missing}; pip install tensorrt"
        needs = getattr(onnxruntime, "cuda_version", "") or "the CUDA it was built with"
        return f"a library is missing: {missing} (onnxruntime needs CUDA {needs} and cuDNN 9); {INSTALL_CUDA}"
    return None


@cache
def preload() -> str:
    """Load CUDA's libraries from the Python environment, once; returns what onnxruntime says about it."""
    said = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
    return said.getvalue()
