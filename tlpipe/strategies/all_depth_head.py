"""Feature extraction at every depth: the backbone stays as it is, and one linear head reads all of it."""

from collections.abc import Sequence
from typing import Literal

from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale


class AllDepthHead(Strategy):
    """One converged logistic head on the pooled features of every depth, side by side.

    Head2Toe's idea (Evci et al. 2022, arXiv 2201.03529) without its selection of features: each depth is scaled to the
    same total variance, and one L2 penalty, chosen on validation as in the `head` section, holds for all.
    """

    kind: Literal["all_depth_head"]

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """No phase: the head is fitted on the features that `embed` kept."""
        return Plan(strategy=self.kind, start="head", groups=tuple(groups), phases=(), features="all")
