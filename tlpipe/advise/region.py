"""The four regions of the classical flow chart, size x similarity: a starting point that people can read.

Its cells are recipes from the teaching literature (after Yosinski et al. 2014, arXiv 1411.1792). They are
not what the advice rests on: benchmarks/advisor measures how far following them is from the best.
"""

from typing import NamedTuple

from tlpipe.advise.evidence import Evidence

SMALL = 100
"""Samples a class below which a data set is small."""
SIMILAR = 0.5
"""Share of a random network's errors that the frozen features remove, from which source and target count as similar."""


class Region(NamedTuple):
    """One cell of the flow chart."""

    name: str
    kind: str
    """The kind of strategy that the chart recommends there."""
    unfreeze: str
    """Which layers, in words."""


REGIONS = {
    (True, True): Region("small and similar", "head_only", "none: a new head on frozen features"),
    (True, False): Region("small and different", "top_layers", "the top third, or a head on lower layers' features"),
    (False, True): Region("large and similar", "all_layers", "all, the lower the slower"),
    (False, False): Region("large and different", "all_layers", "all at a normal rate; from scratch is a rival"),
}
"""By (small, similar)."""


def region(evidence: Evidence) -> Region:
    """Where a target lies on the chart."""
    return REGIONS[evidence.per_class < SMALL, evidence.fit >= SIMILAR]
