"""Parameter groups by identity: every trainable tensor in exactly one, with its layer group's real rate."""

from collections.abc import Iterator

import torch
from torch import nn

from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.train.model import Classifier
from tlpipe.train.spec import Training


def layer_groups(model: Classifier) -> Iterator[tuple[str, list[tuple[str, nn.Parameter]]]]:
    """(group, its (name, parameter) pairs) from the input to the head."""
    for group in model.encoder.groups:
        yield group, list(model.encoder.parameters_of(group))
    yield HEAD, list(model.head.named_parameters())


def count_parameters(model: Classifier) -> dict[str, int]:
    """Number of parameters of every layer group and the head."""
    return {group: sum(parameter.numel() for _, parameter in pairs) for group, pairs in layer_groups(model)}


def build_optimizer(model: Classifier, plan: Plan, training: Training) -> torch.optim.Optimizer:
    """One optimizer for the whole plan, so that moments survive the phases; rates are set a step at a time.

    Each group of the plan gives two parameter groups, with and without weight decay; one-dimensional tensors
    (biases, norms) have none. Groups that never train are left out; a plan without phases never steps the head's.
    """
    groups: list[dict[str, object]] = []
    for name, pairs in layer_groups(model):
        if name not in (plan.ever_trained or (HEAD,)):
            continue
        for decays in (True, False):
            tensors = [parameter for _, parameter in pairs if (parameter.ndim > 1) is decays]
            if tensors:
                decay = training.weight_decay if decays else 0.0
                groups.append({"params": tensors, "layer_group": name, "weight_decay": decay})
    if training.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=0.0, fused=next(model.parameters()).device.type in ("cuda", "cpu"))


def set_rates(optimizer: torch.optim.Optimizer, phase: Phase, factor: float) -> None:
    """Set lr to the phase's peak rate of the layer group x `factor`; frozen groups get 0 (and have no gradient)."""
    for group in optimizer.param_groups:
        group["lr"] = (phase.rates[group["layer_group"]] or 0.0) * factor


def apply_freeze(model: Classifier, phase: Phase) -> None:
    """Make exactly the phase's trainable groups trainable, for real: gradients, norm statistics and dropout."""
    model.encoder.freeze([group for group in phase.frozen if group != HEAD])
    trains = phase.rates[HEAD] is not None
    for parameter in model.head.parameters():
        parameter.requires_grad_(trains)
        if not trains:
            parameter.grad = None
