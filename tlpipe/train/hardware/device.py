"""Where and in which precision things are computed: one rule, overridable, said aloud."""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from tlpipe.backbones.lean import lean_optimizers, stay_plain
from tlpipe.config import ConfigError, Spec
from tlpipe.cores import usable_cores
from tlpipe.train.hardware.convolution import quicken
from tlpipe.train.hardware.distributed import Team, team
from tlpipe.train.hardware.memory import hold_on
from tlpipe.train.hardware.precision import fastest, repeat_bits
from tlpipe.train.trainer.compiling import compiled, refuse_without_compiler


class Runtime(Spec):
    """The machine's part of a training. `auto` takes CUDA where there is one, else Apple's MPS, else the CPU."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device of training and evaluation; auto = CUDA where there is one, else Apple's MPS, else the CPU."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of matrix products; auto = bf16 on CUDA devices that have it (compute capability 8.0 and above), fp16
    with a scaled loss on older ones with tensor cores (7.0), bf16 on CPUs that have it in hardware (networks of
    convolutions, and transformers at least 128 wide); fp32 elsewhere. It follows from the hardware alone and is
    recorded with each training. Weights stay fp32; fp16 is for CUDA, and not for `shard`."""
    compile: bool = False
    """torch.compile the network: a minute at the start, faster steps after; for long trainings on a GPU."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads; 0 = one for each core that this process may use by its affinity, its container's quota and
    OMP_NUM_THREADS."""
    cpu_tricks: bool = True
    """Let CPUs compute with what is faster and gives the same within rounding: convolutions and norms of other classes,
    memory that is not given back, optimizers and torchvision without torch's compiler. false leaves every module, the
    allocator and torch as they are: slower, for debugging."""

    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes on this machine that train together (torchrun, DistributedDataParallel): one a GPU. The batch is shared
    out between them, and the result is that of one process within floating-point tolerance."""
    shard: bool = False
    """Share weights, gradients and the optimizer's moments out between the processes too (FSDP2), for models that do
    not fit beside them; slower. With one process there is nothing to share."""

    def resolve(self, width: int | None = None) -> "Machine":
        """The machine to run on. Raises ConfigError when what was asked for is not there.

        `width` is that of the backbone that is to run there (`Backbone.hidden_size`).
        """
        device, together = self._device(), team()
        if self.processes > 1 and device.type == "cuda" and self.processes > torch.cuda.device_count():
            raise ConfigError(
                f"runtime.processes: {self.processes} were asked for, but this machine has "
                f"{torch.cuda.device_count()} GPUs; give at most as many, or set runtime.device to cpu"
            )
        if self.processes > 1 and device.type == "mps":
            raise ConfigError(
                f"runtime.processes: {self.processes} were asked for, and Apple's GPU is one, which has no float64 for "
                "norms over several processes either; set it to 1, or runtime.device to cpu"
            )
        stay_plain(not self.cpu_tricks)
        if self.cpu_tricks:
            hold_on()
        if self.cpu_tricks and not self.compile:
            lean_optimizers()
        torch.set_num_threads(self.threads or max(1, usable_cores() // together.here))
        shared = self.shard and together.size > 1
        if device.type == "cuda":
            repeat_bits()
        dtype = self._dtype(device, width, together, shared)
        return Machine(device, dtype, self.compile, together, shared, self.cpu_tricks)

    def _dtype(self, device: torch.device, width: int | None, together: Team, shared: bool) -> torch.dtype:
        if self.precision == "auto":
            return together.gather(fastest(device, width, shared))[0]
        if self.precision == "fp16" and (device.type != "cuda" or shared):
            why = "shares weights out between processes" if shared else f"is to run on {device.type}"
            raise ConfigError(
                f"runtime.precision: fp16 was asked for, and this {why}; allowed there: fp32, bf16, or auto, which "
                "takes what the hardware is fast in"
            )
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def _device(self) -> torch.device:
        available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if self.device == "auto":
            return _numbered(next(name for name in ("cuda", "mps", "cpu") if available[name]))
        if not available[self.device]:
            there = ", ".join(name for name, is_there in available.items() if is_there)
            raise ConfigError(
                f"runtime.device: {self.device} was asked for, but this machine has {there} "
                f"(torch {torch.__version__}); install the driver, or set runtime.device to auto"
            )
        return _numbered(self.device)


def _numbered(name: str) -> torch.device:
    """Each process of a team has a GPU of its own."""
    return torch.device(name, team().local_rank) if name == "cuda" and team().size > 1 else torch.device(name)


class Machine:
    """A resolved Runtime."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        compile_model: bool,
        together: Team | None = None,
        shard: bool = False,
        tricks: bool = True,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.compile_model = compile_model
        self.team = together or Team()
        self.shard = shard
        """Whether each process of the team keeps only a part of what trains."""
        self.tricks = tricks
        """Whether modules on a CPU get the faster operations of `quicken`."""

    def refuse_what_fails(self) -> None:
        """Raise ConfigError now about what would else fail in the first training step."""
        if self.compile_model:
            refuse_without_compiler(self.device.type)

    def forward_of(self, network: nn.Module, lengths_vary: bool) -> nn.Module:
        """What a phase's steps call: `network`, compiled if that is asked for; see `compiled`."""
        return compiled(network, lengths_vary) if self.compile_model else network

    def describe(self) -> str:
        """One line for people: device, precision, threads."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        processes = (
            f", {self.team.size} processes{' that share the weights out' if self.shard else ''}"
            if self.team.size > 1
            else ""
        )
        return f"{name}, {self.precision}{', compiled' if self.compile_model else ''}{threads}{processes}"

    @property
    def precision(self) -> str:
        """`bf16`, `fp16` or `fp32`."""
        return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(self.dtype, "fp32")

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes run."""
        return nullcontext() if self.dtype is torch.float32 else torch.autocast(self.device.type, self.dtype)

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, convolutions in channels-last layout: 1.0 to 1.5 times as fast on a CPU.

        On a CPU they also get the faster operations of `quicken`, unless `Runtime.cpu_tricks` is false.
        """
        if self.device.type == "cpu" and self.tricks:
            quicken(module)
        narrow = self.device.type == "cpu" and any(_crashes_channels_last(part) for part in module.modules())
        layout = torch.contiguous_format if narrow else torch.channels_last
        return module.to(device=self.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _crashes_channels_last(module: nn.Module) -> bool:
    """Whether oneDNN's backward corrupts the heap: strided 1x1 convolutions of under 8 channels (torch 2.15)."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(int(stride) for stride in module.stride) > 1
        and module.in_channels < 8
    )
