"""A graph in onnxruntime: on the device that was asked for, or an error that says why not."""

import os
from collections.abc import Mapping
from threading import Lock
from typing import Annotated, Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pydantic import Field

from tlpipe.config import ConfigError, Spec
from tlpipe.cores import usable_cores
from tlpipe.serve.runtime.cuda_graph import SKIP, CudaGraph, run_options
from tlpipe.serve.runtime.pinned_memory import Staging
from tlpipe.serve.runtime.providers import PROVIDERS, VISIBLE, gpus, obstacles, preload
from tlpipe.serve.runtime.tensorrt_profiles import Profile, engine_cache, unprofiled

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by the name of the graph's input or output."""
Device = Literal["auto", "cpu", "cuda", "tensorrt"]
ORDER = {
    "cpu": ("cpu",),
    "cuda": ("cuda", "cpu"),
    "tensorrt": ("tensorrt", "cuda", "cpu"),
}
"""The device that was asked for, then what takes the operators that it does not have."""


class DeviceError(ConfigError):
    """The device that was asked for cannot be used here."""


class Runtime(Spec):
    """Where a graph runs, and with how much of it."""

    device: Device = "auto"
    """`auto` takes CUDA where it works and says what it took; any other is that device or an error."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Of the CPU; 0 = as many as this process may use."""
    gpu: Annotated[int, Field(ge=0)] = 0
    """Which GPU, as CUDA counts them."""
    gpu_gigabytes: Annotated[float, Field(ge=0)] = 0
    """Most GPU memory that onnxruntime may take; 0 = no limit."""
    cuda_graphs: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = ()
    """Sizes of batches whose calls are captured as CUDA graphs; smaller ones are filled up to the next of them."""

    def resolve(self) -> str:
        """The device to use. Raises DeviceError when the one that was asked for cannot be had."""
        if self.cuda_graphs and self.device != "cuda":
            raise DeviceError(f"CUDA graphs were asked for on device {self.device}; they need --device cuda")
        if self.device == "auto":
            return self._checked("cpu" if obstacles("cuda") else "cuda")
        if found := obstacles(self.device):
            reasons = "".join(f"\n  {reason}" for reason in found)
            raise DeviceError(
                f"device {self.device} was asked for and cannot be used:{reasons}\n"
                "`tlpipe doctor` shows all of it; --device cpu runs without a GPU"
            )
        return self._checked(self.device)

    def _checked(self, device: str) -> str:
        """`device`, unless what was said of a GPU is of one that is not there."""
        if device == "cpu" and (self.gpu or self.gpu_gigabytes):
            raise DeviceError(
                f"a GPU was chosen or limited (--gpu {self.gpu}, --gpu-gigabytes {self.gpu_gigabytes:g}) and the "
                "device is the CPU; leave these out, or give --device cuda, which says why there is none"
            )
        if device != "cpu" and self.gpu >= (count := gpus()):
            visible = os.environ.get(VISIBLE)
            hidden = f" ({VISIBLE}={visible} hides others and numbers these anew)" if visible else ""
            raise DeviceError(
                f"GPU number {self.gpu} was asked for, and the NVIDIA driver sees {count} here{hidden}; give --gpu 0"
                + (f" to {count - 1}" if count > 1 else "")
            )
        return device


class Session:
    """One graph on one device. `run` may be called from any thread; on a GPU one call waits for the other."""

    def __init__(self, model: bytes, runtime: Runtime, profile: Profile | None = None) -> None:
        """A session for calls of the shapes of `profile`, which TensorRT alone needs to know.

        Raises:
            DeviceError: As `Runtime.resolve`, and when onnxruntime takes another provider than it was told.
            ConfigError: When onnxruntime does not take the model.
        """
        self.device = runtime.resolve()
        if self.device != "cpu":
            preload()
        self.profile = profile if self.device == "tensorrt" else None
        """The shapes that calls must have; None where all are taken."""
        self._session = _open(model, runtime, self.device, self.profile)
        self._session.disable_fallback()
        self.provider: str = self._session.get_providers()[0]
        if self.provider != PROVIDERS[self.device]:
            raise DeviceError(
                f"device {self.device} was asked for and onnxruntime chose {self.provider}; "
                "its reason is in the lines above"
            )
        self.input_ports = {each.name: _port(each) for each in self._session.get_inputs()}
        """(numpy's name of the type, shape) of each input; what an axis is called, or None, where it is free."""
        self.output_ports = {each.name: _port(each) for each in self._session.get_outputs()}
        self.inputs, self.outputs = tuple(self.input_ports), tuple(self.output_ports)
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        """What the file says of itself."""
        self._runtime = runtime
        self._fixed: list[CudaGraph] = []
        self._staging = Staging(runtime.gpu) if self.device != "cpu" else None
        self._lock = Lock()

    def capture(self, row: Mapping[str, NDArray[Any]]) -> None:
        """Capture calls of the sizes that `cuda_graphs` names, for samples of the shapes of `row`.

        Raises:
            ConfigError: When onnxruntime cannot capture this graph, as when a part of it runs on the CPU.
        """
        try:
            for size in sorted(set(self._runtime.cuda_graphs)):
                self._fixed.append(CudaGraph(self._session, row, size, self.device, self._runtime.gpu))
        except Exception as error:  # as above
            raise ConfigError(f"the model cannot be captured as a CUDA graph: {first_line(error)}") from None

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """All outputs. On a GPU through IO binding: one copy in from page-locked memory, one copy out."""
        if self._staging is None:
            return dict(zip(self.outputs, self._session.run(None, dict(feeds)), strict=True))
        with self._lock:  # the buffers are the session's, not the call's
            fixed = next((each for each in self._fixed if each.takes(feeds)), None)
            if fixed:
                return fixed.run(feeds)
            return self.run_bound({name: self._staging.place(name, value) for name, value in feeds.items()})

    def run_bound(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """As `run`, through IO binding whatever the device."""
        binding = self._session.io_binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self.outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, run_options(SKIP))
        return dict(zip(self.outputs, binding.copy_outputs_to_cpu(), strict=True))


def _open(model: bytes, runtime: Runtime, device: str, profile: Profile | None) -> onnxruntime.InferenceSession:
    """Where onnxruntime finds that TensorRT takes parts of the graph alone, their inputs get a profile too."""
    options = session_options(runtime)
    for axis, size in (profile.fixed if profile else {}).items():
        options.add_free_dimension_override_by_name(axis, size)
    while True:
        wanted = [provider(name, runtime, model, profile) for name in ORDER[device]]
        try:
            return onnxruntime.InferenceSession(model, options, providers=wanted)
        except Exception as error:  # onnxruntime's exceptions have no common class but this one
            names = unprofiled(error)
            if profile is None or not names or set(names) <= set(profile.smallest):
                raise ConfigError(f"onnxruntime does not take the model on {device}: {first_line(error)}") from None
        try:
            profile = profile.extended(model, names)
        except Exception as error:  # as above
            raise ConfigError(
                f"the shapes of {', '.join(names)[:300]}, where TensorRT's part of the graph begins, cannot be found: "
                f"{first_line(error)}; give --device cuda"
            ) from None


def _port(port: Any) -> tuple[str, tuple[int | str | None, ...]]:
    kind = str(port.type).removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(kind, kind), tuple(port.shape)


def session_options(runtime: Runtime) -> onnxruntime.SessionOptions:
    """Threads as told, and none that spins while it waits: the processors are shared with decoding."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = runtime.threads or usable_cores()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def provider(
    device: str, runtime: Runtime, model: bytes = b"", profile: Profile | None = None
) -> tuple[str, dict[str, Any]]:
    """What onnxruntime is told about a device: the provider's name and its options; the last two for TensorRT's."""
    options: dict[str, Any] = {}
    if device == "cuda":
        # Batch sizes vary with the traffic; an exhaustive search of cuDNN's would stop the server at each new one.
        options = {"device_id": runtime.gpu, "cudnn_conv_algo_search": "HEURISTIC"}
        if runtime.gpu_gigabytes:
            options["gpu_mem_limit"] = int(runtime.gpu_gigabytes * 2**30)
            options["arena_extend_strategy"] = "kSameAsRequested"
        if runtime.cuda_graphs:
            options["enable_cuda_graph"] = "1"
    elif device == "tensorrt":
        options = {"device_id": runtime.gpu, **(profile.options() if profile else {})}
        if runtime.gpu_gigabytes:
            options["trt_max_workspace_size"] = int(runtime.gpu_gigabytes * 2**30)
        options |= engine_cache(model, options)
    return PROVIDERS[device], options


def first_line(error: Exception) -> str:
    """The first line of what an exception says, at most 300 characters."""
    return str(error).partition("\n")[0][:300] or type(error).__name__
