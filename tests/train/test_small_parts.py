"""Batches, seeds, calibration, checkpoints, features, model folders: each promise of theirs."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from tlpipe.backbones.letters import Letters
from tlpipe.config import ConfigError
from tlpipe.data.packed import Packed
from tlpipe.stages.claim import claimed
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.train.cache.embed import Features, embed
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.hardware.precision import bf16_pays_on_cpu
from tlpipe.train.inputs.batches import Batches, class_weights, epoch_order
from tlpipe.train.model import About, Classifier, load_model, save_model
from tlpipe.train.trainer.randomness import derive, seed_device
from tlpipe.train.trainer.resume import Keeper, hash_files, run_key
from tlpipe.train.trainer.temperature_scaling import fit_temperature


def order(count: int, size: int, balanced: bool = False, labels: np.ndarray | None = None) -> list[np.ndarray]:
    labels = np.zeros(count, np.int64) if labels is None else labels
    return epoch_order(labels, np.arange(count), size, balanced, np.random.default_rng(0))


@pytest.mark.parametrize(("count", "size"), [(33, 16), (32, 16), (5, 16), (17, 16)])
def test_an_epoch_has_every_sample_once_in_batches_of_nearly_equal_size(count: int, size: int) -> None:
    batches = order(count, size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_balanced_sampling_draws_classes_equally_often() -> None:
    labels = np.array([0] * 950 + [1] * 50)
    rows = np.concatenate(order(1000, 32, balanced=True, labels=labels))
    assert abs((labels[rows] == 1).mean() - 0.5) < 3 * np.sqrt(0.25 / 1000)


def test_class_weights_average_to_one_over_the_samples() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    weights = class_weights(labels, 3)
    assert weights[labels].mean() == pytest.approx(1.0)
    assert weights.tolist() == pytest.approx([6 / 9, 2.0, 1.0])


def test_seeds_of_different_uses_differ() -> None:
    assert derive(0, "order", 1) != derive(0, "augment", 1)
    assert derive(1, 2) != derive(12)


def test_a_seed_is_torchs_and_nothing_looks_at_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(derive("dropout", 3, 0, 1))
    expected = torch.rand(5)
    monkeypatch.setattr("traceback.format_stack", lambda: pytest.fail("the stack is written down"))
    seed_device(torch.device("cpu"), "dropout", 3, 0, 1)
    assert torch.equal(torch.rand(5), expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_is_recovered(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 4, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_a_few_samples_that_are_all_right_do_not_ask_for_certainty() -> None:
    few, many = (
        fit_temperature(torch.eye(3).repeat(times, 1) * 5, torch.arange(3).repeat(times)) for times in (3, 3000)
    )
    assert 0.6 < few < 1.0
    assert many < 0.55


def test_a_kill_while_saving_leaves_the_last_whole_state(tmp_path: Path) -> None:
    keeper = Keeper("stage", "key", root=tmp_path)
    keeper.save({"step": torch.tensor(1)})
    script = textwrap.dedent(f"""
        import os, signal, torch
        from pathlib import Path
        from tlpipe.train.trainer import resume as checkpoint
        real = torch.save
        def half(state, file):
            real(state, file)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.torch.save = half
        checkpoint.Keeper("stage", "key", root=Path({str(tmp_path)!r})).save({{"step": torch.tensor(2)}})
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    state = Keeper("stage", "key", root=tmp_path).load()
    assert state is not None
    assert int(state["step"]) == 1


def test_a_stage_is_trained_by_one_process_at_a_time_and_free_after_its_death(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from tlpipe.stages.claim import claimed
        with claimed("stage", root=Path({str(tmp_path)!r})):
            print("mine", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == "mine\n"
        said = rf"stage is being run by process {orphan.pid}.*`kill {orphan.pid}`"
        with pytest.raises(ConfigError, match=said), claimed("stage", 0.2, tmp_path):
            pass
        orphan.kill()
    with claimed("stage", root=tmp_path), claimed("other", 0, tmp_path):
        assert (tmp_path / "stage.pid").read_text() == str(os.getpid())
    with claimed("stage", 0, tmp_path):
        pass


def test_keys_differ_with_every_part_and_do_not_depend_on_the_process() -> None:
    assert run_key({"a": 1}, "x") != run_key({"a": 2}, "x")
    code = "from tlpipe.train.trainer.resume import run_key; print(run_key({'b': 1, 'a': 2}, 'x'))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert said.stdout.strip() == run_key({"a": 2, "b": 1}, "x")


def test_file_hashes_see_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = hash_files([tmp_path])
    (tmp_path / "a").write_text("2")
    assert hash_files([tmp_path]) != before


def test_features_do_not_depend_on_the_batch(packed: Packed, machine: Machine, tmp_path: Path) -> None:
    encoder = Letters(width=4).encoder()
    for name, size in (("one", 1), ("many", 16)):
        assert sum(embed(encoder, packed, machine, tmp_path / name, size)) == packed.ranges["test"][0]
    one, many = Features.open(tmp_path / "one"), Features.open(tmp_path / "many")
    assert one.groups == encoder.groups
    for group in one.groups:
        assert len(one.at(group)) == packed.ranges["test"][0], "the test split must stay unseen"
        assert np.abs(one.at(group) - many.at(group)).max() < 1e-5


def test_the_last_features_are_the_encoders_output(packed: Packed, machine: Machine, tmp_path: Path) -> None:
    encoder = Letters(width=4).encoder()
    list(embed(encoder, packed, machine, tmp_path, 8))
    rows = packed.rows("validation")[:8]
    batch = Batches(packed, machine.device).samples.take(rows)
    from tlpipe.train.inputs.augmentation import Views

    with torch.no_grad():
        expected = encoder(Views(packed.preprocess, machine.device).evaluation(batch))
    features = Features.open(tmp_path)
    assert np.abs(features.at(features.groups[-1])[rows] - expected.numpy()).max() < 1e-5


def about(backbone: Letters, labels: tuple[str, ...]) -> About:
    return About(
        strategy="x", run_key="k", task=ImageClassification(), backbone=backbone, preprocess=backbone.preprocess(),
        labels=labels, dropout=0.1, temperature=1.5, validation={"loss": 0.1}, total_parameters=1,
        trainable_parameters=1, plan=HeadOnly(kind="head_only").plan(("stem",)),
    )  # fmt: skip


def test_a_model_folder_round_trips_to_the_same_bytes(tmp_path: Path) -> None:
    backbone = Letters(width=4)
    encoder = backbone.encoder()
    model = Classifier(encoder, ImageClassification().head(encoder.feature_dim, 2, 0.1)).eval()
    save_model(tmp_path / "a", model, about(backbone, ("ant", "bee")))
    loaded, said = load_model(tmp_path / "a")
    save_model(tmp_path / "b", loaded, said)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x), loaded(x))


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run `dvc repro`"):
        load_model(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what the test needs to be missing")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda was asked for, but this machine has cpu"):
        Runtime(device="cuda").resolve()


def test_a_network_that_onednn_would_crash_on_trains(machine: Machine) -> None:
    script = textwrap.dedent("""
        import torch
        from tlpipe.train.hardware.device import Runtime
        net = Runtime(device="cpu").resolve().place(torch.nn.Conv2d(4, 8, 1, 2))
        for _ in range(30):
            x = torch.randn(16, 16, 16, 4, requires_grad=True).permute(0, 3, 1, 2)
            net(x.contiguous()).sum().backward()
    """)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    wide = machine.place(torch.nn.Conv2d(16, 8, 3))
    assert next(wide.parameters()).is_contiguous(memory_format=torch.channels_last)


def test_one_rule_chooses_the_device() -> None:
    machine = Runtime().resolve()
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert machine.device.type == expected
    assert machine.precision == "fp32" or expected == "cuda" or bf16_pays_on_cpu()
