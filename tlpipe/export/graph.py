"""An `ImagePreprocess` as an ONNX graph: raw uint8 images of any size in, the network's input out."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx.compose import add_prefix

from tlpipe.preprocess.image import ImagePreprocess

INPUT, VIEW = "image", "view"
PREFIX = "preprocess/"
FILTERS = {"bilinear": 'mode = "linear"', "bicubic": 'mode = "cubic", cubic_coeff_a = -0.5'}
"""Pillow's filters: its bicubic has a = -0.5, and both weigh only the pixels that exist at the border."""

GRAPH = """
<ir_version: {ir_version}, opset_import: ["": {opset}]>
preprocess (uint8[batch, height, width, 3] image) => (float[batch, 3, {size}, {size}] view)
<
  int64[2] front = {{0, 1}}, int64[2] spatial = {{2, 3}}, int64[2] two = {{2, 2}},
  int64[2] packed_shape = {{{resize_to}, {resize_to}}}, int64[2] view_shape = {{{size}, {size}}},
  int64[2] inner_margin = {{{margin}, {margin}}},
  float white = {{255}}, float[3, 1, 1] mean = {{{mean}}}, float[3, 1, 1] std = {{{std}}}
>
{{
  planes = Transpose <perm = [0, 3, 1, 2]> (image)
  raw_shape = Shape (planes)
  batch_and_channels = Gather (raw_shape, front)
  {resized_shape}
  sizes = Concat <axis = 0> (batch_and_channels, resized_shape)
  resized = Resize <{filter}, antialias = 1, exclude_outside = 1, coordinate_transformation_mode = "half_pixel">
    (planes, , , sizes)
  spare = Sub (resized_shape, packed_shape)
  outer_margin = Div (spare, two)
  start = Add (outer_margin, inner_margin)
  stop = Add (start, view_shape)
  cropped = Slice (resized, start, stop, spatial)
  real = Cast <to = 1> (cropped)
  scaled = Div (real, white)
  centred = Sub (scaled, mean)
  view = Div (centred, std)
}}
"""
"""Sizes are given for all four axes: onnxruntime's layout optimiser breaks a Resize that has `axes`."""

RESIZED = {
    "squash": "resized_shape = Identity (packed_shape)",
    "shorter": """raw_edges = Gather (raw_shape, spatial)
  shorter_edge = ReduceMin <keepdims = 1> (raw_edges)
  scaled_edges = Mul (raw_edges, packed_shape)
  resized_shape = Div (scaled_edges, shorter_edge)""",
}
"""`ImagePreprocess.resized_shape` in int64, whose Div rounds down for what is not negative."""


def preprocessing_graph(preprocess: ImagePreprocess, opset: int, ir_version: int) -> onnx.ModelProto:
    """The graph of `preprocess`.

    Its input is `image`, uint8 (batch, height, width, 3), RGB; its output is `view`, float32 (batch, 3, size, size).
    The resize is Pillow's within one grey level (exact where nothing is resized); all else is the same arithmetic.
    Names other than those two begin with `preprocess/`, so that none meets one of the network's.
    """
    text = GRAPH.format(
        ir_version=ir_version,
        opset=opset,
        size=preprocess.size,
        resize_to=preprocess.resize_to,
        margin=(preprocess.resize_to - preprocess.size) // 2,
        mean=_floats(preprocess.mean),
        std=_floats(preprocess.std),
        resized_shape=RESIZED[preprocess.resize],
        filter=FILTERS[preprocess.interpolation],
    )
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    return add_prefix(model, PREFIX, rename_inputs=False, rename_outputs=False)


def name_opset_once(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, changed: merging and optimising name ONNX's own domain twice, which onnxruntime's quantiser refuses."""
    versions = {each.domain: each.version for each in model.opset_import if each.domain != "ai.onnx"}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, number) for domain, number in versions.items())
    return model


def _floats(values: Sequence[float]) -> str:
    # float32 first: the shortest text of the double would be rounded once more by the parser.
    return ", ".join(repr(float(np.float32(value))) for value in values)
