"""Optimisation profile for TensorRT: the range of shapes that one engine serves, and the folder of its cache.

Without one, onnxruntime builds an engine, for minutes, whenever a request has a shape that no request had before.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tlpipe.bundle import Bundle, Port
from tlpipe.config import ConfigError
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.text import TokenPreprocess

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""By input."""
ENGINES = Path(".tlpipe/tensorrt")
UNPROFILED = "has no associated shape profiles provided: "
"""What stands before the names in onnxruntime's refusal, where a part of the graph begins at tensors of its inside."""


@dataclass(frozen=True)
class Calls:
    """Rows of a call of the graph."""

    usual: int = 32
    """What the engine is made fastest for."""
    most: int = 32


@dataclass(frozen=True)
class Profile:
    """The shapes of the inputs of every call that there will be: the smallest, the usual and the largest."""

    smallest: Shapes
    usual: Shapes
    largest: Shapes
    fixed: Mapping[str, int]
    """Sizes of free axes that are the same in every call, by the axis' name."""

    def options(self) -> dict[str, str]:
        """TensorRT's options of the provider: `input:1x3x224x224,other:...`."""
        named = (("min", self.smallest), ("opt", self.usual), ("max", self.largest))
        return {f"trt_profile_{name}_shapes": ",".join(map(_dims, shapes.items())) for name, shapes in named}

    def takes(self, feeds: Mapping[str, NDArray[Any]]) -> bool:
        """Whether the engine serves a call of these tensors."""
        return all(
            all(
                low <= size <= high
                for low, size, high in zip(least, feeds[name].shape, self.largest[name], strict=True)
            )
            for name, least in self.smallest.items()
        )

    def extended(self, model: bytes, names: Sequence[str]) -> "Profile":
        """The same with the shapes of tensors inside the graph, as they are when it is computed on the CPU."""
        smallest, usual, largest = (
            {**shapes, **_inner(model, names, shapes)} for shapes in (self.smallest, self.usual, self.largest)
        )
        return Profile(smallest, usual, largest, self.fixed)


def profile(bundle: Bundle, calls: Calls) -> Profile:
    """The profile of calls of at most `calls.most` rows, of any length that the bundle takes.

    Images have the size that they are resized to before the graph: with free edges TensorRT would have to plan memory
    for the longest ones.

    Raises:
        ConfigError: When the bundle has a free axis that has no limit.
    """
    smallest, usual, largest = (
        {
            port.name: tuple(map(partial(_size, bundle, port, rows, share), range(len(port.shape))))
            for port in bundle.inputs
        }
        for rows, share in ((1, 0.0), (calls.usual, 0.5), (max(calls.most, calls.usual), 1.0))
    )
    edges = {
        str(axis): largest[port.name][at]
        for port in bundle.inputs
        for at, axis in enumerate(port.shape)
        if isinstance(axis, str) and port.layout[at] in "HW"
    }
    return Profile(smallest, usual, largest, edges)


def _size(bundle: Bundle, port: Port, rows: int, share: float, at: int) -> int:
    """Size of an axis; `share` is how long texts are, from the shortest (0) to the longest (1)."""
    size, letter, preprocess = port.shape[at], port.layout[at], bundle.preprocessing
    if isinstance(size, int):
        return size
    if letter == "N":
        return rows
    if letter in "HW" and isinstance(preprocess, ImagePreprocess):
        return preprocess.resize_to
    if letter == "L" and isinstance(preprocess, TokenPreprocess):
        return max(1, round(share * preprocess.max_length))
    raise ConfigError(
        f"TensorRT must know how large the inputs can be, and the axis {size!r} of {port.name!r} has no limit; "
        "give --device cuda or --device cpu"
    )


def engine_cache(model: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that keep engines in a folder of their own for each graph and each profile.

    onnxruntime names an engine by the graph's inputs and nodes, not by its weights: two bundles in one folder would
    get each other's. It makes the last part of the path alone.
    """
    key = hashlib.sha256(model + repr(sorted(options.items())).encode()).hexdigest()[:16]
    folder = ENGINES / key
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(ENGINES),
    }


def unprofiled(error: Exception) -> list[str]:
    """Tensors that onnxruntime wants a profile of besides the given ones; none when it failed for another reason."""
    names = str(error).partition(UNPROFILED)[2].partition("\n")[0]
    return [name.strip() for name in names.split(",") if name.strip()]


def _dims(entry: tuple[str, Shape]) -> str:
    return f"{entry[0]}:{'x'.join(map(str, entry[1]))}"


def _inner(model: bytes, names: Sequence[str], shapes: Shapes) -> Shapes:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(with_outputs(model, names), options, providers=["CPUExecutionProvider"])
    types = {port.name: port.type for port in session.get_inputs()}
    feeds = {name: np.ones(shape, NUMPY[types[name]]) for name, shape in shapes.items() if name in types}
    return {name: _profiled(value) for name, value in zip(names, session.run(list(names), feeds), strict=True)}


NUMPY = {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
"""Types of inputs, as onnxruntime calls them."""


def _profiled(value: NDArray[Any]) -> Shape:
    """The shape of a tensor; of a list of sizes, which TensorRT calls a shape tensor, the sizes."""
    return tuple(value.reshape(-1).tolist()) if value.dtype == np.int64 and value.ndim < 2 else value.shape


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """A serialized ONNX model that also gives the tensors `names` of its inside.

    Protobuf merges a message that is there twice, so a second graph with nothing but outputs is appended.
    """
    graph = b"".join(_field(12, _field(1, name.encode())) for name in names)
    return model + _field(7, graph)


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes or another message."""
    head, size = bytes([number << 3 | 2]), len(content)
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + content
