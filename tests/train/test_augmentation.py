"""Views: the evaluation view is ImagePreprocess to the bit; random views do what their settings say."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.train.inputs.augmentation import DRAWS, Views, draw, mix, windows
from tlpipe.train.spec import Augment
from tlpipe.train.trainer.randomness import torch_generator

CPU = torch.device("cpu")
STILL = Augment(flip=False, zoom=(1, 1), rotate=0, shift=0, brightness=0, mixup=0, cutmix=0)


def images(count: int, edge: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, edge, edge, 3), dtype=np.uint8)


@pytest.mark.parametrize(("edge", "size"), [(20, 16), (21, 16), (16, 16)])
def test_evaluation_view_is_what_preprocess_gives(edge: int, size: int) -> None:
    preprocess = ImagePreprocess(size=size, resize_to=edge)
    batch = images(3, edge)
    expected = preprocess.normalise(preprocess.crop(batch))
    ours = Views(preprocess, CPU).evaluation(torch.from_numpy(batch)).numpy()
    assert np.abs(ours - expected).max() <= 1e-6


def test_without_augmentation_the_training_view_is_the_evaluation_view() -> None:
    views = Views(ImagePreprocess(size=16, resize_to=20), CPU)
    batch = torch.from_numpy(images(4, 20))
    ours = views.training(batch, STILL, draw(4, torch_generator(0)))
    assert torch.allclose(ours, views.evaluation(batch), atol=1e-4)


def test_flip_mirrors_about_half_of_the_images() -> None:
    maps = windows(draw(2000, torch_generator(1)), 1.0, STILL.model_copy(update={"flip": True}))
    share = float((maps[:, 0, 0] < 0).float().mean())
    assert abs(share - 0.5) < 3 * np.sqrt(0.25 / 2000)
    assert (maps[:, 1, 1] > 0).all()


def test_zoom_rotation_and_shift_stay_in_their_ranges() -> None:
    augment = STILL.model_copy(update={"zoom": (0.5, 0.8), "rotate": 30.0, "shift": 0.1})
    maps = windows(draw(2000, torch_generator(2)), 0.5, augment)
    zoom = maps[:, :, :2].det().sqrt() / 0.5
    assert 0.5 <= float(zoom.min()) < 0.51
    assert 0.79 < float(zoom.max()) <= 0.8 + 1e-6
    angle = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0])).abs()
    assert 29 < float(angle.max()) <= 30 + 1e-4
    assert 0.09 < float(maps[:, :, 2].abs().max()) <= 0.1 + 1e-6


def test_brightness_stays_in_range_and_changes_pixels() -> None:
    views = Views(ImagePreprocess(size=16, resize_to=16, mean=(0, 0, 0), std=(1, 1, 1)), CPU)
    batch = torch.from_numpy(images(8, 16))
    draws = draw(8, torch_generator(3))
    lit = views.training(batch, STILL.model_copy(update={"brightness": 0.5}), draws)
    assert float(lit.min()) >= 0
    assert float(lit.max()) <= 1
    assert not torch.allclose(lit, views.training(batch, STILL, draws), atol=0.05)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_targets_stay_probabilities_and_match_the_pixels(kind: str) -> None:
    batch = torch.zeros(6, 3, 32, 32)
    batch[3:] = 1.0
    targets = torch.nn.functional.one_hot(torch.tensor([0, 0, 0, 1, 1, 1]), 2).float()
    for seed in range(20):
        mixed, soft = mix(batch, targets, STILL.model_copy(update={kind: 1.0}), torch_generator(seed))
        assert torch.allclose(soft.sum(1), torch.ones(6))
        assert torch.allclose(mixed.mean(dim=(1, 2, 3)), soft[:, 1], atol=1e-5)


def test_nothing_is_mixed_when_both_are_off() -> None:
    batch, targets = torch.rand(2, 3, 4, 4), torch.eye(2)
    assert mix(batch, targets, STILL, torch_generator(0)) == (batch, targets)


def test_a_sample_gets_the_same_view_in_any_batch() -> None:
    views, batch = Views(ImagePreprocess(size=16, resize_to=20), CPU), torch.from_numpy(images(6, 20))
    lively = STILL.model_copy(update={"flip": True, "zoom": (0.7, 1.1), "rotate": 20.0, "brightness": 0.3})
    draws = draw(6, torch_generator(4))
    assert draws.shape == (6, DRAWS)
    together = views.training(batch, lively, draws)
    alone = torch.cat([views.training(batch[i : i + 1], lively, draws[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)


def test_a_view_is_torchs_sampling_then_light_then_the_norm() -> None:
    augment = Augment(flip=True, zoom=(0.7, 1.2), rotate=20, shift=0.1, brightness=0.3, mixup=0, cutmix=0)
    preprocess = ImagePreprocess(size=16, resize_to=20)
    batch, draws = torch.from_numpy(images(5, 20)), draw(5, torch_generator(4))
    grid = functional.affine_grid(windows(draws, 16 / 20, augment), [5, 3, 16, 16], align_corners=False)
    pixels = batch.permute(0, 3, 1, 2).double() / 255
    views = functional.grid_sample(pixels, grid.double(), padding_mode="reflection", align_corners=False)
    brightness, contrast = (1 + 0.3 * (2 * draws[:, 5:7].double() - 1)).T.reshape(2, 5, 1, 1, 1)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    lit = ((views - mean) * contrast + mean * brightness).clamp(0, 1)
    expected = (lit - torch.tensor(preprocess.mean).view(1, 3, 1, 1)) / torch.tensor(preprocess.std).view(1, 3, 1, 1)
    found = Views(preprocess, CPU).training(batch, augment, draws)
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-4)


def test_windows_by_area_lie_in_the_image_with_the_area_and_aspect_asked_for() -> None:
    augment = STILL.model_copy(update={"area": (0.2, 0.6), "aspect": 1.5})
    maps = windows(draw(4000, torch_generator(5)), 0.8, augment)
    across, down, centre = maps[:, 0, 0], maps[:, 1, 1], maps[:, :, 2]
    area, aspect = across * down, across / down
    assert (centre[:, 0].abs() + across <= 1 + 1e-6).all()
    assert (centre[:, 1].abs() + down <= 1 + 1e-6).all()
    assert 0.2 - 1e-6 <= float(area.min()) < 0.21
    assert 0.58 < float(area.max()) <= 0.6 + 1e-6
    assert abs(float(area.mean()) - 0.4) < 0.01
    assert abs(float(aspect.log().mean())) < 0.01
    assert 1.45 < float(aspect.max()) <= 1.5 + 1e-4


def test_a_window_of_the_whole_image_is_the_image() -> None:
    views = Views(ImagePreprocess(size=16, resize_to=16), CPU)
    batch = torch.from_numpy(images(4, 16))
    whole = STILL.model_copy(update={"area": (1.0, 1.0), "aspect": 1.0})
    assert torch.allclose(views.training(batch, whole, draw(4, torch_generator(0))), views.evaluation(batch), atol=1e-4)


def test_colours_change_at_the_same_lightness_and_grey_stays_grey() -> None:
    views = Views(ImagePreprocess(size=16, resize_to=16, mean=(0, 0, 0), std=(1, 1, 1)), CPU)
    generator = np.random.default_rng(1)
    batch = torch.from_numpy(generator.integers(100, 150, (8, 16, 16, 3), dtype=np.uint8))
    augment = STILL.model_copy(update={"saturation": 0.5, "hue": 0.1})
    draws, luma = draw(8, torch_generator(6)), torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    turned, before = views.training(batch, augment, draws), views.evaluation(batch)
    assert float((turned - before).abs().mean()) > 0.01
    torch.testing.assert_close((turned * luma).sum(1), (before * luma).sum(1), atol=1e-5, rtol=0)
    grey = batch[..., :1].expand(-1, -1, -1, 3).contiguous()
    torch.testing.assert_close(views.training(grey, augment, draws), views.evaluation(grey), atol=1e-5, rtol=0)


def test_half_a_turn_of_the_colour_circle_is_the_opposite_colour() -> None:
    views = Views(ImagePreprocess(size=8, resize_to=8, mean=(0, 0, 0), std=(1, 1, 1)), CPU)
    red = torch.tensor([180, 100, 100], dtype=torch.uint8).expand(1, 8, 8, 3).contiguous()
    draws = torch.full((1, DRAWS), 0.5)
    draws[:, 9] = 1.0
    turned = views.training(red, STILL.model_copy(update={"hue": 0.5}), draws)[0, :, 0, 0] * 255
    lightness = 0.299 * 180 + 0.587 * 100 + 0.114 * 100
    assert torch.allclose(turned, 2 * lightness - torch.tensor([180.0, 100.0, 100.0]), atol=1e-2)


def test_what_a_seed_drew_before_there_were_colours_stays() -> None:
    assert torch.equal(draw(5, torch_generator(7))[:, :7], torch.rand(5, 7, generator=torch_generator(7)))


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="area must be"):
        Augment.model_validate({**STILL.model_dump(), "area": (0.8, 0.5)})


def test_windows_have_their_size_from_one_setting() -> None:
    with pytest.raises(ValueError, match="remove area, or zoom and shift"):
        Augment.model_validate({**STILL.model_dump(), "area": (0.5, 1), "shift": 0.1})
