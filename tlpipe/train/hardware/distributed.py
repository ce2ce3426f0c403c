"""Several processes that train one model together: torchrun starts them, each takes its share of every batch."""

import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tlpipe.config import ConfigError
from tlpipe.train.hardware.convolution import FoldedNorm

T = TypeVar("T")
RESTARTS = 3
"""How often torchrun starts the workers again after one of them died; they go on from the recovery state."""
REFUSALS = "TLPIPE_REFUSALS"
"""Names the file by which a worker tells the process that launched it that the configuration was refused."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, FoldedNorm)
KNOWN = {*(norm.__name__ for norm in NORMS), "SyncBatchNorm", "_SyncedNorm"}


class Team:
    """The processes of one training. A team of one needs no torchrun, and all methods are then trivial."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0, here: int = 1) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank
        self.here = here
        """Processes of the team on this machine."""

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether this process writes what every machine keeps for itself."""
        return self.local_rank == 0

    def turns(self, values: Sequence[T]) -> Sequence[T]:
        """Every `size`-th of `values`: this process's when they are dealt out in turn."""
        return values[self.rank :: self.size]

    def evened(self, values: Sequence[T], needed: bool) -> Sequence[T]:
        """`values`, the last one repeated until all processes have equally many turns, if that is `needed`.

        Processes that share a model's weights out can compute only together.
        """
        return [*values, *[values[-1]] * (-len(values) % self.size)] if needed and values else values

    def in_turn(self, mine: Sequence[T]) -> list[T]:
        """What all processes made of their `turns`, in the order that was dealt out."""
        rounds = zip_longest(*self.gather(list(mine)), fillvalue=None)
        return [value for each in rounds for value in each if value is not None]

    def share(self, count: int) -> slice:
        """This process's part of `count` samples; the parts differ by at most one.

        Raises ConfigError when a process would get none: it could not take part in the step.
        """
        if count < self.size:
            raise ConfigError(
                f"runtime.processes: a batch of {count} samples cannot be shared out between {self.size} processes; "
                f"set training.batch_size to at least {2 * self.size}, or runtime.processes to at most {count}"
            )
        each, more = divmod(count, self.size)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank; every process must call it, and gets them."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes; `value` is left alone."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients that are means over the processes, for the parameters that train now."""
        if self.size == 1 or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        return DistributedDataParallel(model, broadcast_buffers=False)


@cache
def team() -> Team:
    """The team that torchrun put this process into; a team of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team()
    _die_with_parent()
    local = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        require_device(local)
        torch.cuda.set_device(local)
    store, rank, _ = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        # torchrun keeps its store when it starts workers again, with the dead ones' addresses in it
        store = dist.PrefixStore(  # type: ignore[attr-defined]
            f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store
        )
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    return Team(dist.get_rank(), size, local, int(os.environ["LOCAL_WORLD_SIZE"]))


def require_device(number: int) -> None:
    """Raise ConfigError when this machine has no GPU with this number: CUDA says only `invalid device ordinal`."""
    if number >= (count := torch.cuda.device_count()):
        raise ConfigError(
            f"process {number + 1} on this machine would use GPU number {number}, and there are {count}: start at most "
            f"{count} processes a machine (runtime.processes, or torchrun's --nproc-per-node), or make more GPUs "
            f"visible (CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')!r})"
        )


def launch(processes: int, module: str, arguments: Sequence[str]) -> None:
    """Run `python -m module arguments` as `processes` workers of torchrun and exit as they did.

    Returns at once where one process is wanted, and in the workers, also in those of a torchrun of the user's own.
    """
    if processes == 1 or "WORLD_SIZE" in os.environ:
        return
    from torch.distributed.run import main as torchrun

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # else torchrun says so; the workers set their threads themselves
    with tempfile.TemporaryDirectory() as folder:
        os.environ[REFUSALS] = str(Path(folder, "refusal"))
        workers = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}"]
        torchrun([*workers, "-m", module, *arguments])
        sys.exit(2 if Path(os.environ[REFUSALS]).is_file() else 0)


def refuse() -> None:
    """Exit with code 2 after a message; torchrun must not try again what was refused."""
    if REFUSALS not in os.environ:
        sys.exit(2)
    Path(os.environ[REFUSALS]).touch()
    os._exit(0)


def _die_with_parent() -> None:
    """Ask Linux to kill this worker when torchrun is killed: nobody else would, and its heir would meet it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class _SumOverTeam(torch.autograd.Function):
    """All-reduce whose gradient is all-reduced too: every process's loss depends on every process's input."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        """The sum over the processes."""
        return team().sum(value)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """The sum of the processes' gradients."""
        return team().sum(gradients[0].contiguous())


class _SyncedNorm(_BatchNorm):
    """Batch normalisation over the whole batch of all processes; torch's own SyncBatchNorm is for GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002
        pass

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(B, C, ...) -> the same shape; B may differ between the processes."""
        if not self.training:
            return super().forward(input)
        axes, channels = [axis for axis in range(input.ndim) if axis != 1], input.shape[1]
        exact = input.double()  # the variance is a difference of sums
        count = exact.new_tensor([input.numel() / channels])
        sums = _SumOverTeam.apply(torch.cat([exact.sum(axes), (exact * exact).sum(axes), count]))
        total = sums[-1].detach()
        mean = sums[:channels] / total
        variance = (sums[channels:-1] / total - mean * mean).clamp_min(0)
        self._remember(mean.detach(), variance.detach() * total / (total - 1))
        shape = [1, -1, *[1] * (input.ndim - 2)]
        scale = torch.rsqrt(variance + self.eps) * self.weight
        shift = self.bias - mean * scale
        scale, shift = (each.to(input.dtype).view(shape) for each in (scale, shift))
        normalised: Tensor = input * scale + shift
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def synchronise_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """Batch norms that see the whole batch of all processes; names and values of the state stay."""
    strange = sorted({type(each).__name__ for each in model.modules() if isinstance(each, _BatchNorm)} - KNOWN)
    if strange:
        raise ConfigError(
            f"runtime.processes: this backbone's {', '.join(strange)} cannot use the statistics of a batch that "
            "several processes share; set runtime.processes to 1, or training.norm_statistics to source "
            "(and leave out scratch)"
        )
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if type(module) in NORMS and module.affine:
            module.__class__ = _SyncedNorm
    return model
