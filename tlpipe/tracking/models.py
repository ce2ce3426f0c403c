"""Models in MLflow: the trained network as a pyfunc model without pickles, the exported bundle as an ONNX model."""

import hashlib
import json
import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from tlpipe.tasks import facet
from tlpipe.tracking.journal import BUNDLE, EXAMPLE, MODEL
from tlpipe.tracking.snapshot import Snapshot
from tlpipe.tracking.store import RUN_KEY, Remote, model_name

PACKAGE = Path(__file__).resolve().parents[1]
KIND, DIGEST, OWNER = "tlpipe.kind", "tlpipe.digest", "tlpipe.outbox"
NEEDS = ("torch", "torchvision", "timm", "transformers", "safetensors", "pydantic", "ruamel.yaml", "numpy", "pillow")
IMAGES = Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3), "images")])
TOKENS = Schema([TensorSpec(np.dtype(np.int64), (-1, -1, -1), "tokens")])
NGRAMS = Schema([TensorSpec(np.dtype(np.int64), (-1, 2, -1), "ngrams")])
"""What a logged model takes: raw images, or what the bundle's tokenizer or vocabulary makes of texts."""


def push_models(remote: Remote, snapshot: Snapshot, folder: Path) -> list[str]:
    """Log the models that the store lacks; returns what could not be logged, in words."""
    problems = []
    if not snapshot.models:
        return []
    known = _known(remote, _owner(folder))
    for kind, record in snapshot.models.items():
        source = _source(folder, record, snapshot.run_key)
        if source is None and kind not in {key for key, _ in known}:
            problems.append(f"{kind}: neither its copy in {folder} nor {record['origin']} is there any more")
        if source is None:
            continue
        digest = _digest(source)
        if (kind, digest) not in known:
            known[kind, digest] = _log(remote, snapshot, kind, source, digest, folder)
    for model in known.values():
        _link_metrics(remote, snapshot, model)
    return problems


def _owner(folder: Path) -> str:
    return hashlib.sha256(f"{platform.node()}:{folder.resolve()}".encode()).hexdigest()[:16]


def _known(remote: Remote, owner: str) -> dict[tuple[str, str], LoggedModel]:
    """The run's finished models; what a killed publisher of this very outbox left half uploaded is deleted."""
    query = f"source_run_id = '{remote.run_id}'"
    known = {}
    for model in remote.client.search_logged_models([remote.experiment_id], query):
        if str(model.status) == "READY":
            known[model.tags.get(KIND, ""), model.tags.get(DIGEST, "")] = model
        elif model.tags.get(OWNER) == owner:
            remote.client.delete_logged_model(model.model_id)
    return known


def _source(folder: Path, record: dict[str, Any], run_key: str) -> Path | None:
    copy, origin = folder / str(record["name"]), Path(record["origin"])
    if copy.is_dir():
        return copy
    try:
        about = json.loads((origin / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return origin if about.get("run_key") == run_key else None


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def _log(remote: Remote, snapshot: Snapshot, kind: str, source: Path, digest: str, folder: Path) -> LoggedModel:
    name = model_name(snapshot.name if kind == MODEL else f"{snapshot.name}-onnx")
    tags = {KIND: kind, DIGEST: digest, OWNER: _owner(folder), RUN_KEY: snapshot.run_key}
    model = remote.client.create_logged_model(
        remote.experiment_id,
        name,
        source_run_id=remote.run_id,
        tags=tags,
        params={key: value[:250] for key, value in snapshot.params.items()},
        model_type="onnx" if kind == BUNDLE else "torch",
    )
    about = Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        run_id=remote.run_id,
        model_id=model.model_id,
    )
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model"
        {MODEL: _save_pyfunc, BUNDLE: _save_onnx}[kind](source, path, about, folder / EXAMPLE)
        remote.client.log_model_artifacts(model.model_id, str(path))
    remote.client.log_outputs(remote.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return remote.client.finalize_logged_model(model.model_id, "READY")


def _save_pyfunc(source: Path, path: Path, about: Model, example: Path) -> None:
    described = json.loads((source / "model.json").read_text(encoding="utf-8"))
    inputs, sample = _input(example, described["preprocess"])
    task, kind = described["task"]["kind"], described["preprocess"]["kind"]
    free = (-1, -1) if facet(task, "serving:READINGS")[kind].tokens else (-1,)
    outputs = Schema([TensorSpec(np.dtype(np.float32), (*free, len(described["labels"])), "probabilities")])
    mlflow.pyfunc.save_model(
        path,
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={"model": str(source)},
        code_paths=[str(PACKAGE)],
        mlflow_model=about,
        signature=ModelSignature(inputs=_unnamed(inputs), outputs=_unnamed(outputs)),
        input_example=sample,
        pip_requirements=[f"{name}=={version(name)}" for name in NEEDS],
        metadata={"labels": described["labels"]},
    )


def _save_onnx(source: Path, path: Path, about: Model, example: Path) -> None:
    import mlflow.onnx
    import onnx

    network = onnx.load(str(source / "model.onnx"))
    inputs = Schema([_tensor(value) for value in network.graph.input])
    outputs = Schema([_tensor(value) for value in network.graph.output])
    mlflow.onnx.save_model(
        network,
        str(path),
        mlflow_model=about,
        signature=ModelSignature(inputs=inputs, outputs=outputs),
        pip_requirements=[f"onnxruntime=={_onnxruntime()}", f"numpy=={version('numpy')}"],
        save_as_external_data=False,
    )
    for file in source.iterdir():
        if file.name != "model.onnx":
            shutil.copyfile(file, path / file.name)


def _tensor(value: Any) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(axis.dim_value or -1 for axis in kind.shape.dim)
    return TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape, value.name)


def _onnxruntime() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


def _unnamed(schema: Schema) -> Schema:
    """The same schema for a bare array instead of a mapping of names."""
    return Schema([TensorSpec(spec.type, spec.shape) for spec in schema.inputs])


def _input(path: Path, preprocess: dict[str, Any]) -> tuple[Schema, Any]:
    """What a logged model with this preprocessing takes, and an example of it."""
    if preprocess["kind"] == "image":
        return IMAGES, np.load(path)[:1] if path.is_file() else _ramp(preprocess["size"])
    if preprocess["kind"] == "ngrams":
        return NGRAMS, np.array([[[0], [1]]], np.int64)
    return TOKENS, np.ones((1, 3 if preprocess["token_types"] else 2, 8), np.int64)


def _ramp(size: int) -> Any:
    """An image from black to white (1, size, size, 3)."""
    return np.linspace(0, 255, size * size * 3).astype(np.uint8).reshape(1, size, size, 3)


def _link_metrics(remote: Remote, snapshot: Snapshot, model: LoggedModel) -> None:
    """Show the final figures beside the model too; the run keeps each of them once."""
    have = {(metric.key, metric.timestamp) for metric in model.metrics or []}
    fresh = [point for point in snapshot.finals if (point.key, point.time) not in have]
    if fresh:
        metrics = [Metric(p.key, p.value, p.time, p.step, model_id=model.model_id) for p in fresh]
        remote.client.log_batch(remote.run_id, metrics=metrics)
