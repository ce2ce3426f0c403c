"""A plan as a table for people: what trains in which phase, at which rate, and how many parameters that is."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlpipe.strategies.counting import Sizes, summary, trained
from tlpipe.strategies.plan import HEAD, Phase, Plan

PHASES_A_TABLE = 6
"""A staged unfreeze of a deep network has dozens of phases: tables follow each other instead of growing wide."""
PARTS = {"all": "", "norms": " norms", "lora": " adapters"}


def rate(value: float | None) -> str:
    """A learning rate to three digits: `1e-4`, `3.33e-5`; `frozen` for None."""
    if value is None:
        return "frozen"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def line(plan: Plan, sizes: Sizes) -> str:
    """The summary in one line."""
    facts = summary(plan, sizes)
    share = f"{facts['trainable']:,} of {facts['parameters']:,} parameters train ({facts['ratio']:.2%})"
    if not plan.phases:
        where = "in the head stage alone" if plan.features == "last" else "in one head on the features of every depth"
        return f"{share}, {where}"
    start = {"head": "the head stage's model", "random": "random weights"}[plan.start]
    word = "phase" if facts["phases"] == 1 else "phases"
    return f"{share}, from {start}, {facts['phases']} {word}, at most {facts['epochs']} epochs"


def notes(plan: Plan, sizes: Sizes, weight_decay: float, samples: int | None) -> list[str]:
    """What the table does not show, a line each: ratio of the rates, regularisation, risk of overfitting, ending."""
    facts, lines = summary(plan, sizes, samples), []
    if plan.phases:
        lines.append(f"bottom/top ratio of the rates in the last phase: {facts['rho']:.3g}")
        decay = f"weight decay {weight_decay:g} on matrices and kernels, none on biases and norms"
        if plan.l2_sp:
            decay = f"L2-SP instead of weight decay: alpha {plan.l2_sp.alpha:g}, beta {plan.l2_sp.beta:g}"
        lines.append(decay)
    if facts["parameters_per_sample"] is None:
        lines.append("training samples: not known yet")
    else:
        lines.append(
            f"{facts['parameters_per_sample']:,.3g} trainable parameters a training sample ({samples:,}): "
            f"{facts['overfitting_risk']} risk of overfitting by this rule of thumb; the validation split decides"
        )
    ends = [f"greedy soup of the last {plan.soup} epochs"] * bool(plan.soup)
    ends += ["interpolation towards the start (WiSE-FT)"] * plan.wise_ft
    return lines + ([f"at the end, chosen on validation: {', then '.join(ends)}"] if ends else [])


def render(
    plan: Plan, sizes: Sizes, weight_decay: float, samples: int | None = None, title: str | None = None
) -> RenderableType:
    """Rows are layer groups from the input to the head, columns are phases; a cell is the peak learning rate.

    Two more columns say what trains in some phase, and the weight decay of that.

    Args:
        plan: What to show.
        sizes: Of each of the plan's groups and of `head`.
        weight_decay: Of matrices and kernels that train.
        samples: In the training split; None = not known.
        title: Stands above the table; the strategy's kind if None.
    """
    heading = Text(f"{title or plan.strategy}: {line(plan, sizes)}", style="bold")
    chunks = [plan.phases[i : i + PHASES_A_TABLE] for i in range(0, len(plan.phases), PHASES_A_TABLE)]
    below = [Text(f"  {each}", style="dim") for each in notes(plan, sizes, weight_decay, samples)]
    return Group(heading, *(_table(plan, sizes, weight_decay, chunk) for chunk in chunks), *below)


def _table(plan: Plan, sizes: Sizes, weight_decay: float, phases: Sequence[Phase]) -> Table:
    moved = {group: _moved(plan, sizes, group) for group in (*plan.groups, HEAD)}
    decay = "L2-SP" if plan.l2_sp else f"{weight_decay:g}"
    total = sum(sizes[group].total for group in (*plan.groups, HEAD))
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("group", footer="trainable\nratio")
    table.add_column("parameters", justify="right", footer=f"{total:,}\n")
    for phase in phases:
        count = trained(phase, sizes)
        name = f"{phase.name}\n{phase.epochs} epoch{'' if phase.epochs == 1 else 's'}"
        table.add_column(name, justify="right", footer=f"{count:,}\n{count / total:.2%}")
    table.add_column("trainable", justify="right", footer=f"{sum(moved.values()):,}")
    table.add_column("weight\ndecay", justify="right")
    for group in (*plan.groups, HEAD):
        cells = [_cell(phase, group, sizes) for phase in phases]
        table.add_row(
            Text(group), f"{sizes[group].total:,}", *cells, f"{moved[group]:,}", decay if moved[group] else "none"
        )
    return table


def _moved(plan: Plan, sizes: Sizes, group: str) -> int:
    """Parameters of the group that train in some phase."""
    return max(sizes[group].trained(phase.adapt_of(group)) for phase in plan.phases)


def _cell(phase: Phase, group: str, sizes: Sizes) -> Text:
    value, adapt = phase.rates[group], phase.adapt_of(group)
    if adapt in (None, "all"):
        return Text(rate(value), style="dim" if value is None else "green")
    return Text(f"{rate(value)} ({sizes[group].trained(adapt):,}{PARTS[str(adapt)]})", style="green")
