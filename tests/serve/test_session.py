"""Providers: what was asked for, or the reason why not."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tlpipe.bundle import ABOUT, MODEL, BundleError
from tlpipe.config import ConfigError
from tlpipe.cores import usable_cores
from tlpipe.serve.doctor import report
from tlpipe.serve.runtime import providers as machine
from tlpipe.serve.runtime import session as session_module
from tlpipe.serve.runtime.cuda_graph import CudaGraph
from tlpipe.serve.runtime.load import load
from tlpipe.serve.runtime.session import DeviceError, Runtime, Session, provider, session_options

GPU = not machine.obstacles("cuda")


def test_the_cpu_is_always_there(bundle: Path):
    session = Session((bundle / MODEL).read_bytes(), Runtime(device="cpu"))
    assert session.provider == "CPUExecutionProvider"
    assert (session.inputs, session.outputs) == (("image",), ("logits", "probabilities"))


def test_binding_gives_what_run_gives(bundle: Path, pictures: list[np.ndarray]):
    session = Session((bundle / MODEL).read_bytes(), Runtime(device="cpu"))
    feeds = {"image": pictures[0][None, :, ::-1]}
    for name, value in session.run(feeds).items():
        np.testing.assert_array_equal(session.run_bound(feeds)[name], value)


def test_fixed_buffers_give_what_run_gives_and_fill_up_what_is_missing(bundle: Path, pictures: list[np.ndarray]):
    inner = onnxruntime.InferenceSession(bundle / MODEL, providers=["CPUExecutionProvider"])
    fixed = CudaGraph(inner, {"image": pictures[0]}, 4, "cpu", 0)
    image = pictures[0][None]
    for feeds in (image, np.concatenate([image, image[:, ::-1], image // 2, image]), image[:, :, ::-1]):
        assert fixed.takes({"image": feeds})
        first = fixed.run({"image": feeds})
        fixed.run({"image": image // 3})  # what was given out stays as it was
        for name, expected in zip(("logits", "probabilities"), inner.run(None, {"image": feeds}), strict=True):
            np.testing.assert_allclose(first[name], expected, atol=1e-5)


def test_fixed_buffers_take_only_their_shape(bundle: Path, pictures: list[np.ndarray]):
    inner = onnxruntime.InferenceSession(bundle / MODEL, providers=["CPUExecutionProvider"])
    fixed = CudaGraph(inner, {"image": pictures[0]}, 2, "cpu", 0)
    assert not fixed.takes({"image": pictures[1][None]})
    assert not fixed.takes({"image": np.stack([pictures[0]] * 3)})
    assert not fixed.takes({"image": pictures[0][None].astype(np.int8)})


def test_what_the_providers_are_told():
    assert provider("cpu", Runtime()) == ("CPUExecutionProvider", {})
    name, plain = provider("cuda", Runtime(gpu=1))
    assert (name, plain) == ("CUDAExecutionProvider", {"device_id": 1, "cudnn_conv_algo_search": "HEURISTIC"})
    told = provider("cuda", Runtime(device="cuda", gpu_gigabytes=0.5, cuda_graphs=(1, 8)))[1]
    assert (told["gpu_mem_limit"], told["enable_cuda_graph"]) == (2**29, "1")
    name, told = provider("tensorrt", Runtime(gpu=2, gpu_gigabytes=0.5))
    assert (name, told["device_id"]) == ("TensorrtExecutionProvider", 2)
    assert (told["trt_engine_cache_enable"], told["trt_max_workspace_size"]) == (True, 2**29)


@pytest.mark.parametrize("device", ["auto", "cpu", "tensorrt"])
def test_cuda_graphs_need_cuda(bundle: Path, device: str):
    with pytest.raises(DeviceError, match=f"CUDA graphs were asked for on device {device}; they need --device cuda"):
        Session((bundle / MODEL).read_bytes(), Runtime(device=device, cuda_graphs=(8,)))


@pytest.mark.skipif(GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error_that_says_why(bundle: Path, device: str):
    with pytest.raises(DeviceError, match=rf"device {device} was asked for and cannot be used:\n  .*(driver|built)"):
        Session((bundle / MODEL).read_bytes(), Runtime(device=device))


@pytest.mark.skipif(GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("given", [{"gpu": 1}, {"gpu_gigabytes": 2.0}])
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_gpu_that_was_chosen_or_limited_is_not_left_aside_silently(
    monkeypatch: pytest.MonkeyPatch, device: str, given: dict[str, float]
):
    monkeypatch.setattr(session_module, "obstacles", lambda name: () if name == "cpu" else ("none here",))
    with pytest.raises(DeviceError, match="a GPU was chosen or limited"):
        Runtime(device=device, **given).resolve()


class Driver:
    """CUDA's driver on a machine with so many GPUs."""

    def __init__(self, count: int) -> None:
        self.count = count

    def cuInit(self, flags: int) -> int:
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0


@pytest.mark.parametrize("device", ["auto", "cuda", "tensorrt"])
@pytest.mark.parametrize(("there", "do"), [(1, "give --gpu 0"), (4, "give --gpu 0 to 3")])
def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, device: str, there: int, do: str):
    monkeypatch.setattr(session_module, "obstacles", lambda name: ())
    monkeypatch.setattr(machine, "driver", lambda: Driver(there))
    assert Runtime(device=device, gpu=there - 1).resolve() != "cpu"
    with pytest.raises(DeviceError, match=rf"GPU number 7 was asked for, .* sees {there} here.*{do}$"):
        Runtime(device=device, gpu=7).resolve()
    monkeypatch.setenv(machine.VISIBLE, "3,1")
    with pytest.raises(DeviceError, match=r"\(CUDA_VISIBLE_DEVICES=3,1 hides others and numbers these anew\)"):
        Runtime(device=device, gpu=7).resolve()


def test_a_driver_without_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "driver", lambda: Driver(0))
    assert "the NVIDIA driver sees no GPU" in str(machine._driver.__wrapped__())


def test_auto_falls_back_and_says_so(bundle: Path):
    assert Session((bundle / MODEL).read_bytes(), Runtime(device="auto")).device == "cpu"
    assert "--device auto takes cpu" in list(report())


def test_the_wrong_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    (reason,) = machine.obstacles("cuda")
    assert "was built without CUDAExecutionProvider" in reason
    assert "pip install onnxruntime-gpu" in reason
    assert any("built without CUDAExecutionProvider" in line for line in report())


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: str, mode: int = 0) -> None:
        raise OSError("libcublasLt.so.13: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(machine.ctypes, "CDLL", refuse)
    assert "a library is missing: libcublasLt.so.13" in str(machine._library.__wrapped__("cuda"))
    monkeypatch.setattr(machine, "driver", machine.driver.__wrapped__)
    assert "there is no NVIDIA driver" in str(machine._driver.__wrapped__())


def test_a_provider_that_is_silently_not_taken_is_an_error(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_module, "obstacles", lambda device: ())
    monkeypatch.setattr(session_module, "gpus", lambda: 1)
    if not GPU:
        with pytest.raises(DeviceError, match="onnxruntime chose CPUExecutionProvider"):
            Session((bundle / MODEL).read_bytes(), Runtime(device="cuda"))


def test_two_packages_are_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tlpipe.serve.doctor.installed", lambda: {"onnxruntime": "1", "onnxruntime-gpu": "1"})
    assert any("overwrite each other" in line for line in report())


def test_threads_are_as_told_and_do_not_spin():
    options = session_options(Runtime(threads=3))
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session_options(Runtime()).intra_op_num_threads == usable_cores()


def test_what_is_no_graph_is_a_sentence():
    with pytest.raises(ConfigError, match="onnxruntime does not take the model"):
        Session(b"not a model", Runtime(device="cpu"))


def test_a_changed_bundle_is_refused(bundle: Path, other: Path, tmp_path: Path):
    (tmp_path / ABOUT).write_bytes((bundle / ABOUT).read_bytes())
    (tmp_path / MODEL).write_bytes((other / MODEL).read_bytes())
    with pytest.raises(BundleError, match="is not the file that was exported"):
        load(tmp_path, Runtime(device="cpu"))


def test_a_session_that_waits_uses_no_processor(bundle: Path):
    code = (
        "import sys, time; from pathlib import Path; from tlpipe.serve.runtime.load import load\n"
        "from tlpipe.serve.runtime.session import Runtime\n"
        "load(Path(sys.argv[1]), Runtime(device='cpu')); before = time.process_time(); time.sleep(1)\n"
        "print(time.process_time() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, bundle], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.02
