import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tlpipe.backbones.own import build_own
from tlpipe.config import ConfigError

MODELS = """
import torch
from torch import nn
from torch.nn import functional as F

def in_order():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.top, self.fc = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 8, 3), nn.Linear(8, 5)
    def forward(self, x):
        return self.fc(F.relu(self.top(F.relu(self.stem(x)))).mean((2, 3)))

class Pool(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))

class Staged(Functional):
    def stages(self):
        return {"low": nn.Sequential(self.stem, nn.ReLU()), "high": nn.Sequential(self.top, nn.ReLU(), Pool())}

class Wrong(Functional):
    def stages(self):
        return {"low": self.stem, "high": nn.Sequential(self.top, nn.ReLU(), Pool())}

class Forgetful(Functional):
    def stages(self):
        return {"high": nn.Sequential(self.top, Pool())}

class Headless(Functional):
    def __init__(self):
        super().__init__()
        self.fc = nn.Identity()

def number():
    return 3
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_models", raising=False)
    yield
    sys.modules.pop("my_models", None)


@pytest.mark.parametrize(
    ("name", "groups"), [("my_models:in_order", ("0", "2", "3")), ("my_models:Staged", ("low", "high"))]
)
def test_groups_of_an_own_architecture(
    name: str, groups: tuple[str, ...], contract: Any, images: Callable[[int], Tensor]
) -> None:
    x = images(32)
    model, encoder = build_own(name, 32)
    assert encoder.groups == groups
    assert encoder.feature_dim == 8
    contract.holds(encoder, x)
    contract.rebuilds(lambda: build_own(name, 32)[1], x)
    head = model[-1] if name.endswith("in_order") else model.fc
    with torch.no_grad():
        assert torch.equal(model.eval()(x), head(encoder.eval()(x)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_models:Functional", "cannot run|do not give what its classifier gets"),
        ("my_models:Wrong", "one after the other, do not give what its classifier gets"),
        ("my_models:Forgetful", r"in no stage and not in the classifier: \['stem\.weight', 'stem\.bias'\]"),
        ("my_models:Headless", "0 Linear layers behind them"),
        ("my_models:number", "returned int, not an nn.Module"),
        ("my_models:Stagd", "has no 'Stagd'; did you mean 'Staged'"),
        ("your_models:Staged", "'your_models:Staged' cannot be imported from"),
    ],
)
def test_what_cannot_be_cut_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_own(name, 32)
