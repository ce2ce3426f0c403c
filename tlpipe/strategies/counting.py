"""What a plan costs in parameters: by group and phase, and against the number of training samples. No torch."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tlpipe.strategies.plan import HEAD, Adapt, Phase, Plan

RISKS = ((1, "low"), (100, "moderate"), (10_000, "high"))
"""Most trainable parameters a sample, and what to call the risk of overfitting; beyond the last one it is very high."""


class Size(NamedTuple):
    """Parameters of one layer group."""

    total: int
    norms: int = 0
    """Affine parameters of norm layers."""
    adapters: int = 0
    """Of the low-rank adapters that the plan asks for; they are not part of `total`, because they are merged."""

    def trained(self, adapt: Adapt | None) -> int:
        """How many train when that much of the group moves."""
        return {None: 0, "all": self.total, "norms": self.norms, "lora": self.adapters}[adapt]


Sizes = Mapping[str, Size]
"""Of every layer group and the head."""


def trained(phase: Phase, sizes: Sizes) -> int:
    """Parameters that train in one phase."""
    return sum(sizes[group].trained(phase.adapt_of(group)) for group in phase.rates)


def table(plan: Plan, sizes: Sizes, weight_decay: float) -> list[dict[str, Any]]:
    """One row a phase and group, from the input to the head; learning_rate and weight_decay are None where frozen.

    Weight decay is that of matrices and kernels; biases, norms and other one-dimensional tensors have none.
    """
    decay = 0.0 if plan.l2_sp else weight_decay
    return [
        {
            "phase": phase.name,
            "epochs": phase.epochs,
            "group": group,
            "parameters": sizes[group].total,
            "trainable": rate is not None,
            "trained_parameters": sizes[group].trained(phase.adapt_of(group)),
            "adapt": phase.adapt_of(group),
            "learning_rate": rate,
            "weight_decay": None if rate is None else decay,
        }
        for phase in plan.phases
        for group, rate in phase.rates.items()
    ]


def totals(plan: Plan, sizes: Sizes) -> list[dict[str, Any]]:
    """One row a phase: its passes, the parameters that train, their share of all, and the bottom/top ratio of rates."""
    total = sum(sizes[group].total for group in (*plan.groups, HEAD))
    return [
        {
            "phase": phase.name,
            "epochs": phase.epochs,
            "trainable": trained(phase, sizes),
            "ratio": trained(phase, sizes) / total,
            "rho": phase.ratio,
        }
        for phase in plan.phases
    ]


def summary(plan: Plan, sizes: Sizes, samples: int | None = None) -> dict[str, Any]:
    """The plan in figures: counts are of the phase in which most trains; `ratio` is of all parameters.

    A plan without phases trains the head alone, in closed loop on frozen features.
    """
    total = sum(sizes[group].total for group in (*plan.groups, HEAD))
    largest = max((trained(phase, sizes) for phase in plan.phases), default=sizes[HEAD].total)
    per_sample = largest / samples if samples else None
    return {
        "strategy": plan.strategy,
        "start": plan.start,
        "phases": len(plan.phases),
        "epochs": sum(phase.epochs for phase in plan.phases),
        "parameters": total,
        "trainable": largest,
        "ratio": largest / total,
        "rho": plan.phases[-1].ratio if plan.phases else None,
        "samples": samples,
        "parameters_per_sample": per_sample,
        "overfitting_risk": None if per_sample is None else risk(per_sample),
    }


def risk(per_sample: float) -> str:
    """A word for the risk of overfitting by trainable parameters a training sample.

    A rule of thumb that knows nothing of the start and of the rates: from pretrained weights, at low rates, far more
    parameters than samples can be right, and the validation split is what tells.
    """
    return next((word for most, word in RISKS if per_sample <= most), "very high")
