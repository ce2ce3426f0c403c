"""Nothing that trains, embeds or checks loads torch's compiler, and what needs it still finds it."""

import subprocess
import sys
import textwrap

import pytest

ABSENT = "assert 'torch._dynamo' not in sys.modules and 'sympy' not in sys.modules"
NETWORK = "from tlpipe.backbones.torchvision import build; build('mobilenet_v2', 64)"
TIMM = "from tlpipe.backbones.timm import build; build('resnet10t')"
META = f"""
with torch.device("meta"):
    {NETWORK}
"""
STEPS = """
from tlpipe.backbones.lean import step
from tlpipe.train.hardware.device import Runtime
Runtime(device="cpu", precision="fp32").resolve()
weights = [torch.ones(3, requires_grad=True)]
for optimizer in (torch.optim.AdamW(weights, lr=0.1, fused=True), torch.optim.SGD(weights, lr=0.1, momentum=0.9)):
    weights[0].square().sum().backward()
    step(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
"""
COMPILED = """
import torch._dynamo.eval_frame
from torch._dynamo.utils import counters
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
"""


def python(code: str) -> None:
    """A fresh interpreter: this one has the compiler already."""
    script = "import sys, torch\n" + textwrap.dedent(code)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("code", [NETWORK, TIMM, META, STEPS], ids=["torchvision", "timm", "meta", "steps"])
def test_the_compiler_stays_out(code: str) -> None:
    python(f"{code}\n{ABSENT}")


@pytest.mark.parametrize("code", [NETWORK, TIMM, STEPS], ids=["torchvision", "timm", "steps"])
def test_the_compiler_still_comes_when_it_is_called(code: str) -> None:
    python(code + COMPILED)


def test_a_function_that_was_stood_in_for_is_the_real_one_when_it_is_called() -> None:
    python("""
    from tlpipe.backbones.lean import lean_import
    detection = lean_import("torchvision.ops")
    assert "torch._dynamo" not in sys.modules
    boxes = torch.tensor([[0, 0, 0, 4.0, 4.0]])
    images = torch.ones(1, 2, 8, 8)
    assert detection.roi_align(images, boxes, 2).shape == (1, 2, 2, 2)
    assert sys.modules["torchvision.ops.roi_align"].is_compile_supported("cpu") in (True, False)
    assert "torch._dynamo" in sys.modules
    """)


def test_whatever_else_is_asked_for_meanwhile_loads_it() -> None:
    python("""
    from tlpipe.backbones.lean import _stand_ins
    with _stand_ins():
        from torch._dynamo.utils import counters
    import torch._dynamo
    assert torch._dynamo.utils.counters is counters
    """)


def test_steps_are_the_optimizers_own() -> None:
    python("""
    from tlpipe.backbones.lean import lean_optimizers, step
    def run(take):
        weights = [torch.linspace(-1, 1, 7).requires_grad_()]
        optimizer = torch.optim.AdamW(weights, lr=0.1, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            weights[0].square().sum().backward()
            take(optimizer)
        return weights[0]
    plain = run(lambda optimizer: optimizer.step())
    lean_optimizers()
    assert torch.equal(run(step), plain)
    """)
