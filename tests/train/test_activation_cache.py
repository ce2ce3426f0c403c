"""What frozen layers gave once is what training goes on with: the same results, found again, never stale."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.train.conftest import COUNTS, files_of_at_most
from tests.train.test_loop import GROUPS, finish, one_phase, same, weights
from tlpipe.config import ConfigError
from tlpipe.stages.follow import resume
from tlpipe.strategies.plan import HEAD, Phase, Plan
from tlpipe.strategies.unfreeze import AllLayers, TopLayers
from tlpipe.train.cache import activation_cache as frozen
from tlpipe.train.cache.activation_cache import VALIDATION, CacheFill
from tlpipe.train.cache.boundaries import prefix
from tlpipe.train.cache.cache_folder import HALF
from tlpipe.train.inputs.feed import Fresh, Kept
from tlpipe.train.spec import Augment, Cache
from tlpipe.train.trainer.events import Epoch, Notice, Step
from tlpipe.train.trainer.loop import Trainer
from tlpipe.train.trainer.resume import Keeper

Make = Callable[..., Trainer]
STILL = Augment(flip=False, zoom=(1, 1), rotate=0, shift=0, brightness=0, mixup=0, cutmix=0)
LIVELY = STILL.model_copy(update={"flip": True, "zoom": (0.8, 1.1)})
TOP = TopLayers(kind="top_layers", layers=1, lr=3e-3, gamma=0.5, epochs=3).plan(GROUPS)
STAGED = TopLayers(kind="top_layers", layers=2, lr=3e-3, gamma=0.5, stage_epochs=3, epochs=3).plan(GROUPS)

ABOVE_STEM = one_phase({"stem": None, "middle": 1e-3, "top": 1e-3, HEAD: 3e-3}, 3)


def cache(**changes: object) -> Cache:
    return Cache.model_validate({"views": 1, "noise": 0.0, "storage": "exact", "gigabytes": 1.0, **changes})


def looks(trainer: Trainer) -> int:
    return sum(isinstance(event, CacheFill) for event in trainer.run())


def test_the_prefix_ends_where_something_trains() -> None:
    def cut(*rates: float | None) -> int:
        table = dict(zip((*GROUPS, HEAD), rates, strict=True))
        return prefix((0, 1, 3), Phase(name="x", epochs=1, rates=table), GROUPS)

    assert cut(None, None, None, 1.0) == 3
    assert cut(None, None, 1.0, 1.0) == 1
    assert cut(None, 1.0, None, 1.0) == 1
    assert cut(1.0, None, None, None) == 0


@pytest.mark.parametrize("plan", [TOP, STAGED, one_phase({**dict.fromkeys(GROUPS), HEAD: 3e-3}, 3)])
def test_exact_activations_train_to_what_pixels_do(make_trainer: Make, plan: Plan) -> None:
    kept = make_trainer(plan, augment=STILL, cache=cache())
    plain = make_trainer(plan, augment=STILL, cache=cache(views=0))
    assert kept.frozen.of(0) is not None
    assert plain.frozen.of(0) is None
    history = [finish(trainer) for trainer in (kept, plain)]
    for left, right in zip(*history, strict=True):
        assert left.train_loss == pytest.approx(right.train_loss, abs=1e-5)
    for name, value in kept.model.state_dict().items():
        assert torch.allclose(value, plain.model.state_dict()[name], atol=1e-4), name


@pytest.mark.parametrize("storage", ["auto", "half", "int8"])
def test_smaller_storage_comes_close(make_trainer: Make, storage: str) -> None:
    small = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage=storage))
    plain = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(views=0))
    boundary = small.frozen.of(0)
    assert boundary is not None
    assert boundary.layout.storage == ("half" if storage == "auto" else storage)
    assert 0 < boundary.change <= 0.01
    last = [finish(trainer)[-1].train_loss for trainer in (small, plain)]
    assert last[0] == pytest.approx(last[1], abs=0.01)


def test_each_view_is_looked_at_once_and_shared(make_trainer: Make) -> None:
    first = make_trainer(TOP, augment=LIVELY, cache=cache(views=2))
    parts = 1 + 2  # validation once, two views of the training split, each in one chunk
    assert first.frozen.looks == parts
    assert looks(first) == parts
    assert looks(make_trainer(TOP, augment=LIVELY, cache=cache(views=2), seed=9)) == 2  # its own views, one validation
    assert looks(make_trainer(STAGED, augment=LIVELY, cache=cache(views=2))) == 3
    assert looks(make_trainer(TOP, augment=LIVELY.model_copy(update={"mixup": 0.2}), cache=cache(views=2))) == 0


def test_seeds_draw_other_views_and_share_what_is_not_drawn(make_trainer: Make) -> None:
    stored = []
    for seed in (1, 2):
        trainer = make_trainer(TOP, augment=LIVELY, cache=cache(), seed=seed)
        assert looks(trainer) == (2 if seed == 1 else 1)
        rows = [torch.arange(COUNTS["train"]).numpy()]
        stored.append(next(trainer.frozen.stored(2, 0).stream(rows)))
    assert not torch.equal(*stored)
    assert looks(make_trainer(TOP, augment=STILL, cache=cache(), seed=1)) == 1
    assert looks(make_trainer(TOP, augment=STILL, cache=cache(), seed=2)) == 0


@pytest.mark.parametrize("change", ["augment", "weights", "buffers", "data", "storage"])
def test_what_changes_the_activations_makes_them_anew(make_trainer: Make, change: str) -> None:
    looks(make_trainer(TOP, augment=LIVELY, cache=cache()))
    augment = LIVELY.model_copy(update={"rotate": 5.0}) if change == "augment" else LIVELY
    trainer = make_trainer(TOP, augment=augment, cache=cache(storage="half" if change == "storage" else "exact"))
    with torch.no_grad():
        if change == "weights":
            trainer.model.encoder.get_parameter("stages.stem.0.weight")[0, 0, 0, 0] += 1e-3
        if change == "buffers":
            trainer.model.encoder.get_buffer("stages.middle.1.running_mean")[0] += 1e-3
    if change == "data":
        object.__setattr__(trainer.batches.packed, "fingerprint", "other")
    assert looks(trainer) == (1 if change == "augment" else 2)


def test_what_trains_above_the_boundary_does_not_make_them_anew(make_trainer: Make) -> None:
    looks(make_trainer(TOP, augment=LIVELY, cache=cache()))
    trainer = make_trainer(TOP, augment=LIVELY, cache=cache())
    with torch.no_grad():
        trainer.model.encoder.get_parameter("stages.top.2.weight").add_(1.0)
    assert looks(trainer) == 0


def test_layers_that_trained_and_froze_again_are_looked_at_again(make_trainer: Make) -> None:
    rates = {"stem": None, "middle": 1e-2, "top": None, HEAD: 1e-2}
    above = {**rates, "middle": None}
    phases = (Phase(name="middle", epochs=2, rates=rates), Phase(name="head", epochs=2, rates=above))
    plan = Plan(strategy="x", start="head", groups=GROUPS, phases=phases)
    trainer = make_trainer(plan, augment=STILL, cache=cache(), monitor="loss")
    boundaries = [trainer.frozen.of(0), trainer.frozen.of(1)]
    assert [boundary.cut for boundary in boundaries if boundary] == [1, 3]
    finish(trainer)
    stored = next(trainer.frozen.stored(3, VALIDATION).stream([torch.arange(COUNTS["validation"]).numpy()]))
    images, _ = next(trainer.fresh.validation(COUNTS["validation"]))
    with torch.no_grad():
        assert torch.allclose(trainer.model.eval().encoder(images), stored, atol=1e-6)


def test_views_that_would_be_used_once_are_not_kept(make_trainer: Make) -> None:
    assert make_trainer(TOP, augment=LIVELY, cache=cache(views=3)).frozen.of(0) is None
    assert make_trainer(TOP, augment=LIVELY, cache=cache(views=2)).frozen.of(0) is not None
    assert make_trainer(TOP, augment=STILL, cache=cache(views=9)).frozen.of(0) is not None


def test_without_room_it_falls_back_and_says_so(make_trainer: Make) -> None:
    trainer = make_trainer(TOP, augment=LIVELY, cache=cache(gigabytes=1e-9))
    assert trainer.frozen.of(0) is None
    assert "training.cache.gigabytes allows 1e-09" in trainer.frozen.describe()[0]
    assert "frozen up to middle" in trainer.frozen.describe()[0]
    assert finish(trainer)


def test_int8_is_taken_when_half_is_too_large(make_trainer: Make) -> None:
    half = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto")).frozen.of(0)
    assert half is not None
    tight = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto", gigabytes=0.9 * half.bytes / 1e9))
    chosen = tight.frozen.of(0)
    assert chosen is not None
    assert chosen.layout.storage == "int8"
    assert chosen.bytes < 0.9 * half.bytes


def size_disk(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """From now on the file system has room for so many bytes of activations beyond the reserve."""

    def usage(folder: Path) -> SimpleNamespace:
        kept = sum(file.stat().st_size for file in folder.rglob("*.npy") if "cache" in file.parts)
        return SimpleNamespace(free=size - kept)

    monkeypatch.setattr(frozen, "RESERVE", 0)
    monkeypatch.setattr(frozen, "STATES", 0)
    monkeypatch.setattr(shutil, "disk_usage", usage)


def test_without_room_on_the_disk_it_falls_back_and_says_so(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto")).frozen.of(0)
    assert half is not None
    size_disk(monkeypatch, 0.9 * half.bytes)
    tight = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto")).frozen
    small = tight.of(0)
    assert small is not None
    assert small.layout.storage == "int8"
    said = tight.describe()[1]
    needed = f"its activations in 1 view take {half.bytes / 1e9:.2g} GB (half)"
    assert f"frozen up to stem: {needed}, the disk has room for {0.9 * half.bytes / 1e9:.2g} GB" in said
    assert said.endswith("; a byte a value is kept")
    size_disk(monkeypatch, 0.9 * small.bytes)
    none = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto")).frozen
    assert none.of(0) is None
    assert none.describe()[-1].endswith("; they are computed anew each epoch")
    assert make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto", gigabytes=1e-9)).frozen.of(0) is None


def test_the_disk_has_room_for_states_and_models_beside_the_activations(make_trainer: Make) -> None:
    trainer = make_trainer(TOP, cache=cache())
    weights_take = sum(each.nbytes for each in trainer.model.state_dict().values())
    assert trainer.frozen.choice.room.reserve == 10**9 + 12 * weights_take


def test_what_the_disk_has_room_for_after_a_kill_does_not_matter(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto")).frozen.of(0)
    assert half is not None
    sizes = [0.9 * half.bytes, 1e9]  # for a byte a value, for anything
    bits = []
    for order in (sizes, sizes[::-1]):
        size_disk(monkeypatch, order[0])
        whole = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto"))
        finish(whole)
        bits.append(weights(whole))
        keeper = Keeper("test", f"{order[0]}", root=tmp_path)
        for stopped in (0, 3, None):  # killed before the first step, and in the first epoch
            trainer = make_trainer(ABOVE_STEM, augment=STILL, cache=cache(storage="auto"))
            resume(trainer, keeper)
            size_disk(monkeypatch, order[1])
            for _ in itertools.islice((event for event in trainer.run() if isinstance(event, Step)), stopped):
                keeper.save({"trainer": trainer.state(), "history": []})
        assert trainer.frozen.boundaries == whole.frozen.boundaries
        assert same(bits[-1], weights(trainer))
    assert not same(*bits)  # else nothing was to be kept up


def test_a_full_disk_ends_it_with_a_message_and_leaves_nothing(make_trainer: Make) -> None:
    trainer = make_trainer(TOP, augment=LIVELY, cache=cache())
    boundary = trainer.frozen.of(0)
    assert boundary is not None
    root = trainer.frozen.cache_folder.root
    with files_of_at_most(boundary.sample * 20), pytest.raises(ConfigError, match=r"File too large .* Make room there"):
        finish(trainer)
    left = [path.name for path in root.iterdir()]
    assert len(left) == 1, "validation's, which is smaller, is whole; nothing is there of the view"
    assert HALF not in left[0]
    whole = make_trainer(TOP, augment=LIVELY, cache=cache())
    finish(whole)
    again = make_trainer(TOP, augment=LIVELY, cache=cache())
    again.restore(trainer.state())
    finish(again)
    assert same(weights(whole), weights(again))


def test_a_look_that_is_given_up_leaves_nothing_half(make_trainer: Make) -> None:
    trainer = make_trainer(TOP, augment=LIVELY, cache=cache())
    look = trainer.frozen.look(2, VALIDATION)
    next(look)
    assert len(list(trainer.frozen.cache_folder.root.iterdir())) == 1
    look.close()  # type: ignore[attr-defined]
    assert not list(trainer.frozen.cache_folder.root.iterdir())


def test_one_boundary_may_fit_where_two_do_not(make_trainer: Make) -> None:
    both = make_trainer(STAGED, augment=LIVELY, cache=cache()).frozen
    sizes = {cut: boundary.bytes for cut, boundary in both.boundaries.items()}
    assert sizes.keys() == {1, 2}
    room = max(sizes.values()) * 1.01 / 1e9
    one = make_trainer(STAGED, augment=LIVELY, cache=cache(gigabytes=room)).frozen
    assert len(one.boundaries) == 1


def test_cutmix_of_what_is_no_map_is_left_to_pixels(make_trainer: Make) -> None:
    plan = one_phase({**dict.fromkeys(GROUPS), HEAD: 3e-3}, 3)
    frozen = make_trainer(plan, augment=LIVELY.model_copy(update={"cutmix": 1.0}), cache=cache()).frozen
    assert frozen.of(0) is None
    assert "cutmix needs a map" in frozen.describe()[0]


@pytest.mark.parametrize("change", [{"views": 2}, {"noise": 0.5}, {"storage": "half"}, {"gigabytes": 0.0}])
def test_every_setting_changes_something(make_trainer: Make, change: dict[str, object]) -> None:
    trainers = [make_trainer(TOP, augment=LIVELY, cache=cache(**each)) for each in ({}, change)]
    for trainer in trainers:
        finish(trainer)
    assert not same(weights(trainers[0]), weights(trainers[1]))


@pytest.mark.parametrize("emptied", [False, True])
def test_interrupted_anywhere_it_ends_with_the_same_bits(make_trainer: Make, tmp_path: Path, emptied: bool) -> None:
    settings = {"augment": LIVELY, "cache": cache(views=2, storage="half", noise=0.1)}
    plan = AllLayers(kind="all_layers", lr=3e-3, gamma=0.5, stages=3, stage_epochs=3, epochs=1).plan(GROUPS)
    whole = make_trainer(plan, **settings)
    finish(whole)
    root = whole.frozen.cache_folder.root
    keeper = Keeper("test", "key", root=tmp_path)
    for _ in itertools.count():
        if emptied:
            shutil.rmtree(root, ignore_errors=True)
        trainer = make_trainer(plan, **settings)
        if (state := keeper.load()) is not None:
            trainer.restore(state)
        event = next((event for event in trainer.run() if not isinstance(event, CacheFill)), None)
        if event is None:
            break
        keeper.save(trainer.state())
    assert same(weights(whole), weights(trainer))


def test_a_batch_that_does_not_fit_is_computed_in_pieces(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"augment": STILL, "cache": cache(views=0), "dropout": 0.0, "norm_statistics": "source"}
    plan = one_phase({"stem": None, "middle": None, "top": 1e-3, HEAD: 3e-3}, 2)
    whole, pieces = make_trainer(plan, **settings), make_trainer(plan, **settings)
    finish(whole)
    forward = pieces.model.forward

    def small(x: torch.Tensor, start: int) -> torch.Tensor:
        if len(x) > 2 and pieces.model.training:
            raise torch.OutOfMemoryError("no room")
        return forward(x, start)

    monkeypatch.setattr(pieces.model, "forward", small)
    events = list(pieces.run())
    said = [event.text for event in events if isinstance(event, Notice)]
    assert len(said) == 2
    assert "computed in 4 pieces" in said[1]
    assert len([event for event in events if isinstance(event, Epoch)]) == 2
    for name, value in whole.model.state_dict().items():
        assert torch.allclose(value, pieces.model.state_dict()[name], atol=1e-5), name


def test_the_feed_follows_the_phase(make_trainer: Make) -> None:
    plan = AllLayers(kind="all_layers", lr=3e-3, gamma=0.5, stages=3, stage_epochs=3, epochs=1).plan(GROUPS)
    trainer, feeds = make_trainer(plan, augment=LIVELY, cache=cache()), []
    for event in trainer.run():
        if isinstance(event, Epoch):
            feeds.append((type(trainer.feed), trainer.feed.start))
    assert feeds == [(Kept, 2)] * 3 + [(Kept, 1)] * 3 + [(Fresh, 0)]
