"""A bundle for servers that others operate: Triton's model repository, and KServe's InferenceService for it."""

import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from ruamel.yaml import YAML

from tlpipe.bundle import ABOUT, MODEL, Bundle, Port, read_bundle
from tlpipe.config import ConfigError, Spec
from tlpipe.serve.http.inference_protocol import DATATYPES
from tlpipe.serve.reading import Row
from tlpipe.serve.readings import reading

CONFIG, LABELS, SERVICE = "config.pbtxt", "labels.txt", "inference-service.yaml"


class Target(Spec):
    """How the model is to run there."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=63)] = "model"
    """The model's name; also a Kubernetes name, so lower case letters, digits and hyphens."""
    gpu: bool = False
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies of the model on each GPU, or on the CPU."""
    max_batch: Annotated[int, Field(ge=1, le=4096)] = 32
    max_delay: Annotated[float, Field(ge=0, le=1)] = 0.002
    """Seconds that a request may wait for others."""
    queue: Annotated[int, Field(ge=1)] = 256
    """Most requests that wait; more are refused."""


def write_repository(folder: Path, bundle: Path, target: Target) -> Path:
    """Triton's model repository in `folder`; returns the model's own folder in it.

    Raises:
        BundleError: When the bundle is not what was exported.
        ConfigError: When the model's folder exists already or cannot be made, or its task cannot be served.
    """
    about = read_bundle(bundle)
    model = folder / target.name
    if model.exists():
        raise ConfigError(f"{model} exists; remove it, or choose another --name or --out")
    try:
        (model / "1").mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{model} cannot be made: {error.strerror}; choose another --out") from None
    shutil.copyfile(bundle / MODEL, model / "1" / MODEL)
    for name in {ABOUT, *about.sha256} - {MODEL}:  # what its clients need: the description, the tokenizer
        shutil.copyfile(bundle / name, model / name)
    if any(map(_labelled, about.outputs)):
        (model / LABELS).write_text("".join(f"{one_line(label)}\n" for label in about.labels), encoding="utf-8")
    (model / CONFIG).write_text(config(about, target, reading(about, bundle).example().rows[0]), encoding="utf-8")
    return model


def one_line(label: str) -> str:
    """A label as one line of a file: what breaks lines stands as its escape, or all labels after it would shift."""
    return "".join(
        repr(character)[1:-1] if len(f"a{character}a".splitlines()) > 1 else character for character in label
    )


def config(bundle: Bundle, target: Target, example: Row) -> str:
    """`config.pbtxt`, for the ONNX Runtime backend: dynamic batches, instances, a warm-up, labels."""
    inputs = ",\n".join(f"  {{ {_port(port)} }}" for port in bundle.inputs)
    named = f' label_filename: "{LABELS}"'
    outputs = ",\n".join(f"  {{ {_port(port)}{named if _labelled(port) else ''} }}" for port in bundle.outputs)
    warm = "\n".join(
        f'    inputs {{ key: "{name}" value: {{ data_type: {_type(value.dtype.name)} '
        f"dims: {list(value.shape)} zero_data: true }} }}"
        for name, value in example.items()
    )
    return f"""\
name: "{target.name}"
backend: "onnxruntime"
max_batch_size: {target.max_batch}
input [
{inputs}
]
output [
{outputs}
]
dynamic_batching {{
  max_queue_delay_microseconds: {round(target.max_delay * 1e6)}
  default_queue_policy {{ max_queue_size: {target.queue} }}
}}
instance_group [
  {{ count: {target.instances} kind: {"KIND_GPU" if target.gpu else "KIND_CPU"} }}
]
model_warmup [
  {{
    name: "one"
    batch_size: 1
{warm}
  }}
]
"""


def _port(port: Port) -> str:
    dims = [axis if isinstance(axis, int) else -1 for axis in port.shape[1:]]
    return f'name: "{port.name}" data_type: {_type(port.dtype)} dims: {dims}'


def _labelled(port: Port) -> bool:
    # Triton takes a label by the place in the flattened output, so there must be one value a class and no more.
    return port.layout == "NC"


def _type(dtype: str) -> str:
    return f"TYPE_{DATATYPES[dtype]}"


def write_service(folder: Path, bundle: Path, target: Target, storage: str) -> Path:
    """The model repository, and beside it KServe's InferenceService that serves it with Triton from `storage`."""
    write_repository(folder / "repository", bundle, target)
    path = folder / SERVICE
    yaml = YAML()
    yaml.default_flow_style = False
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(service(target, storage), file)
    return path


def service(target: Target, storage: str) -> dict[str, Any]:
    """The InferenceService (serving.kserve.io/v1beta1)."""
    resources: dict[str, str] = {"cpu": "2", "memory": "2Gi"} | ({"nvidia.com/gpu": "1"} if target.gpu else {})
    model = {
        "modelFormat": {"name": "triton"},
        "runtime": "kserve-tritonserver",
        "protocolVersion": "v2",
        "storageUri": storage,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": target.name},
        "spec": {"predictor": {"model": model}},
    }
