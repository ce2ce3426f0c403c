"""What of a layer group trains: all of it, its norm layers, or low-rank adapters of its matrices."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlpipe.strategies.counting import Size
from tlpipe.strategies.plan import HEAD, Adapt, Lora, Phase, Plan
from tlpipe.train.model import Classifier
from tlpipe.train.trainer.randomness import torch_generator

Pairs = list[tuple[str, nn.Parameter]]


def layer_groups(model: Classifier) -> Iterator[tuple[str, Pairs]]:
    """(group, its (name, parameter) pairs) from the input to the head."""
    for group in model.encoder.groups:
        yield group, list(model.encoder.parameters_of(group))
    yield HEAD, list(model.head.named_parameters())


def count_parameters(model: Classifier) -> dict[str, int]:
    """Number of parameters of every layer group and the head."""
    return {group: _count(pairs) for group, pairs in layer_groups(model)}


def sizes(model: Classifier, plan: Plan) -> dict[str, Size]:
    """Parameters of every layer group and the head, and of what a phase of `plan` may train of them."""
    found = {}
    for group, pairs in layer_groups(model):
        inner = group != HEAD
        norms = _count(adapted(model, group, "norms", None)) if inner else 0
        matrices = adapted(model, group, "lora", plan.lora) if inner and plan.lora else []
        adapters = sum(plan.lora.rank * sum(_flat(each).shape) for _, each in matrices) if plan.lora else 0
        found[group] = Size(_count(pairs), norms, adapters)
    return found


def _count(pairs: Pairs) -> int:
    return sum(parameter.numel() for _, parameter in pairs)


def adapted(model: Classifier, group: str, adapt: Adapt, lora: Lora | None) -> Pairs:
    """The (name, parameter) pairs of a group that move when that much of it is adapted.

    Norm layers are the modules that are called so and hold one-dimensional tensors only. Low-rank adapters are for
    matrices and kernels with more than `rank` rows and columns, but not for embeddings, whose rows are looked up.
    """
    if group == HEAD:
        return list(model.head.named_parameters())
    if adapt == "all":
        return list(model.encoder.parameters_of(group))
    return [
        (f"{name}.{local}" if name else local, parameter)
        for name, module in model.encoder.members(group)
        for local, parameter in module.named_parameters(recurse=False)
        if (_is_norm(module) if adapt == "norms" else _takes_adapter(module, local, parameter, lora))
    ]


def _is_norm(module: nn.Module) -> bool:
    named = "norm" in type(module).__name__.lower()
    return named and all(parameter.ndim <= 1 for parameter in module.parameters(recurse=False))


def _takes_adapter(module: nn.Module, local: str, parameter: nn.Parameter, lora: Lora | None) -> bool:
    if lora is None or isinstance(module, nn.Embedding) or parameter.ndim < 2 or not local.endswith("weight"):
        return False
    return min(_flat(parameter).shape) > lora.rank


def _flat(parameter: Tensor) -> Tensor:
    """A matrix or kernel as (outputs, everything else)."""
    return parameter.flatten(1)


def apply_freeze(model: Classifier, phase: Phase, lora: Lora | None = None) -> None:
    """Make exactly what the phase trains trainable, for real: gradients, norm statistics and dropout.

    In a group that is adapted in part, the rest keeps its weights, and the group's norm layers and dropout train.
    Adapted matrices have a gradient, from which `Adapters` takes that of its factors.
    """
    model.encoder.freeze([group for group in phase.frozen if group != HEAD])
    for group in phase.trainable if phase.adapt != "all" else ():
        moving = {id(parameter) for _, parameter in adapted(model, group, phase.adapt, lora)}
        for _, parameter in model.encoder.parameters_of(group) if group != HEAD else ():
            if id(parameter) not in moving:
                parameter.requires_grad_(False)
                parameter.grad = None
    trains = phase.rates[HEAD] is not None
    for parameter in model.head.parameters():
        parameter.requires_grad_(trains)
        if not trains:
            parameter.grad = None


class Adapters:
    """The factors of W = W0 + scale * B A for some matrices of a model; W itself is kept merged.

    The network computes with W as it is, so that everything else (validation, checkpoints, averages, export) sees a
    plain network. The gradients of the factors follow from W's: dB = scale * dW A^T and dA = scale * B^T dW. That
    saves the optimizer's memory, as adapters beside the layers do, and not the gradient's.
    """

    def __init__(self, pairs: Pairs, lora: Lora, seed: int) -> None:
        self.scale = lora.alpha / lora.rank
        self.pairs = dict(pairs)
        self.before = {name: weight.detach().clone() for name, weight in pairs}
        self.factors: dict[str, nn.Parameter] = {}
        for name, weight in pairs:
            rows, columns = _flat(weight).shape
            drawn = torch.rand(lora.rank, columns, generator=torch_generator(seed, "lora", name))
            # as in the paper's code: Kaiming-uniform A with a = sqrt(5), B = 0, so that training begins with W0
            self.factors[f"{name}.A"] = nn.Parameter(((2 * drawn - 1) / columns**0.5).to(weight.device))
            self.factors[f"{name}.B"] = nn.Parameter(torch.zeros(rows, lora.rank, device=weight.device))

    def of(self, names: Iterator[str] | list[str]) -> list[nn.Parameter]:
        """The factors of the named matrices."""
        return [self.factors[f"{name}.{factor}"] for name in names for factor in "AB"]

    @torch.no_grad()
    def pull(self) -> None:
        """Turn the gradients of the matrices into those of the factors."""
        for name, weight in self.pairs.items():
            if weight.grad is None:
                continue
            a, b, gradient = self.factors[f"{name}.A"], self.factors[f"{name}.B"], _flat(weight.grad)
            a.grad, b.grad = self.scale * (b.T @ gradient), self.scale * (gradient @ a.T)
            weight.grad = None

    @torch.no_grad()
    def merge(self) -> None:
        """Write W0 + scale * B A into the matrices; from W0 each time, so that no rounding adds up."""
        for name, weight in self.pairs.items():
            product = self.factors[f"{name}.B"] @ self.factors[f"{name}.A"]
            weight.copy_(self.before[name] + self.scale * product.view_as(weight))

    @torch.no_grad()
    def load(self, factors: dict[str, Tensor]) -> None:
        """Go on with saved factors."""
        for name, value in factors.items():
            self.factors[name].copy_(value)
