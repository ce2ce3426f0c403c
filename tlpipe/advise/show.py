"""Advice as a table for people."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tlpipe.advise.advice import Advice
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.region import region
from tlpipe.advise.scores import assumption
from tlpipe.advise.standalone import Answer


def render(answers: Sequence[Answer]) -> RenderableType:
    """The backbones if there are several, and for each of them the ranking, the reasons and what more labels bring."""
    parts: list[RenderableType] = [_backbones(answers)] if len(answers) > 1 else []
    for answer in answers:
        parts += [Text(f"{answer.backbone} ({answer.seconds:.1f} s)", style="bold"), _ranking(answer.advice)]
        parts += [Text(line) for line in lines(answer.advice)]
    return Group(*parts)


def _backbones(answers: Sequence[Answer]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Which backbone?", title_justify="left")
    for name in ("backbone", "best strategy", "predicted", "all depths, measured", "cost"):
        table.add_column(name)
    for answer in answers:
        best, every = answer.advice.options[0], answer.advice.evidence.all_depths
        table.add_row(
            Text(answer.backbone),
            Text(best.name),
            f"{best.predicted.accuracy:.1%} +- {best.predicted.sigma:.1%}",
            f"{every.accuracy:.1%} +- {every.sigma:.1%}",
            _seconds(best.seconds),
        )
    return table


def _ranking(advice: Advice) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("strategy", f"predicted {advice.evidence.score.title}", "", "cost", "why"):
        table.add_column(name)
    for option in advice.options:
        why = "\n".join(advice.reasons(option))
        mark = "measured" if option.measured else "predicted"
        score = f"{option.predicted.accuracy:.1%} +- {option.predicted.sigma:.1%}"
        table.add_row(Text(option.name), score, mark, _seconds(option.seconds), Text(why))
    return table


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def lines(advice: Advice) -> Iterator[str]:
    """The advice in a few sentences."""
    evidence, where, score = advice.evidence, region(advice.evidence), advice.evidence.score
    yield f"recommended: {advice.recommended.name}"
    if advice.tied:
        yield f"tie: race these {len(advice.tied)}: {', '.join(option.name for option in advice.tied)}"
    yield (
        f"region: {where.name} ({evidence.per_class:,.0f} {score.examples}; frozen features remove "
        f"{evidence.fit:.0%} of a random network's errors); the classical recipe there: {where.kind}, unfreeze "
        f"{where.unfreeze}"
    )
    yield f"evidence: {'; '.join(facts(evidence))}"
    for point in evidence.curve:
        if not point.measured:
            yield (
                f"with {point.samples:,} labelled {score.samples} a frozen probe would reach {score.title} "
                f"{point.accuracy:.1%} [{point.low:.1%}, {point.high:.1%}]; {evidence.probed:,} give "
                f"{evidence.best.accuracy:.1%} now"
            )
    yield (
        f"predictions rest on {advice.experience.cells} to {advice.experience.most_cells} measured cells, by strategy, "
        f"of {len(advice.experience.targets)} data sets: few; trust what is measured more"
    )
    if score.doubt > 1:
        yield assumption(score)


def facts(evidence: Evidence) -> Iterator[str]:
    """What was measured, a phrase each; what was not asked for or does not apply is left out."""
    yield f"all-depth gap {evidence.depth_gap:+.1%}"
    yield f"pretrained minus random {evidence.all_depths.accuracy - evidence.random.accuracy:+.1%}"
    if evidence.linearised is not None:
        yield f"linearised fine-tuning {evidence.linearised.accuracy:.1%}"
    if evidence.shift is not None:
        yield f"input shift {evidence.shift:.2f} standard deviations"
    yield f"{evidence.parameters / evidence.samples:,.0f} parameters a sample"
