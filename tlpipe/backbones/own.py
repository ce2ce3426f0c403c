"""A user's own architecture as an encoder.

The callable takes no arguments and returns an `nn.Module` with one `nn.Linear` classifier. It says where it can be cut
in one of two ways:

- it has a method `stages() -> dict[str, nn.Module]`: layer groups from the input to the top, sharing the module's
  parameters, which applied one after the other make what the classifier gets;
- or its forward is simply its children in order. Then each child with parameters is a group of its name, and a child
  without (ReLU, pooling, flatten) joins the group before it.

Either way the result is compared, bit for bit, with what the module's own forward hands to its classifier.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlpipe.backbones.base import SequentialEncoder, construct
from tlpipe.config import ConfigError, suggest

HELP = "see the top of tlpipe/backbones/own.py for what the callable has to return"


def build_own(name: str, size: int) -> tuple[nn.Module, SequentialEncoder]:
    """The module that `package.module:callable` makes, and the encoder that shares its parameters.

    Checked against the module's own forward on (2, 3, size, size), except on the meta device. Raises ConfigError.
    """
    model = construct(_import(name))
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{name} returned {type(model).__name__}, not an nn.Module; {HELP}")
    # On the class: a child module that happens to be called `stages` is no answer.
    method = getattr(type(model), "stages", None)
    stages = dict(method(model)) if callable(method) else _children(model)
    head = _classifier(model, stages, name)
    encoder = SequentialEncoder(stages, head.in_features)
    if head.weight.device.type != "meta":
        _check(model, head, encoder, size, name)
    return model, encoder


def _import(name: str) -> Callable[[], Any]:
    module, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        # `python -m` does this, an installed command does not; the project's folder is where users put their modules.
        sys.path.insert(0, folder)
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ConfigError(f"{name!r} cannot be imported from {folder}: {error}") from error
    except AttributeError:
        public = [word for word in dir(sys.modules[module]) if not word.startswith("_")]
        raise ConfigError(f"module {module!r} has no {attribute!r}{suggest(attribute, public)}") from None
    return found


def _children(model: nn.Module) -> dict[str, nn.Module]:
    """Every child before the last, those without parameters joined to the one before."""
    parts: dict[str, list[nn.Module]] = {}
    waiting: list[nn.Module] = []
    for name, child in list(model.named_children())[:-1]:
        if any(True for _ in child.parameters()):
            parts[name], waiting = [*waiting, child], []
        elif parts:
            parts[list(parts)[-1]].append(child)
        else:
            waiting.append(child)
    return {name: nn.Sequential(*modules) for name, modules in parts.items()}


def _classifier(model: nn.Module, stages: dict[str, nn.Module], name: str) -> nn.Linear:
    """The one Linear outside the stages, which must own every parameter that they do not."""
    inside = {id(parameter) for stage in stages.values() for parameter in stage.parameters()}
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and id(m.weight) not in inside]
    if not stages or len(linear) != 1:
        raise ConfigError(
            f"{name} has {len(stages)} stages and {len(linear)} Linear layers behind them, not one; {HELP}"
        )
    inside |= {id(parameter) for parameter in linear[0].parameters()}
    left_out = [key for key, parameter in model.named_parameters() if id(parameter) not in inside]
    if left_out:
        raise ConfigError(f"{name} has parameters in no stage and not in the classifier: {left_out}; {HELP}")
    return linear[0]


@torch.no_grad()
def _check(model: nn.Module, head: nn.Linear, encoder: SequentialEncoder, size: int, name: str) -> None:
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    x = torch.linspace(-2, 2, 2 * 3 * size * size, device=head.weight.device).reshape(2, 3, size, size)
    try:
        model.eval()(x)
        features = encoder.eval()(x)
    except (RuntimeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{name} or its stages cannot run on inputs (2, 3, {size}, {size}): {error}; {HELP}"
        ) from error
    finally:
        hook.remove()
        model.train()
        encoder.train()
    if len(seen) != 1 or not torch.equal(seen[0], features):
        raise ConfigError(f"the stages of {name}, one after the other, do not give what its classifier gets; {HELP}")
