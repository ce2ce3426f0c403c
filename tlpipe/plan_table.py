"""A plan in figures (`counting.account`) as a table for people: what trains in which phase, at which rate."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlpipe.strategies.counting import Row, by_phase, most_trained

PHASES_A_TABLE = 6
"""A staged unfreeze of a deep network has dozens of phases: tables follow each other instead of growing wide."""
PARTS = {"all": "", "norms": " norms", "lora": " adapters"}

UNSETTLED = "the plan comes with the backbone, which the stage choose takes first: run `dvc repro choose`"
NO_NETWORK = "no network and no phase; the training texts decide how many n-grams there are"


def rate(value: float | None) -> str:
    """A learning rate to three digits: `1e-4`, `3.33e-5`; `frozen` for None."""
    if value is None:
        return "frozen"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def line(facts: Row) -> str:
    """A plan's `counting.summary` in one line."""
    share = f"{facts['trainable']:,} of {facts['parameters']:,} parameters train ({facts['ratio']:.2%})"
    if facts["start"] == "texts":
        return f"{share}, on TF-IDF weights of n-grams, without a network"
    if not facts["phases"]:
        every = "in one head on the features of every depth"
        return f"{share}, {every if facts['features'] == 'all' else 'in the head stage alone'}"
    start = {"head": "the head stage's model", "random": "random weights"}[facts["start"]]
    word = "phase" if facts["phases"] == 1 else "phases"
    return f"{share}, from {start}, {facts['phases']} {word}, at most {facts['epochs']} epochs"


def notes(account: Row) -> list[str]:
    """What the table does not show, a line each: ratio of the rates, regularisation, risk of overfitting, ending."""
    lines = list[str]()
    if account["phases"]:
        lines.append(f"bottom/top ratio of the rates in the last phase: {account['rho']:.3g}")
        said = f"weight decay {_decay(account)} on matrices and kernels, none on biases and norms"
        if penalty := account["l2_sp"]:
            said = f"L2-SP instead of weight decay: alpha {penalty['alpha']:g}, beta {penalty['beta']:g}"
        lines.append(said)
    else:
        lines.append("no rate and no epochs: the head is fitted until it has converged; validation chooses its penalty")
    if account["parameters_per_sample"] is None:
        lines.append("training samples: not known yet")
    else:
        lines.append(
            f"{account['parameters_per_sample']:,.3g} trainable parameters a training sample ({account['samples']:,}): "
            f"{account['overfitting_risk']} risk of overfitting by this rule of thumb; the validation split decides"
        )
    ends = [f"greedy soup of the last {account['soup']} epochs"] * bool(account["soup"])
    ends += ["interpolation towards the start (WiSE-FT)"] * account["wise_ft"]
    return lines + ([f"at the end, chosen on validation: {', then '.join(ends)}"] if ends else [])


def render(account: Row, title: str | None = None) -> RenderableType:
    """Rows are layer groups from the input to the head, columns are phases; a cell is the peak learning rate.

    Two more columns say what trains in some phase, and the weight decay of that.

    Args:
        account: What to show.
        title: Stands above the table; the strategy's kind if None.
    """
    heading = Text(f"{title or account['strategy']}: {line(account)}", style="bold")
    phases, totals = by_phase(account["rows"]), account["totals"]
    moved = most_trained(phases)
    cuts = [slice(start, start + PHASES_A_TABLE) for start in range(0, len(phases), PHASES_A_TABLE)]
    below = [Text(f"  {each}", style="dim") for each in notes(account)]
    return Group(heading, *(_table(account, moved, phases[cut], totals[cut]) for cut in cuts), *below)


def _table(account: Row, moved: Sequence[int], phases: Sequence[Sequence[Row]], totals: Sequence[Row]) -> Table:
    """Some of the phases; `moved` is of all of them."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("group", footer="trainable\nratio")
    table.add_column("parameters", justify="right", footer=f"{account['parameters']:,}\n")
    for total in totals:
        passes = f"{total['epochs'] or 'no'} epoch{'' if total['epochs'] == 1 else 's'}"
        footer = f"{total['trainable']:,}\n{total['ratio']:.2%}"
        table.add_column(f"{total['phase']}\n{passes}", justify="right", footer=footer)
    table.add_column("trainable", justify="right", footer=f"{sum(moved):,}")
    table.add_column("weight\ndecay", justify="right")
    for rows, most in zip(zip(*phases, strict=True), moved, strict=True):
        cells = [_cell(row) for row in rows]
        name, count = rows[0]["group"], f"{rows[0]['parameters']:,}"
        table.add_row(Text(name), count, *cells, f"{most:,}", _decay(account) if most else "none")
    return table


def _decay(account: Row) -> str:
    """The weight decay of what trains: one for the whole plan; a fitted head has a penalty instead."""
    if account["l2_sp"] or not account["phases"]:
        return "L2-SP" if account["l2_sp"] else "none"
    return f"{max(row['weight_decay'] for row in account['rows'] if row['trainable']):g}"


def _cell(row: Row) -> Text:
    value, adapt = row["learning_rate"], row["adapt"]
    if row["trainable"] and value is None:
        return Text("no rate", style="green")
    if adapt in (None, "all"):
        return Text(rate(value), style="dim" if value is None else "green")
    return Text(f"{rate(value)} ({row['trained_parameters']:,}{PARTS[adapt]})", style="green")
