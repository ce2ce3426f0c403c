"""The second session: when there is one, that it says the same, and from when on it is used."""

from pathlib import Path

import numpy as np
import pytest

from tlpipe.bundle import MODEL
from tlpipe.serve import Predictor
from tlpipe.serve.runtime import parallel_session as parallel
from tlpipe.serve.runtime.load import load, stack
from tlpipe.serve.runtime.session import Runtime, Session, Tensors


@pytest.fixture(scope="module")
def parts(bundle: Path) -> tuple[bytes, Session, Tensors]:
    """A graph, its session on two threads, and a sample."""
    loaded = load(bundle, Runtime(device="cpu", threads=2))
    return (bundle / MODEL).read_bytes(), loaded.session, stack([loaded.reading.example().rows[0]])


def test_it_says_what_the_other_session_says(parts: tuple[bytes, Session, Tensors]):
    model, session, example = parts
    found = parallel.open_parallel_session(model, Runtime(device="cpu", threads=2), session, example)
    assert found is not None
    assert found.lanes == 2
    for name, value in session.run(example).items():
        np.testing.assert_allclose(found.session.run(example)[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("gain", "fewest"), [(0.8, 1), (1.05, 1), (1.3, 2), (1.9, 2), (3.2, 4), (8.0, 8)])
def test_the_more_all_threads_gain_the_more_must_be_in_hand(
    parts: tuple[bytes, Session, Tensors], monkeypatch: pytest.MonkeyPatch, gain: float, fewest: int
):
    model, session, example = parts
    monkeypatch.setattr(parallel, "_seconds", lambda timed, feeds: 1.0 if timed is session else gain)
    found = parallel.open_parallel_session(model, Runtime(device="cpu", threads=8), session, example)
    assert found is not None
    assert (found.lanes, found.fewest) == (8, fewest)


def test_there_is_none_with_one_thread_and_for_a_large_graph(
    parts: tuple[bytes, Session, Tensors], monkeypatch: pytest.MonkeyPatch
):
    model, session, example = parts
    assert parallel.open_parallel_session(model, Runtime(device="cpu", threads=1), session, example) is None
    monkeypatch.setattr(parallel, "LARGEST", len(model) - 1)
    assert parallel.open_parallel_session(model, Runtime(device="cpu", threads=2), session, example) is None


def test_the_predictor_answers_the_same_with_and_without(bundle: Path, pictures: list[np.ndarray]):
    many, alone = Predictor(bundle, device="cpu", threads=2), Predictor(bundle, device="cpu", threads=1)
    assert many.loaded.parallel is not None
    assert alone.loaded.parallel is None
    for one, other in zip(many(pictures), alone(pictures), strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=2e-6)
