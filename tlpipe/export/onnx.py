"""One ONNX file: preprocessing, network, temperature and softmax, with its labels inside."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx.compose import merge_models
from torch import Tensor, nn

from tlpipe import __version__
from tlpipe.config import ConfigError
from tlpipe.export.graph import VIEW, name_opset_once, preprocessing_graph
from tlpipe.tasks import facet
from tlpipe.train.model import About, Classifier

LOGITS, PROBABILITIES = "logits", "probabilities"
LARGEST = 2**31 - 2**24
"""Bytes of weights that fit in one protobuf file, with room for the graph itself."""


class Calibrated(nn.Module):
    """Views (B, 3, S, S) -> (logits / temperature, their probabilities), both (B, C): what the exported file computes.

    Of tokens both are (B, L, C).
    """

    def __init__(self, model: nn.Module, about: About) -> None:
        super().__init__()
        self.model = model
        self.temperature = about.temperature
        self.probabilities: Callable[[Tensor], Tensor] = about.task.probabilities
        self.outputs = about.task.outputs
        self.eval()

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        """Calibrated logits and, if the task has them, probabilities."""
        logits = self.model(view) / self.temperature
        return (logits, self.probabilities(logits)) if PROBABILITIES in self.outputs else (logits,)


class TokenInputs(nn.Module):
    """The rows of a text network's input as separate arguments (B, L) int64, named as in `TextPreprocess.inputs`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """What `model` gives for them together."""
        rows = [input_ids, attention_mask, *([] if token_type_ids is None else [token_type_ids])]
        result: tuple[Tensor, ...] = self.model(torch.stack(rows, dim=1))
        return result


def onnx_model(model: nn.Module, about: About, opset: int) -> onnx.ModelProto:
    """The whole graph, from raw `image` (uint8 NHWC, any size) or from tokens to `logits` and `probabilities`, checked.

    A text network takes `input_ids`, `attention_mask` and, if it knows them, `token_type_ids`, all int64 (batch,
    length); a TF-IDF model `ngram_ids` and `ngram_counts`, of the same shape. `logits` are already divided by the
    temperature: `softmax(logits) == probabilities`. The metadata has `labels` (a JSON list in output order), `task` and
    `tlpipe_version`. The bytes depend on the weights and `about` alone.

    Raises:
        ConfigError: When the weights do not fit in one ONNX file.
    """
    refuse_too_large(model)
    merged: onnx.ModelProto = facet(about.task.kind, "export:graph")(model, about, opset)
    merged.graph.name = about.task.kind
    merged.producer_name, merged.producer_version = "tlpipe", __version__
    onnx.helper.set_model_props(merged, metadata(about))
    onnx.checker.check_model(merged, full_check=True)
    return merged


def image_graph(model: Classifier, about: About, opset: int) -> onnx.ModelProto:
    """`image` -> `logits`, `probabilities`: the preprocessing's graph before the network's."""
    preprocess: Any = about.preprocess
    network = network_graph(model, about, opset)
    front = preprocessing_graph(preprocess, opset, network.ir_version)
    return name_opset_once(merge_models(front, network, io_map=[(VIEW, VIEW)]))


def text_graph(model: Classifier, about: About, opset: int) -> onnx.ModelProto:
    """Tokens -> `logits`, `probabilities`; batch and length are free."""
    preprocess: Any = about.preprocess
    names = preprocess.inputs
    example = tuple(torch.ones(2, 8, dtype=torch.long) for _ in names)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=preprocess.max_length)}
    same = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    network = TokenInputs(Calibrated(model, about))
    dynamic = {name: free if name == names[0] else same for name in names}
    return _trace(network, example, names, about.task.outputs, dynamic, opset)


class NgramInputs(nn.Module):
    """The rows of a TF-IDF model's input as separate arguments (B, L) int64, named as in `NgramPreprocess.inputs`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, ngram_ids: Tensor, ngram_counts: Tensor) -> tuple[Tensor, ...]:
        """What `model` gives for them together."""
        result: tuple[Tensor, ...] = self.model(torch.stack([ngram_ids, ngram_counts], dim=1))
        return result


def ngram_graph(model: nn.Module, about: About, opset: int) -> onnx.ModelProto:
    """Distinct n-grams and their counts -> `logits`, `probabilities`; batch and length are free."""
    preprocess: Any = about.preprocess
    ids, counts = preprocess.inputs
    example = (torch.zeros(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    same = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    network = NgramInputs(Calibrated(model, about))
    return _trace(network, example, (ids, counts), about.task.outputs, {ids: free, counts: same}, opset)


def metadata(about: About) -> dict[str, str]:
    """What the file itself says about its outputs."""
    labels = json.dumps(about.labels, ensure_ascii=False)
    return {"labels": labels, "task": about.task.kind, "tlpipe_version": __version__}


def add_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """More of what the file says of itself; `model` is changed."""
    for name, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value


def labels_of(metadata: dict[str, str]) -> tuple[str, ...]:
    """The class names in output order, from an ONNX file's metadata."""
    return tuple(json.loads(metadata["labels"]))


def network_graph(model: Classifier, about: About, opset: int) -> onnx.ModelProto:
    """`view` float32 (batch, 3, size, size) -> `logits`, `probabilities` (batch, C), without the exporter's traces."""
    preprocess: Any = about.preprocess
    example = torch.zeros(2, 3, preprocess.size, preprocess.size)
    network = Calibrated(model, about)
    return _trace(network, (example,), (VIEW,), about.task.outputs, {"view": {0: torch.export.Dim("batch")}}, opset)


def _trace(
    network: nn.Module,
    example: tuple[Tensor, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    free: dict[str, Any],
    opset: int,
) -> onnx.ModelProto:
    program = torch.onnx.export(
        network,
        example,
        input_names=list(names),
        output_names=list(outputs),
        opset_version=opset,
        dynamic_shapes=free,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    return without_traces(program.model_proto)


def refuse_too_large(model: nn.Module, largest: int = LARGEST) -> None:
    """Raises ConfigError when `model`'s weights exceed `largest` bytes."""
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size > largest:
        raise ConfigError(
            f"the model has {size / 2**30:.2f} GiB of weights; one ONNX file holds at most {largest / 2**30:.2f} GiB "
            "(protobuf's limit), and a bundle is one file: export a smaller backbone"
        )


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without stack traces and module paths, which name this machine's folders and change with the code."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
