"""The Open Inference Protocol, version 2, with its binary tensor extension: documents to tensors and back. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlpipe.bundle import Bundle, Port
from tlpipe.serve.http.request_body import parse_json
from tlpipe.serve.reading import BadInput
from tlpipe.serve.runtime.session import Tensors

HEADER_LENGTH = "inference-header-content-length"
DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
"""The protocol's names of numpy's types."""
NAMED = {np.dtype(name): datatype for name, datatype in DATATYPES.items()}
ENCODER = json.JSONEncoder(separators=(",", ":"))


class Asked:
    """What an inference request says: its tensors, and how it wants its answer."""

    def __init__(self, body: bytes, header_length: str | None, bundle: Bundle, most: int, json_bytes: int) -> None:
        """Raises BadInput, with a sentence, for everything that is not a request to this bundle."""
        end = _header_end(header_length, len(body))
        document = _mapping(parse_json(body[:end], json_bytes), "the request")
        self.id = document.get("id", "")
        if not isinstance(self.id, str) or len(self.id) > 256:
            raise BadInput("id must be a text of at most 256 characters")
        rest = memoryview(body)[end:]
        self.feeds = _feeds(document.get("inputs"), rest, bundle.inputs, most)
        default = _parameters(document).get("binary_data_output", False) is True
        self.outputs = _outputs(document.get("outputs"), bundle.outputs, default)


def _header_end(text: str | None, size: int) -> int:
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and len(text) < 12) or int(text) > size:
        raise BadInput(f"Inference-Header-Content-Length is {text[:20]!r}; it must be at most the body's {size} bytes")
    return int(text)


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{what} must be a JSON object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadInput(f"{what} must be a list of objects")
    return value


def _parameters(document: Mapping[str, Any]) -> dict[str, Any]:
    return _mapping(document.get("parameters", {}), "parameters")


def _feeds(entries: Any, rest: memoryview, ports: Sequence[Port], most: int) -> Tensors:
    known, feeds = {port.name: port for port in ports}, {}
    for entry in (_mapping(each, "an input") for each in _list(entries, "inputs")):
        name = entry.get("name")
        if not isinstance(name, str) or name not in known:
            raise BadInput(f"unknown input {str(name)[:80]!r}; the model has {', '.join(known)}")
        if name in feeds:
            raise BadInput(f"the input {name!r} appears twice")
        feeds[name], rest = _tensor(entry, rest, known[name], most)
    if missing := sorted(known.keys() - feeds.keys()):
        raise BadInput(f"the input {missing[0]!r} is missing")
    if len(rest):
        raise BadInput(f"{len(rest)} bytes of binary data belong to no input")
    if len({len(value) for value in feeds.values()}) > 1:
        raise BadInput("all inputs must have the same number of samples")
    return feeds


def _tensor(entry: dict[str, Any], rest: memoryview, port: Port, most: int) -> tuple[NDArray[Any], memoryview]:
    if entry.get("datatype") != DATATYPES[port.dtype]:
        found = str(entry.get("datatype"))[:20]
        raise BadInput(f"input {port.name!r} has datatype {found!r}; the model takes {DATATYPES[port.dtype]}")
    shape = _shape(entry.get("shape"), port, most)
    size = _parameters(entry).get("binary_data_size")
    if size is None:
        return _from_json(entry.get("data"), shape, port), rest
    if "data" in entry:
        raise BadInput(f"input {port.name!r} has both data and binary_data_size; send one of them")
    dtype = np.dtype(port.dtype)
    expected = math.prod(shape) * dtype.itemsize
    if isinstance(size, bool) or not isinstance(size, int) or size != expected:
        raise BadInput(f"input {port.name!r} of shape {list(shape)} has {expected} bytes, binary_data_size differs")
    if len(rest) < size:
        raise BadInput(f"input {port.name!r} has {size} bytes, the body has only {len(rest)} left")
    return _finite(np.frombuffer(rest[:size], dtype).reshape(shape), port), rest[size:]


def _shape(value: Any, port: Port, most: int) -> tuple[int, ...]:
    expected = ", ".join(str(axis) for axis in port.shape)
    fits = (
        isinstance(value, list)
        and len(value) == len(port.shape)
        and all(isinstance(each, int) and not isinstance(each, bool) and 1 <= each < 2**31 for each in value)
        and all(axis in (each, None) or isinstance(axis, str) for each, axis in zip(value, port.shape, strict=True))
    )
    if not fits:
        raise BadInput(f"input {port.name!r} has shape {str(value)[:80]}; the model takes [{expected}]")
    if value[0] > most:
        raise BadInput(f"{value[0]} samples in one request; at most {most} are taken", 413)
    return tuple(value)


def _from_json(data: Any, shape: tuple[int, ...], port: Port) -> NDArray[Any]:
    if not isinstance(data, list):
        raise BadInput(f"input {port.name!r} has no data; send a list of numbers, or binary data with binary_data_size")
    try:
        values = np.asarray(data)
    except (ValueError, OverflowError, RecursionError):
        raise BadInput(f"the data of input {port.name!r} is ragged or nested too deeply") from None
    dtype = np.dtype(port.dtype)
    if values.dtype.kind not in ("iu" if dtype.kind in "iu" else "iuf"):
        raise BadInput(f"the data of input {port.name!r} must be {'whole ' if dtype.kind in 'iu' else ''}numbers")
    if values.size != math.prod(shape):
        raise BadInput(f"input {port.name!r} has {values.size} values, its shape {list(shape)} says {math.prod(shape)}")
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    if values.min() < limits.min or values.max() > limits.max:
        raise BadInput(f"input {port.name!r} has values that {DATATYPES[port.dtype]} cannot hold")
    return _finite(values.astype(dtype).reshape(shape), port)


def _finite(values: NDArray[Any], port: Port) -> NDArray[Any]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadInput(f"input {port.name!r} has values that are not finite")
    return values


def _outputs(entries: Any, ports: Sequence[Port], default: bool) -> dict[str, bool]:
    """Which outputs are wanted, and whether as binary data."""
    known = [port.name for port in ports]
    if entries is None:
        return dict.fromkeys(known, default)
    wanted = {}
    for entry in (_mapping(each, "an output") for each in _list(entries, "outputs")):
        name, parameters = entry.get("name"), _parameters(entry)
        if not isinstance(name, str) or name not in known:
            raise BadInput(f"unknown output {str(name)[:80]!r}; the model has {', '.join(known)}")
        if unknown := parameters.keys() - {"binary_data"}:
            raise BadInput(f"the output parameter {min(unknown)[:80]!r} is not known; what is known: binary_data")
        wanted[name] = parameters.get("binary_data", default) is True
    return wanted or dict.fromkeys(known, default)


def answer(asked: Asked, outputs: Tensors, name: str, version: str) -> tuple[bytes, dict[str, str]]:
    """The body of the response, and the headers that it needs."""
    entries, blobs = [], []
    for output, binary in asked.outputs.items():
        value = np.ascontiguousarray(outputs[output])
        entry: dict[str, Any] = {"name": output, "datatype": NAMED[value.dtype], "shape": list(value.shape)}
        if binary:
            blobs.append(value.tobytes())
            entry["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            entry["data"] = value.ravel().tolist()
        entries.append(entry)
    document = {"model_name": name, "model_version": version, "outputs": entries}
    head = ENCODER.encode(document | ({"id": asked.id} if asked.id else {})).encode()
    if not blobs:
        return head, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return b"".join([head, *blobs]), headers


def metadata(bundle: Bundle, name: str, version: str) -> dict[str, Any]:
    """What the model takes and gives."""

    def tensor(port: Port) -> dict[str, Any]:
        shape = [axis if isinstance(axis, int) else -1 for axis in port.shape]
        return {"name": port.name, "datatype": DATATYPES[port.dtype], "shape": shape}

    return {
        "name": name,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [tensor(port) for port in bundle.inputs],
        "outputs": [tensor(port) for port in bundle.outputs],
        "parameters": {"task": bundle.task, "labels": list(bundle.labels)},
    }
