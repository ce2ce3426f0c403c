"""The written rule behind `auto`, at its corners."""

import pytest

from tlpipe.strategies.scale import BASE, Scale


@pytest.mark.parametrize(
    ("samples", "epochs", "stage", "rho", "decay", "alpha"),
    [
        (None, 19, 3, 0.1, 0.016, 0.01),
        (50, 60, 10, 0.1, 0.05, 0.1),
        (150, 60, 10, 0.1, 0.041, 0.067),
        (1000, 19, 3, 0.1, 0.016, 0.01),
        (10_000, 3, 1, 0.3, 0.005, 0.001),
        (1_000_000, 3, 1, 0.3, 0.001, 0.001),
    ],
)
def test_the_rule_by_the_number_of_samples(
    samples: int | None, epochs: int, stage: int, rho: float, decay: float, alpha: float
) -> None:
    scale = Scale(samples=samples)
    assert (scale.epochs(), scale.stage_epochs(), scale.rho()) == (epochs, stage, rho)
    assert (scale.weight_decay(), scale.l2_sp().alpha, scale.l2_sp().beta) == (decay, alpha, 0.01)


def test_scratch_trains_three_times_as_long_at_the_full_rate_however_few_samples() -> None:
    assert Scale(samples=50).epochs(3) == 180
    assert Scale(samples=50).lr("scratch") == BASE["scratch"] == 1e-3  # common advice for it
    assert Scale(samples=50).lr("all") == BASE["all"] / 2


@pytest.mark.parametrize(
    ("optimizer", "batch", "lr"), [("adamw", 32, 3e-4), ("adamw", 128, 6e-4), ("sgd", 32, 3e-3), ("sgd", 256, 2.4e-2)]
)
def test_rates_follow_the_batch_by_its_root_or_linearly(optimizer: str, batch: int, lr: float) -> None:
    scale = Scale.model_validate({"samples": 1000, "batch_size": batch, "optimizer": optimizer})
    assert scale.lr("all") == pytest.approx(lr)


@pytest.mark.parametrize(
    ("samples", "epochs"),
    [(None, 20), (16, 60), (24, 40), (44, 40), (80, 30), (175, 20), (800, 20), (5000, 4), (10**5, 3)],
)
def test_networks_with_batch_norms_take_the_high_rate_and_passes_by_the_root_of_the_samples(
    samples: int | None, epochs: int
) -> None:
    scale = Scale(samples=samples, batch_size=16, batch_norms=True)
    assert (scale.lr("all"), scale.lr("top"), scale.epochs()) == (5e-4, 5e-4, epochs)
    assert scale.lr("norms") == Scale(samples=samples, batch_size=16).lr("norms")
