"""torchvision, timm and optimizers without torch's compiler, which takes longer to import than all the rest.

torchvision imports one function of torch._dynamo that it calls in an operation of detection networks; timm has a
decorator from there. Either loads the compiler and sympy with it, two to three seconds of every process. While they are
imported, stand-ins take the compiler's place: calling the function loads it, and the decorator leaves the compiler's
own mark. Optimizers are wrapped so that the compiler leaves them alone, and the wrapper loads it for that.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"
UTILITIES = f"{COMPILER}.utils"
_lean = True


def stay_plain(plain: bool) -> None:
    """Whether imports and steps are torch's own from now on, with nothing that takes the compiler's place."""
    global _lean
    _lean = not plain


def lean_import(name: str) -> Any:
    """`importlib.import_module(name)`; the compiler stays out unless it is there already or more of it is wanted."""
    if COMPILER in sys.modules or not _lean:
        return importlib.import_module(name)
    with _stand_ins():
        return importlib.import_module(name)


def lean_optimizers() -> None:
    """From now on AdamW and SGD do not load the compiler; without effect if torch wraps them in another way."""
    base = torch.optim.Optimizer
    methods = [base.add_param_group, base.state_dict, base.load_state_dict, base.zero_grad]
    functions = [getattr(importlib.import_module(f"torch.optim.{name}"), name) for name in ("adam", "sgd")]
    for wrapped in methods + functions:
        inner = inspect.unwrap(wrapped)
        inner.__dynamo_disable = inner


def step(optimizer: torch.optim.Optimizer) -> None:
    """`optimizer.step()` without its hooks."""
    if not _lean:
        optimizer.step()
        return
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


@contextmanager
def _stand_ins() -> Iterator[None]:
    spec = find_spec(COMPILER)
    package, utilities = _StandIn(COMPILER), _StandIn(UTILITIES)
    package.__path__ = list(spec.submodule_search_locations or ()) if spec else []
    vars(package)["disable"], vars(utilities)["is_compile_supported"] = _disable, _is_compile_supported
    sys.modules.update({COMPILER: package, UTILITIES: utilities})
    try:
        yield
    finally:
        _remove()


class _StandIn(ModuleType):
    """Gives way to the real module when it is asked for anything else."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove()
        return getattr(importlib.import_module(self.__name__), name)


def _is_compile_supported(*arguments: Any) -> Any:
    return importlib.import_module(UTILITIES).is_compile_supported(*arguments)


def _disable(function: Callable[..., Any] | None = None, *_: Any, **options: Any) -> Any:
    if function is None:
        return _disable
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    return function


def _remove() -> None:
    for name in (COMPILER, UTILITIES):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
