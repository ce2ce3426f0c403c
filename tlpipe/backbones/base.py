"""The contract of a backbone: a spec that builds an encoder of ordered, named layer groups."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tlpipe.config import ConfigError, Spec
from tlpipe.preprocess import AnyPreprocess


class Encoder(nn.Module, ABC):
    """Preprocessed inputs to features (B, feature_dim) through layer groups ordered from the input to the top.

    The groups partition the parameters. `cuts` are the group indices at which the forward can be split:
    `run(run(x, 0, i), i)` equals `forward(x)` bit for bit for every i in `cuts`; 0 and len(groups) always are.
    """

    groups: tuple[str, ...]
    cuts: tuple[int, ...]
    feature_dim: int
    channel_axis: int = 1
    """Where 4-D activations between groups hold their channels: 1 for (B, C, H, W), -1 for (B, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen: frozenset[str] = frozenset()

    @abstractmethod
    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Groups `start` to `stop` (exclusive; None = to the end). Both must be in `cuts`."""

    @abstractmethod
    def members(self, group: str) -> Iterator[tuple[str, nn.Module]]:
        """(qualified name, module) of every module whose own parameters, buffers or randomness belong to `group`."""

    def forward(self, x: Tensor) -> Tensor:
        """The whole encoder: inputs (B, 3, S, S) for images, (B, C, L) for texts -> features (B, feature_dim)."""
        return self.run(x)

    def parameters_of(self, group: str) -> Iterator[tuple[str, nn.Parameter]]:
        """(qualified name, parameter) of one group."""
        for name, module in self.members(group):
            for local, parameter in module.named_parameters(recurse=False):
                yield f"{name}.{local}" if name else local, parameter

    @property
    def batch_norms(self) -> bool:
        """Whether it has batch norms; such networks bear several times the learning rate of transformers."""
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules())

    def freeze(self, groups: Collection[str]) -> Self:
        """Freeze exactly `groups`, and free all others; holds until the next call, whatever `train()` is told.

        A frozen group has no gradient, its norm layers use their stored statistics and its dropout is off, so
        it is a pure function of its sample.
        """
        unknown = sorted(set(groups) - set(self.groups))
        if unknown:
            raise ConfigError(f"no layer group named {unknown}; this backbone has {list(self.groups)}")
        self._frozen = frozenset(groups)
        for group in self.groups:
            for _, parameter in self.parameters_of(group):
                parameter.requires_grad_(group not in self._frozen)
                if group in self._frozen:
                    parameter.grad = None
        return self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but frozen groups stay in eval mode."""
        super().train(mode)
        for group in self._frozen:
            for _, module in self.members(group):
                module.training = False
        return self

    @torch.no_grad()
    def depths(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """(group, pooled features (B, D_g)) after the last group before each cut, from the input to the top."""
        yield from zip((self.groups[stop - 1] for stop in self.cuts[1:]), self.pooled_depths(x), strict=True)

    def pooled_depths(self, x: Tensor) -> Iterator[Tensor]:
        """What `depths` gives, without the names and with gradients."""
        for start, stop in zip(self.cuts, self.cuts[1:], strict=False):
            x = self.run(x, start, stop)
            yield pool(x, self.channel_axis)

    @torch.no_grad()
    def depth_widths(self, example: NDArray[Any]) -> tuple[int, ...]:
        """Features of each depth; a forward pass of an `example` input tells them."""
        place, training = next(self.parameters()).device, self.training
        self.eval()
        widths = tuple(features.shape[1] for features in self.pooled_depths(torch.from_numpy(example).to(place)))
        self.train(training)
        return widths


def pool(x: Tensor, channel_axis: int = 1) -> Tensor:
    """Maps (B, C, H, W) or, with `channel_axis` -1, (B, H, W, C); tokens (B, N, C); (B, C) -> (B, C), the mean."""
    if x.ndim == 4:
        return x.mean(dim=(2, 3) if channel_axis == 1 else (1, 2))
    return x.mean(dim=1) if x.ndim == 3 else x


def construct(build: Callable[[], nn.Module]) -> nn.Module:
    """`build()` on torch's default device; on `meta` even what computes its own shape with tensors (RegNet) works."""
    if torch.get_default_device().type != "meta":
        return build()
    try:
        with _Undrawn():
            return build()
    except (NotImplementedError, RuntimeError):
        with torch.device("cpu"):
            model = build()
        return model.to("meta")


class _Undrawn(TorchFunctionMode):
    """Draws no normal numbers: a tensor on `meta` has no values, and drawing them loads torch's compiler, seconds."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        return (*args, *given.values())[0] if func.__name__ == "normal_" else func(*args, **given)


class SequentialEncoder(Encoder):
    """Groups that are modules applied one after the other: every boundary is a cut."""

    def __init__(self, stages: dict[str, nn.Module], feature_dim: int, channel_axis: int = 1) -> None:
        super().__init__()
        self.channel_axis = channel_axis
        self.groups = tuple(stages)
        self.cuts = tuple(range(len(stages) + 1))
        self.feature_dim = feature_dim
        self.stages = nn.ModuleDict(stages)

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Groups `start` to `stop`, one after the other."""
        for group in self.groups[start:stop]:
            x = self.stages[group](x)
        return x

    def members(self, group: str) -> Iterator[tuple[str, nn.Module]]:
        """Every module below the group's stage."""
        yield from self.stages[group].named_modules(prefix=f"stages.{group}")


class Backbone(Spec):
    """A source backbone: what it is, where its weights come from, and how its inputs are made."""

    modality: ClassVar[Literal["image", "text"]]
    kind: str
    trained_here: ClassVar[bool] = False
    """True when the `pretrain` stage makes the weights; `pretrained()` is then not available."""

    @property
    def reads(self) -> Literal["image", "text"] | None:
        """What its inputs are; None where that is not known yet."""
        return self.modality

    @property
    def settled(self) -> bool:
        """Whether it is known which network this is; else the choose stage has to have run."""
        return True

    @property
    def tokens(self) -> bool:
        """Whether its features are those of every token (B, L, D); else they are of the whole sample (B, D)."""
        return False

    @property
    def hidden_size(self) -> int | None:
        """Of a transformer's hidden states on texts; None for networks on images. What bf16 gains depends on it."""
        return None

    def preprocess(self) -> AnyPreprocess:
        """The preprocessing that these weights were trained with. Cheap: no weights are read."""
        raise NotImplementedError

    def resolved(self) -> Self:
        """The same backbone, described so that `encoder()` needs nothing but the description."""
        return self

    def prepare_tokenizer(self, folder: Path) -> None:
        """Write what turns raw texts into tokens to `folder`, which exists; images need nothing of the kind."""

    def encoder(self) -> Encoder:
        """The architecture with fresh random weights (torch's global generator); nothing is downloaded or read."""
        raise NotImplementedError

    def skeleton(self) -> Encoder:
        """The encoder without its numbers: groups, names and shapes only; takes no memory and reads no file."""
        with torch.device("meta"):
            return self.encoder()

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """The encoder with its pretrained weights, and where they came from.

        The provenance has `origin` (file, hub id or weights enum), `sha256` of the weights, `skipped` (names of
        the classifier tensors that were left out on purpose). Raises ConfigError when keys do not match.
        """
        raise NotImplementedError
