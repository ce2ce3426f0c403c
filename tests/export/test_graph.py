import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlpipe.export.graph import preprocessing_graph
from tlpipe.preprocess.image import ImagePreprocess

Sessions = dict[ImagePreprocess, onnxruntime.InferenceSession]
POLICIES = [
    ImagePreprocess(size=size, resize_to=resize_to, resize=resize, interpolation=interpolation)
    for resize in ("shorter", "squash")
    for interpolation in ("bilinear", "bicubic")
    for size, resize_to in ((24, 24), (19, 24), (24, 33))
]


def session(preprocess: ImagePreprocess, opset: int = 20) -> onnxruntime.InferenceSession:
    model = preprocessing_graph(preprocess, opset, 10)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    return {policy: session(policy) for policy in POLICIES}


def grey_levels_apart(policy: ImagePreprocess, run: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    (found,) = run.run(None, {"image": images})
    truth = np.stack([policy(image) for image in images])
    assert found.dtype == np.float32
    assert found.shape == truth.shape
    return np.abs(found - truth) * np.asarray(policy.std)[:, None, None] * 255


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    policy=st.sampled_from(POLICIES),
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_any_size_is_within_a_grey_level_of_pillow(
    sessions: Sessions, policy: ImagePreprocess, height: int, width: int, batch: int, seed: int
):
    images = np.random.default_rng(seed).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    apart = grey_levels_apart(policy, sessions[policy], images)
    # Twice where bicubic overshoot amplifies the rounding between the two axes.
    assert apart.max() < (2.01 if policy.interpolation == "bicubic" else 1.01)
    assert (apart > 0.5).mean() < 0.1


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_an_image_that_needs_no_resize_is_exact(sessions: Sessions, policy: ImagePreprocess):
    edge = policy.resize_to
    images = np.random.default_rng(1).integers(0, 256, (2, edge, edge, 3), dtype=np.uint8)
    assert grey_levels_apart(policy, sessions[policy], images).max() == 0


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_batch_mates_do_not_matter(sessions: Sessions, policy: ImagePreprocess):
    images = np.random.default_rng(2).integers(0, 256, (3, 50, 31, 3), dtype=np.uint8)
    (together,) = sessions[policy].run(None, {"image": images})
    alone = [sessions[policy].run(None, {"image": image[None]})[0][0] for image in images]
    np.testing.assert_array_equal(together, alone)


def test_odd_margins_are_cropped_as_numpy_does(sessions: Sessions):
    """A ramp shows a crop that is off by one; the two crops round separately."""
    policy = ImagePreprocess(size=19, resize_to=24)
    ramp = np.broadcast_to(np.arange(5, 36, dtype=np.uint8)[None, None, :, None] * 6, (1, 24, 31, 3))
    assert grey_levels_apart(policy, sessions[policy], np.ascontiguousarray(ramp)).max() == 0


@pytest.mark.parametrize("opset", [20, 23])
def test_every_opset_that_can_be_asked_for(opset: int):
    images = np.random.default_rng(3).integers(0, 256, (1, 40, 30, 3), dtype=np.uint8)
    assert grey_levels_apart(POLICIES[0], session(POLICIES[0], opset), images).max() < 1.01
