import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from tlpipe import __version__
from tlpipe.config import ConfigError
from tlpipe.export.onnx import labels_of, network_graph, onnx_model, refuse_too_large
from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.heads.all_depths import AllDepths
from tlpipe.train.model import About, Classifier


def run(model: onnx.ModelProto, name: str, value: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits", "probabilities"], {name: value})


def test_takes_raw_images_of_any_size_and_any_number(exported: onnx.ModelProto):
    (port,) = exported.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim]
    assert (port.name, port.type.tensor_type.elem_type, dims) == (
        "image", onnx.TensorProto.UINT8, ["batch", "height", "width", 3]
    )  # fmt: skip
    assert [output.name for output in exported.graph.output] == ["logits", "probabilities"]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("shape", [(37, 37), (5, 60), (111, 20), (1, 1)])
def test_computes_what_torch_computes(
    exported: onnx.ModelProto, model: Classifier, about: About, batch: int, shape: tuple[int, int]
):
    images = np.random.default_rng(0).integers(0, 256, (batch, *shape, 3), dtype=np.uint8)
    logits, probabilities = run(exported, "image", images)
    with torch.no_grad():
        view = torch.from_numpy(np.stack([about.preprocess(image) for image in images]))
        truth = model(view) / about.temperature
    assert np.abs(probabilities - truth.softmax(1).numpy()).max() < 0.02
    # softmax of the logits that are given is the probabilities that are given: the temperature is in both
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(exponentials / exponentials.sum(axis=1, keepdims=True), probabilities, atol=1e-6)


def test_says_what_its_outputs_mean(exported: onnx.ModelProto, about: About):
    metadata = {entry.key: entry.value for entry in exported.metadata_props}
    assert labels_of(metadata) == about.labels
    assert metadata["task"] == "image_classification"
    assert metadata["tlpipe_version"] == __version__
    assert json.loads(metadata["labels"])[2] == "größe"


def test_is_reproducible_and_says_nothing_of_this_machine(
    exported: onnx.ModelProto, model: Classifier, about: About, capfd: pytest.CaptureFixture[str]
):
    again = onnx_model(model, about, 20).SerializeToString(deterministic=True)
    assert again == exported.SerializeToString(deterministic=True)
    assert b".py" not in again
    assert b"stack_trace" not in again
    assert capfd.readouterr() == ("", "")


def test_the_model_is_left_in_its_mode_and_dropout_is_off(exported: onnx.ModelProto, model: Classifier):
    assert not model.training
    assert "Dropout" not in {node.op_type for node in exported.graph.node}


def test_weights_beyond_one_file_are_refused():
    refuse_too_large(nn.Linear(10, 10), largest=440)
    with pytest.raises(ConfigError, match="smaller backbone"):
        refuse_too_large(nn.Linear(10, 10), largest=439)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("mobilenet_v3_small", 64),
        ("efficientnet_b0", 64),
        ("convnext_tiny", 64),
        ("vit_b_32", 64),
        ("swin_t", 64),
        ("densenet121", 64),
    ],
)
def test_networks_of_every_family_export_with_a_free_batch(name: str, size: int, about: About):
    import torchvision.models

    options = {"image_size": size} if name.startswith("vit") else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)(weights=None, num_classes=5, **options).eval()
    preprocess = ImagePreprocess(size=size, resize_to=size)
    this = about.model_copy(update={"preprocess": preprocess, "temperature": 1.5})
    graph = network_graph(Classifier(network, nn.Sequential()), this, 20)
    for batch in (1, 3, 8):
        view = np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)
        logits, _ = run(graph, "view", view)
        with torch.no_grad():
            truth = network(torch.from_numpy(view)) / 1.5
        assert np.abs(logits - truth.numpy()).max() < 1e-4 * max(1, truth.abs().max())


def test_a_head_on_every_depth_is_exported_with_its_depths(model: Classifier, about: About):
    encoder = AllDepths(model.encoder, about.preprocess.example())
    torch.manual_seed(0)
    deep = Classifier(encoder, about.task.head(encoder.feature_dim, len(about.labels), 0.0)).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), dtype=np.uint8)
    _, probabilities = run(onnx_model(deep, about, 20), "image", images)
    with torch.no_grad():
        view = torch.from_numpy(np.stack([about.preprocess(image) for image in images]))
        truth = (deep(view) / about.temperature).softmax(1).numpy()
    assert np.abs(probabilities - truth).max() < 0.02


def test_the_operator_set_is_named_once(exported: onnx.ModelProto):
    assert [(each.domain, each.version) for each in exported.opset_import] == [("", 20)]
