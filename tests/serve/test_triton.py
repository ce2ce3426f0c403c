"""What is written for other servers, read by their own schemas."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
import tritonclient
from google.protobuf import text_format
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tests.bundles import TASKS, make_bundle_of
from tests.serve.conftest import make_bundle
from tlpipe.bundle import digest, read_bundle
from tlpipe.cli import app
from tlpipe.serve.triton import one_line


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    """Triton's model_config.proto as its client ships it; without the package around it, which needs gRPC."""
    path = Path(tritonclient.__path__[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


def test_the_repository_is_what_triton_reads(bundle: Path, tmp_path: Path, schema: ModuleType):
    run("export", bundle, "--to", "triton", "--out", tmp_path, "--name", "insects", "--gpu", "--instances", 2)
    model = tmp_path / "insects"
    config = text_format.Parse((model / "config.pbtxt").read_text(), schema.ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ("insects", "onnxruntime", 32)
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 256
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, schema.ModelInstanceGroup.KIND_GPU)
    (warm,) = config.model_warmup
    assert warm.inputs["image"].zero_data
    assert list(warm.inputs["image"].dims) == [37, 37, 3]
    assert (model / "labels.txt").read_text(encoding="utf-8").split() == ["ant", "bee", "größe", "wasp"]
    assert digest(model / "1" / "model.onnx") == digest(bundle / "model.onnx")


@pytest.mark.parametrize(
    ("label", "line"),
    [
        ("two\nlines", "two\\nlines"), ("dos\r\n", "dos\\r\\n"), ("a\u2028b\x0bc\x85", "a\\u2028b\\x0bc\\x85"),
        ("größe 'x'\t\\", "größe 'x'\t\\"),
    ],
)  # fmt: skip
def test_a_label_is_one_line(label: str, line: str):
    assert one_line(label) == line


def test_a_line_break_in_a_label_shifts_no_other(tmp_path: Path):
    make_bundle(tmp_path / "bundle", 0, ("ant\nbee", "wasp", "", "fly"))
    run("export", tmp_path / "bundle", "--to", "triton", "--out", tmp_path / "out")
    lines = (tmp_path / "out/model/labels.txt").read_bytes().decode().split("\n")
    assert lines == ["ant\\nbee", "wasp", "", "fly", ""]


@pytest.fixture(scope="module", params=["image_classification", *TASKS])
def any_bundle(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = request.param == "image_classification"
    return bundle if images else make_bundle_of(request.param, tmp_path_factory.mktemp(request.param))


def test_the_ports_are_the_graphs(any_bundle: Path, tmp_path: Path, schema: ModuleType):
    run("export", any_bundle, "--to", "triton", "--out", tmp_path)
    config = text_format.Parse((tmp_path / "model" / "config.pbtxt").read_text(), schema.ModelConfig())
    graph = onnx.load(any_bundle / "model.onnx").graph
    for described, real in ((config.input, graph.input), (config.output, graph.output)):
        for ours, theirs in zip(described, real, strict=True):
            tensor = theirs.type.tensor_type
            assert ours.name == theirs.name
            assert list(ours.dims) == [axis.dim_value or -1 for axis in tensor.shape.dim][1:]
            name = onnx.TensorProto.DataType.Name(tensor.elem_type)
            types = {"UINT8": "TYPE_UINT8", "INT64": "TYPE_INT64", "FLOAT": "TYPE_FP32"}
            assert schema.DataType.Name(ours.data_type) == types[name]
    assert set(config.model_warmup[0].inputs) == {port.name for port in graph.input}
    classes = read_bundle(any_bundle).task in ("image_classification", "text_classification")
    assert {output.label_filename for output in config.output} == {"labels.txt" if classes else ""}
    assert (tmp_path / "model" / "labels.txt").is_file() is classes
    assert all((tmp_path / "model" / port).is_file() for port in read_bundle(any_bundle).sha256 if port != "model.onnx")
    assert config.instance_group[0].kind == schema.ModelInstanceGroup.KIND_CPU


def test_kserve_gets_the_repository_and_a_service(bundle: Path, tmp_path: Path):
    run("export", bundle, "--to", "kserve", "--out", tmp_path, "--storage", "s3://models/insects", "--gpu")
    content = YAML(typ="safe").load((tmp_path / "inference-service.yaml").read_text())
    assert (content["apiVersion"], content["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = content["spec"]["predictor"]["model"]
    assert (model["modelFormat"]["name"], model["protocolVersion"]) == ("triton", "v2")
    assert model["storageUri"] == "s3://models/insects"
    assert model["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert (tmp_path / "repository" / "model" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--to", "kserve"), "say where you will put it"),
        (("--to", "triton", "--name", "A B"), "name"),
    ],
)
def test_what_cannot_be_written_is_a_message(bundle: Path, tmp_path: Path, options: tuple[str, ...], sentence: str):
    assert sentence in run("export", bundle, "--out", tmp_path, *options, code=2).stderr


def test_nothing_is_overwritten(bundle: Path, tmp_path: Path):
    run("export", bundle, "--to", "triton", "--out", tmp_path)
    assert "exists; remove it" in run("export", bundle, "--to", "triton", "--out", tmp_path, code=2).stderr


def test_a_file_in_the_way_is_a_message(bundle: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    said = run("export", bundle, "--to", "triton", "--out", tmp_path / "file/x", code=2).stderr
    assert "cannot be made: Not a directory; choose another --out" in said
