"""Smaller forms of a bundle's graph: fp16, int8 by static calibration or dynamic. The preprocessing keeps its types."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from tlpipe.export.graph import PREFIX, VIEW, name_opset_once

CALIBRATORS = ("minmax", "percentile", "entropy")
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


class Samples(CalibrationDataReader):  # type: ignore[misc]
    """Packed images (N, R, R, 3), up to `most` at a time, as the calibrator asks for them.

    All calls are of one size, a divisor of N: onnxruntime's calibrators stack what the calls give.
    """

    def __init__(self, name: str, images: NDArray[Any], most: int = 8) -> None:
        batch = next(size for size in range(most, 0, -1) if len(images) % size == 0)
        self._chunks: Iterator[dict[str, NDArray[Any]]] = (
            {name: images[start : start + batch]} for start in range(0, len(images), batch)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next few, or None."""
        return next(self._chunks, None)


def int8(model: bytes, name: str, images: NDArray[Any], calibrator: str) -> bytes:
    """The graph with int8 weights (a scale a channel) and activations, ranges from `images` by `calibrator`.

    Activations are unsigned: that is what the integer instructions of CPUs take. `name` is the graph's input.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path, ready, out = (Path(folder) / each for each in ("model.onnx", "ready.onnx", "int8.onnx"))
        path.write_bytes(model)
        quant_pre_process(path, ready, skip_symbolic_shape=True)
        prepared = name_opset_once(onnx.load(ready))
        front = [node.name for node in prepared.graph.node if _is_front(node)]
        quantize_static(
            prepared,
            out,
            Samples(name, images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=front,
            calibrate_method=METHODS[calibrator],
        )
        return _with_metadata(onnx.load(out), model)


def int8_dynamic(model: bytes) -> bytes:
    """The graph with int8 weights (a scale a channel) in MatMul and Gemm; activations get their range in each call.

    That suits transformers, whose activations have outliers that no calibration foresees (Zafrir et al. 2019,
    Q8BERT), and whose time goes into these two operators.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path, ready, out = (Path(folder) / each for each in ("model.onnx", "ready.onnx", "int8.onnx"))
        path.write_bytes(model)
        quant_pre_process(path, ready, skip_symbolic_shape=True)
        prepared = name_opset_once(onnx.load(ready))
        # The quantizer turns a Gemm's weights round under their old name, which the noted shape would contradict.
        prepared.graph.ClearField("value_info")
        quantize_dynamic(
            prepared,
            out,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return _with_metadata(onnx.load(out), model)


def fp16(model: bytes) -> bytes:
    """The network in half precision; inputs, outputs, preprocessing and softmax as they were."""
    graph = onnx.load_from_string(model)
    kept = [node.name for node in graph.graph.node if _is_front(node)]
    blocked = [*DEFAULT_OP_BLOCK_LIST, "Softmax"]
    with _quiet():
        half = convert_float_to_float16(graph, keep_io_types=True, op_block_list=blocked, node_block_list=kept)
    return _with_metadata(half, model)


def _is_front(node: onnx.NodeProto) -> bool:
    return any(name.startswith(PREFIX) or name == VIEW for name in (node.name, *node.output))


def _with_metadata(made: onnx.ModelProto, model: bytes) -> bytes:
    properties = {each.key: each.value for each in onnx.load_from_string(model).metadata_props}
    onnx.helper.set_model_props(made, properties)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Onnxruntime's tools advise, through the root logger and warnings, to do what has just been done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
