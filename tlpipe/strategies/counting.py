"""What a plan costs in parameters: by group and phase, and against the number of training samples. No torch."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tlpipe.strategies.plan import HEAD, Adapt, Phase, Plan

RISKS = ((1, "low"), (100, "moderate"), (10_000, "high"))
"""Most trainable parameters a sample, and what to call the risk of overfitting; beyond the last one it is very high."""

CONVERGED = "converged head"
"""What stands in the place of a phase where a plan has none."""
Row = Mapping[str, Any]


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


def account(plan: Plan, sizes: Sizes, weight_decay: float, samples: int | None = None) -> dict[str, Any]:
    """A plan in figures, whole: what is printed, written as plan.json, sent to MLflow and read by the report.

    Args:
        plan: What to count.
        sizes: Of each of the plan's groups and of `head`.
        weight_decay: Of matrices and kernels that train.
        samples: In the training split; None = not known.

    Returns:
        `summary`, what else regularises, how the training ends, `totals` (one a phase) and `rows` (a phase and group).
    """
    regularised = {"l2_sp": plan.l2_sp and plan.l2_sp.model_dump(), "wise_ft": plan.wise_ft, "soup": plan.soup}
    tables = {"totals": totals(plan, sizes), "rows": table(plan, sizes, weight_decay)}
    return {**summary(plan, sizes, samples), **regularised, **tables}


def table(plan: Plan, sizes: Sizes, weight_decay: float) -> list[dict[str, Any]]:
    """One row a phase and group, from the input to the head; learning_rate and weight_decay are None where frozen.

    Weight decay is that of matrices and kernels; vectors, tokens, embeddings and positions have none. A plan
    without phases has one row a group all the same: its head, which is fitted until it has converged, trains without
    epochs, rate and weight decay.
    """
    if not plan.phases:
        return [
            _row(CONVERGED, 0, group, sizes[group], "all" if group == HEAD else None, None, None)
            for group in (*plan.groups, HEAD)
        ]
    decays = (0.0 if plan.l2_sp else weight_decay, None)
    return [
        _row(phase.name, phase.epochs, group, sizes[group], phase.adapt_of(group), rate, decays[rate is None])
        for phase in plan.phases
        for group, rate in phase.rates.items()
    ]


def _row(
    phase: str, epochs: int, group: str, size: Size, adapt: Adapt | None, rate: float | None, decay: float | None
) -> dict[str, Any]:
    return {
        "phase": phase,
        "epochs": epochs,
        "group": group,
        "parameters": size.total,
        "trainable": adapt is not None,
        "trained_parameters": size.trained(adapt),
        "adapt": adapt,
        "learning_rate": rate,
        "weight_decay": decay,
    }


def by_phase(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows of `table`, a list a phase: two phases may share their name, but each begins with the lowest group."""
    starts = [index for index, row in enumerate(rows) if row["group"] == rows[0]["group"]]
    return [rows[start:end] for start, end in pairwise([*starts, len(rows)])]


def most_trained(phases: Sequence[Sequence[Row]]) -> list[int]:
    """Of each group, from the input to the head: the parameters that train in the phase in which most of it does."""
    return [max(row["trained_parameters"] for row in rows) for rows in zip(*phases, strict=True)]


def totals(plan: Plan, sizes: Sizes) -> list[dict[str, Any]]:
    """One row a phase: its passes, the parameters that train, their share of all, and the bottom/top ratio of rates."""
    total = sum(sizes[group].total for group in (*plan.groups, HEAD))
    counted: list[tuple[str, int, int, float | None]] = [
        (phase.name, phase.epochs, trained(phase, sizes), phase.ratio) for phase in plan.phases
    ]
    return [
        {"phase": name, "epochs": epochs, "trainable": count, "ratio": count / total, "rho": rho}
        for name, epochs, count, rho in counted or [(CONVERGED, 0, sizes[HEAD].total, None)]
    ]


def summary(plan: Plan, sizes: Sizes, samples: int | None = None) -> dict[str, Any]:
    """The plan in a few figures: counts are of the phase in which most trains; `ratio` is of all parameters.

    A plan without phases fits the head alone, on frozen features.
    """
    largest = max(totals(plan, sizes), key=lambda each: int(each["trainable"]))
    per_sample = largest["trainable"] / samples if samples else None
    return {
        "strategy": plan.strategy,
        "start": plan.start,
        "features": plan.features,
        "phases": len(plan.phases),
        "epochs": sum(phase.epochs for phase in plan.phases),
        "parameters": sum(sizes[group].total for group in (*plan.groups, HEAD)),
        "trainable": largest["trainable"],
        "ratio": largest["ratio"],
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
