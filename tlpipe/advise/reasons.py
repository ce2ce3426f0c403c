"""Why a strategy has the score that it has, in two or three sentences from the evidence."""

from collections.abc import Iterator

from tlpipe.advise.evidence import Evidence
from tlpipe.strategies.counting import risk

POINT = 0.02
"""A difference in the score that is worth a word."""


def reasons(kind: str, family: str, evidence: Evidence, borrowed: bool, both: bool) -> tuple[str, ...]:
    """At most three sentences for a strategy of `kind` and `family`; `borrowed` and `both` as in `Option`."""
    doubt = [f"{kind} was never measured: the figures are those of its nearest relative, with more doubt"]
    back = ["it begins as the all-depth head and goes back to it as far as validation asks"]
    said = [*(doubt if borrowed else []), *(back if both else []), *_family(kind, family, evidence)]
    return tuple(said[:3])


def _family(kind: str, family: str, evidence: Evidence) -> Iterator[str]:
    last, every, random, score = evidence.last, evidence.all_depths, evidence.random, evidence.score
    if family == "frozen":
        own = every if kind == "all_depth_head" else last
        held = f"{evidence.probed:,} held-out {score.samples}"
        yield f"measured: {score.title} {own.accuracy:.1%} +- {own.sigma:.1%} on {held}"
        yield _depths(evidence)
        return
    kept = f"{score.title} of frozen features {every.accuracy:.1%}, of those of a random network {random.accuracy:.1%}"
    few = f"{evidence.per_class:,.0f} {score.examples}"
    if family == "scratch":
        yield f"{kept}: {'little' if evidence.fit < 0.3 else 'much'} of what the source taught would be lost"
        yield f"{few}: {_size(evidence)}, to be learnt from nothing"
        return
    yield f"{kept}: {1 - every.accuracy:.1%} is left to gain"
    if family == "partial":
        yield f"{few}: {_size(evidence)}, of which a part trains"
        yield _depths(evidence)
    else:
        yield f"{few}: {_size(evidence)}, a {risk(evidence.parameters / evidence.samples)} risk of overfitting"


def _depths(evidence: Evidence) -> str:
    gap = evidence.depth_gap
    if gap > POINT:
        return f"lower layers know {gap:.1%} more than the top alone: part of the answer is lost on the way up"
    return "the top features hold what the lower ones do" if gap > -POINT else "lower layers only add noise"


def _size(evidence: Evidence) -> str:
    return f"{evidence.parameters / evidence.samples:,.0f} parameters a sample"
