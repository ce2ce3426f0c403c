"""Weights, gradients and moments that are shared out between the processes of a team: for models that do not fit.

torch's fully sharded data parallelism (`fully_shard`, FSDP2; the idea is ZeRO's, arXiv 1910.02054): each process keeps
a part of every tensor, a layer's whole tensors are put together for as long as that layer computes, and its gradients
are averaged and cut up again. What leaves a training, its checkpoints and its model, is made of whole tensors.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tlpipe.backbones.base import Encoder
from tlpipe.train.model import Classifier


def shard(model: Classifier, device: torch.device, processes: int) -> None:
    """Share a model's parameters out between all processes, layer by layer; every process must call it."""
    # here and below, because these modules take a second to import and most trainings do not need them
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    model.to(memory_format=torch.contiguous_format)  # no other layout can be cut up
    mesh = init_device_mesh(device.type, (processes,))
    for module in (*units(model.encoder), model.encoder, model.head):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model.encoder, "run")  # what a Classifier and the frozen pass call


def units(encoder: Encoder) -> Iterator[nn.Module]:
    """The largest modules with parameters that belong to one layer group alone; the encoder holds the others."""
    for group in encoder.groups:
        members = [module for _, module in encoder.members(group)]
        own = {id(module) for module in members}
        below: set[int] = set()
        for module in members:
            inside = [each for each in module.modules() if any(True for _ in each.parameters(recurse=False))]
            if id(module) in below or not inside or not all(id(each) in own for each in inside):
                continue
            below |= {id(each) for each in module.modules()}
            yield module


def whole(value: Any) -> Any:
    """`value` (tensors in dicts, lists and tuples) with its shared-out tensors put together; on every process."""
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(each) for each in value)
    return value.full_tensor() if is_part(value) else value


def parts(weights: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, the same on every process, shared out as those of `like` are."""
    return {name: part(value, like[name]) for name, value in weights.items()}


def part(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, if `like` is shared out."""
    if not is_part(like) or is_part(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    of: Any = like
    return distribute_tensor(value.to(like.device), of.device_mesh, of.placements, src_data_rank=None)


def is_part(value: object) -> bool:
    """Whether a tensor is shared out between processes."""
    return hasattr(value, "full_tensor")


@torch.no_grad()
def share_moments(optimizer: torch.optim.Optimizer) -> None:
    """Share out what an optimizer was just loaded with, as its parameters are."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = part(value, parameter)
