"""The same convolutions by operations that CPUs have faster ones of (measured with torch 2.15's oneDNN: docs/speed.md).

A norm layer on its stored statistics is a linear map of each channel, so it is multiplied into the convolution before
it, and stays a layer of its own in every state dict. The input gradient of a strided depthwise convolution has no bf16
kernel, only a reference loop that takes twenty times as long, so this one product is computed in fp32.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from tlpipe.backbones.base import Encoder

GRADIENTS = torch.ops.aten.convolution_backward


class FoldedNorm(nn.BatchNorm2d):
    """A batch norm whose work the convolution before it does while it uses its stored statistics."""

    done = False
    """Whether the last call of that convolution did it."""

    def into(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Kernel (C', C, h, w) and bias (C',) of the convolution followed by this norm."""
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return weight * scale.view(-1, 1, 1, 1), self.bias - (mean if bias is None else mean - bias) * scale

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(B, C, H, W) -> the same shape."""
        if not self.done:
            return super().forward(input)
        self.done = False
        return input


class Quick(nn.Conv2d):
    """A convolution that takes the norm after it along where it can, and knows the faster input gradient."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(B, C, H, W) -> (B, C', H', W')."""
        weight, bias, norm = self.weight, self.bias, self.__dict__.get("norm")
        # not a norm that has become another kind since, as processes that share a batch have
        if type(norm) is FoldedNorm:
            # one that somebody watches has to be given what it is given without this
            norm.done = not (norm.training or norm._forward_pre_hooks or norm._forward_hooks)
            if norm.done:
                weight, bias = norm.into(weight, bias)
        if not (_is_strided_depthwise(self) and torch.is_autocast_enabled("cpu")):
            result: Tensor = self._conv_forward(input, weight, bias)
            return result
        low = torch.get_autocast_dtype("cpu")
        cast = (None if bias is None else bias.to(low), list(self.stride), list(self.padding), list(self.dilation))
        found: Tensor = _Strided.apply(input.to(low), weight.to(low), *cast)
        return found


class _Strided(torch.autograd.Function):
    """A strided depthwise convolution in bf16, its input gradient in fp32."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *shape: list[int]) -> Tensor:
        """As torch's own."""
        context.save_for_backward(x, weight)
        context.shape, context.bias = shape, None if bias is None else list(bias.shape)
        result: Tensor = torch.ops.aten.convolution(x, weight, bias, *shape, False, [0, 0], len(weight))
        return result

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that are asked for, in the precision of what they are of."""
        (x, weight), (given,) = context.saved_tensors, gradients
        more = (*context.shape, False, [0, 0], len(weight))
        wanted = context.needs_input_grad
        _, kernel, bias = GRADIENTS(given, x, weight, context.bias, *more, [False, *wanted[1:3]])
        if not wanted[0]:
            return None, kernel, bias, None, None, None
        like = torch.empty_like(x, dtype=torch.float32)  # of its values this gradient needs none
        exact, _, _ = GRADIENTS(given.float(), like, weight.float(), None, *more, [True, False, False])
        return exact.to(x.dtype), kernel, bias, None, None, None


def quicken(model: nn.Module) -> None:
    """Let a model's convolutions choose the faster operations; names and values of its state stay. For CPUs."""
    for encoder in [each for each in model.modules() if isinstance(each, Encoder)]:
        for convolution, norm in _pairs(encoder):
            convolution.__dict__["norm"] = norm  # not a submodule: it has its place in the model already
            convolution.__class__, norm.__class__ = Quick, FoldedNorm
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_strided_depthwise(module):
            module.__class__ = Quick


def _is_strided_depthwise(module: nn.Conv2d) -> bool:
    one = module.groups == module.in_channels == module.out_channels
    return one and module.groups > 1 and max(module.stride) > 1 and module.padding_mode == "zeros"


def _pairs(encoder: Encoder) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions whose result goes into one batch norm of the same layer group and nowhere else.

    An encoder that torch.fx cannot trace has none.
    """
    if not any(type(module) is nn.BatchNorm2d for module in encoder.modules()):
        return
    try:
        nodes = fx.Tracer().trace(encoder).nodes
    except Exception:  # whatever a network does that has no symbolic form
        return
    group = {id(module): group for group in encoder.groups for _, module in encoder.members(group)}
    calls = [node.target for node in nodes if node.op == "call_module"]
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        names = (str(before.target), str(node.target))
        convolution, norm = (encoder.get_submodule(name) for name in names)
        once = all(calls.count(name) == 1 for name in names)
        if once and type(convolution) is nn.Conv2d and _is_plain(norm) and group[id(convolution)] == group[id(norm)]:
            yield convolution, norm  # type: ignore[misc]


def _is_plain(norm: nn.Module) -> bool:
    return type(norm) is nn.BatchNorm2d and norm.affine and norm.track_running_stats
