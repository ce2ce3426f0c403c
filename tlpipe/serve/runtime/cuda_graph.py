"""One size of batch in buffers that stay where they are: what a CUDA graph is captured on and replayed from."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tlpipe.serve.runtime.pinned_memory import pinned

SKIP = -1
"""The graph id of calls that are neither captured nor replayed."""
WARM = 3
"""Calls until onnxruntime has allocated what it needs and captured the graph."""


class CudaGraph:
    """A session's inputs and outputs for `size` samples of one shape, on a device.

    Calls of fewer samples are filled up with what the buffers' last samples were: rows do not see one another.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, row: Mapping[str, NDArray[Any]], size: int, device: str, gpu: int
    ) -> None:
        """`row` is one sample, by input, without the batch axis; `size` is also the graph's id."""
        self.size, self._session, self._options = size, session, run_options(size)
        self._fill = {name: _repeated(value, size, device, gpu) for name, value in row.items()}
        self._binding = session.io_binding()
        make = onnxruntime.OrtValue
        self._inputs = {name: make.ortvalue_from_numpy(value.copy(), device, gpu) for name, value in self._fill.items()}
        names = [port.name for port in session.get_outputs()]
        found = session.run(names, self._fill, run_options(SKIP))
        self._outputs = {
            name: make.ortvalue_from_shape_and_type(value.shape, value.dtype.type, device, gpu)
            for name, value in zip(names, found, strict=True)
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        for _ in range(WARM):
            session.run_with_iobinding(self._binding, self._options)

    def takes(self, feeds: Mapping[str, NDArray[Any]]) -> bool:
        """Whether these samples have the buffers' shape and there is room for them."""
        return all(
            len(value) <= self.size
            and (value.shape[1:], value.dtype) == (self._fill[name].shape[1:], self._fill[name].dtype)
            for name, value in feeds.items()
        )

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs of the samples: one copy in, one copy out."""
        count = len(next(iter(feeds.values())))
        for name, value in feeds.items():
            self._fill[name][:count] = value
            self._inputs[name].update_inplace(self._fill[name])
        self._session.run_with_iobinding(self._binding, self._options)
        return {name: np.array(value.numpy()[:count]) for name, value in self._outputs.items()}


def _repeated(value: NDArray[Any], size: int, device: str, gpu: int) -> NDArray[Any]:
    shape = (size, *value.shape)
    found = np.empty(shape, value.dtype) if device == "cpu" else pinned(shape, value.dtype, gpu)
    found[:] = value
    return found


def run_options(graph: int) -> onnxruntime.RunOptions:
    """Options of a call that belongs to the graph of this id."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
