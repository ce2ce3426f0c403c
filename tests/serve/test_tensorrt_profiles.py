"""TensorRT, played by the CPU: one engine for all shapes that the server can send, and a cache for item graph."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.bundles import make_bundle_of
from tests.serve.test_app import binary, jpeg, multipart, tensor
from tlpipe.bundle import MODEL, Bundle, read_bundle
from tlpipe.config import ConfigError
from tlpipe.preprocess.ngrams import NgramPreprocess
from tlpipe.serve.http.app import Service, make_app
from tlpipe.serve.http.settings import Settings
from tlpipe.serve.runtime import session as session_module
from tlpipe.serve.runtime.load import load
from tlpipe.serve.runtime.providers import PROVIDERS
from tlpipe.serve.runtime.session import Runtime
from tlpipe.serve.runtime.tensorrt_profiles import Calls, engine_cache, profile, with_outputs

TENSORRT = PROVIDERS["tensorrt"]
CPU_SESSION = onnxruntime.InferenceSession
REFUSAL = (
    "[ONNXRuntimeError] : 11 : EP_FAIL : User needs to provide all the dynamic shape inputs with associated profiles "
    "if they want to explicitly set profiles through provider options.\nPlease note that main graph could be "
    "partitioned into TRT/CUDA/CPU subgraphs, in this case, user also needs to provide shape profiles for the TRT "
    "subgraph's input if it's dynamic shape input.\nFollowing input(s) has no associated shape profiles provided: "
)


def shapes(options: dict[str, Any], which: str) -> dict[str, tuple[int, ...]]:
    """A profile as onnxruntime reads it: input1:dim1xdim2...,input2:dim1xdim2...,..."""
    entries = (entry.rsplit(":", 1) for entry in options[f"trt_profile_{which}_shapes"].split(","))
    return {name: tuple(map(int, sizes.split("x"))) for name, sizes in entries}


class Engine:
    """A session of onnxruntime with TensorRT, which cannot run what lies outside of the profile."""

    made: "list[Engine]" = []  # noqa: RUF012 - a new list for item test
    inside: tuple[str, ...] = ()
    """Tensors at which TensorRT's part of the graph begins."""

    def __init__(self, model: bytes, options: Any, providers: list[Any]) -> None:
        self._session = CPU_SESSION(model, options, providers=["CPUExecutionProvider"])
        named = [provider for provider in providers if provider[0] == TENSORRT]
        self.options = named[0][1] if named else {}
        if named:
            assert [name for name, _ in providers] == [TENSORRT, PROVIDERS["cuda"], PROVIDERS["cpu"]]
            if missing := [name for name in self.inside if name not in shapes(self.options, "min")]:
                raise RuntimeError(REFUSAL + "".join(f"{name}, " for name in missing))
            self.made.append(self)
        self.seen: set[tuple[int, ...]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return [TENSORRT, PROVIDERS["cpu"]] if self.options else [PROVIDERS["cpu"]]

    def io_binding(self) -> "Binding":
        return Binding()

    def run_with_iobinding(self, binding: "Binding", options: Any) -> None:
        low, high = shapes(self.options, "min"), shapes(self.options, "max")
        for name, value in binding.feeds.items():
            assert all(a <= b <= c for a, b, c in zip(low[name], value.shape, high[name], strict=True)), value.shape
            self.seen.add(value.shape)
        binding.outputs = self._session.run(None, binding.feeds)


class Binding:
    def __init__(self) -> None:
        self.feeds: dict[str, Any] = {}
        self.outputs: list[Any] = []

    def bind_cpu_input(self, name: str, value: Any) -> None:
        self.feeds[name] = value.copy()

    def bind_output(self, name: str, device: str) -> None:
        pass

    def copy_outputs_to_cpu(self) -> list[Any]:
        return self.outputs


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Engine]]:
    monkeypatch.setattr(Engine, "made", [])
    monkeypatch.setattr(session_module, "obstacles", lambda device: ())
    monkeypatch.setattr(session_module, "gpus", lambda: 1)
    monkeypatch.setattr(session_module, "preload", lambda: None)
    monkeypatch.setattr(session_module.onnxruntime, "InferenceSession", Engine)
    monkeypatch.chdir(tmp_path)
    return Engine.made


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle_of("text_classification", tmp_path_factory.mktemp("texts"))


async def ask(app: Any, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """One request to the application, without a socket."""
    sent: list[Any] = []
    arrived, never = [{"type": "http.request", "body": body, "more_body": False}], asyncio.Event()

    async def receive() -> Any:
        return arrived.pop() if arrived else await never.wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(
        {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        },
        receive, send,
    )  # fmt: skip
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def answers(settings: Settings, requests: list[tuple[str, bytes, dict[str, str]]]) -> list[tuple[int, bytes]]:
    """What a server with these settings says to requests that arrive together."""

    async def talk() -> list[tuple[int, bytes]]:
        service = Service(settings)
        await service.model.load()
        app = make_app(service)
        try:
            return await asyncio.gather(*(ask(app, *request) for request in requests))
        finally:
            await service.model.close()
            service._pool.shutdown()

    return asyncio.run(talk())


def test_one_engine_serves_all_images(engines: list[Engine], bundle: Path, pictures: list[np.ndarray]):
    requests = [("/predict", jpeg(image), {"content-type": "image/jpeg"}) for image in pictures]
    requests.append(
        ("/predict", *multipart(*((f"{at}", jpeg(item), "image/jpeg") for at, item in enumerate(pictures))))
    )
    batches = [np.stack([image] * count) for image, count in zip(pictures, (1, 2, 3, 64, 5), strict=True)]
    for images in batches:
        document = tensor(images, data=None, parameters={"binary_data_size": images.nbytes})
        requests.append(("/v2/models/model/infer", *binary(document, images.tobytes())))
    replies = answers(Settings(bundle=bundle, runtime=Runtime(device="tensorrt"), requests_log=False), requests)
    assert [status for status, _ in replies] == [200] * len(requests)
    (engine,) = engines
    assert {shape[1:] for shape in engine.seen} == {(37, 37, 3)}
    assert max(shape[0] for shape in engine.seen) == 64
    assert shapes(engine.options, "opt")["image"] == (32, 37, 37, 3)
    plain = load(bundle, Runtime(device="cpu"))
    for images, (_, body) in zip(batches, replies[-len(batches) :], strict=True):
        outputs = {item["name"]: np.reshape(item["data"], item["shape"]) for item in json.loads(body)["outputs"]}
        np.testing.assert_allclose(
            outputs["probabilities"], plain.session.run({"image": images})["probabilities"], atol=0.03
        )  # the graph's own resize is Pillow's within a grey level


def test_one_engine_serves_all_texts(engines: list[Engine], texts: Path):
    requests = [("/predict", (b"fine " * count), {"content-type": "text/plain"}) for count in (1, 15, 40, 400)]
    names = [port.name for port in read_bundle(texts).inputs]
    for rows, length in ((1, 1), (64, 24), (7, 13)):
        inputs = [
            {"name": name, "shape": [rows, length], "datatype": "INT64", "data": [1] * rows * length} for name in names
        ]
        requests.append(("/v2/models/model/infer", json.dumps({"inputs": inputs}).encode(), {}))
    replies = answers(Settings(bundle=texts, runtime=Runtime(device="tensorrt"), requests_log=False), requests)
    assert [status for status, _ in replies] == [200] * len(requests)
    (engine,) = engines
    assert {(1, 1), (64, 24), (7, 13)} <= engine.seen
    for name in names:
        assert [shapes(engine.options, which)[name] for which in ("min", "opt", "max")] == [(1, 1), (32, 12), (64, 24)]


def test_parts_of_the_graph_get_a_profile_too(
    engines: list[Engine], bundle: Path, monkeypatch: pytest.MonkeyPatch, pictures: list[np.ndarray]
):
    monkeypatch.setattr(Engine, "inside", ("view", "preprocess/cropped"))
    loaded = load(bundle, Runtime(device="tensorrt"), calls=Calls(8, 16))
    (engine,) = engines
    for which, rows in (("min", 1), ("opt", 8), ("max", 16)):
        expected = {"image": (rows, 37, 37, 3), "view": (rows, 3, 32, 32), "preprocess/cropped": (rows, 3, 32, 32)}
        assert shapes(engine.options, which) == expected
    feeds = {"image": loaded.bundle.preprocessing.pack(pictures[0])[None]}
    plain = load(bundle, Runtime(device="cpu")).session.run(feeds)
    np.testing.assert_array_equal(loaded.session.run(feeds)["logits"], plain["logits"])


@pytest.mark.parametrize(("inside", "sentence"), [(("image",), None), (("nowhere",), "nowhere, where TensorRT's part")])
def test_what_no_profile_can_be_made_of_is_a_sentence(
    engines: list[Engine], bundle: Path, monkeypatch: pytest.MonkeyPatch, inside: tuple[str, ...], sentence: str | None
):
    monkeypatch.setattr(Engine, "inside", inside)
    if sentence is None:
        assert load(bundle, Runtime(device="tensorrt")).session.device == "tensorrt"
        return
    with pytest.raises(ConfigError, match=sentence):
        load(bundle, Runtime(device="tensorrt"))


def test_another_graph_or_profile_has_other_engines(engines: list[Engine], bundle: Path, other: Path):
    for folder, calls in ((bundle, Calls()), (other, Calls()), (bundle, Calls(8, 8)), (bundle, Calls())):
        load(folder, Runtime(device="tensorrt"), calls=calls)
    first, second, third, again = (engine.options["trt_engine_cache_path"] for engine in engines)
    assert first == again
    assert len({first, second, third}) == 3
    assert all(Path(folder).is_dir() for folder in (first, second, third))
    assert all(engine.options["trt_engine_cache_enable"] is True for engine in engines)


def test_the_options_are_known_to_the_installed_onnxruntime(bundle: Path):
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("onnxruntime_pybind11_state*")
    known, about = library.read_bytes(), read_bundle(bundle)
    if TENSORRT not in onnxruntime.get_available_providers():
        pytest.skip("this build of onnxruntime has no TensorRT")
    for name in {*profile(about, Calls()).options(), "trt_engine_cache_path", "trt_timing_cache_path"}:
        assert name.encode() + b"\0" in known


def test_an_axis_without_a_limit_is_refused(bundle: Path):
    about = read_bundle(bundle)
    ports = tuple(
        about.inputs[0].model_copy(update={"name": name, "shape": ("batch", "length"), "layout": "NL"})
        for name in NgramPreprocess().inputs
    )
    ngrams = Bundle.model_construct(**{**dict(about), "inputs": ports, "preprocessing": NgramPreprocess()})
    with pytest.raises(ConfigError, match="the axis 'length' of 'ngram_ids' has no limit; give --device cuda"):
        profile(ngrams, Calls())


def test_tensors_of_the_inside_of_a_graph_are_read(bundle: Path, pictures: list[np.ndarray]):
    about, model = read_bundle(bundle), (bundle / MODEL).read_bytes()
    name = "view"
    session = onnxruntime.InferenceSession(with_outputs(model, [name]), providers=["CPUExecutionProvider"])
    (view,) = session.run([name], {"image": pictures[0][None]})
    assert view.shape == (1, 3, 32, 32)
    packed = about.preprocessing.pack(pictures[0])
    np.testing.assert_allclose(
        view[0], about.preprocessing.normalise(about.preprocessing.crop(packed)[None])[0], atol=0.02
    )


def test_the_cache_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    assert Path(engine_cache(b"graph", {})["trt_engine_cache_path"]).is_dir()
