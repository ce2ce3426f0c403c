"""From evidence to a ranked list of strategies that a person can check."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlpipe.advise.cost import Clock
from tlpipe.advise.evidence import Evidence
from tlpipe.advise.experience import Experience, Predicted, Rule, predict
from tlpipe.advise.reasons import reasons
from tlpipe.advise.region import region
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale

INDIFFERENT = 0.005
"""Of the score that is worth no training: of strategies so near to the best the cheapest is recommended."""
CLOSE = 0.5
"""Strategies are tied when their difference is less than so many standard deviations of it."""
MOST = 3
"""Strategies in a race."""
NEAREST = {"frozen": "head_only", "partial": "top_layers", "full": "all_layers", "scratch": "scratch"}
"""The measured kind that stands in for one that was not, by family."""
FROZEN = ("head_only", "all_depth_head")


@dataclass(frozen=True)
class Option:
    """One strategy, judged."""

    name: str
    kind: str
    family: str
    predicted: Predicted
    measured: bool
    """Whether the score was measured on this data, by cross-validation, rather than predicted from other data."""
    borrowed: bool
    """Whether the rule is that of the nearest measured kind."""
    both: bool
    """See `holds_both`."""
    seconds: float


@dataclass(frozen=True)
class Advice:
    """The answer."""

    options: tuple[Option, ...]
    """From the best predicted score down."""
    recommended: Option
    tied: tuple[Option, ...]
    """Complementary strategies that are too close to call, the best first; empty where one is clearly ahead."""
    evidence: Evidence
    experience: Experience

    def reasons(self, option: Option) -> tuple[str, ...]:
        """Why an option has its score, in at most three sentences."""
        return reasons(option.kind, option.family, self.evidence, option.borrowed, option.both)

    def summary(self) -> dict[str, Any]:
        """The content of reports/advice.json."""
        where = region(self.evidence)
        return {
            "score": self.evidence.score.name,
            "recommended": self.recommended.name,
            "ranking": [
                {
                    "strategy": option.name,
                    "kind": option.kind,
                    "predicted": round(option.predicted.accuracy, 4),
                    "sigma": round(option.predicted.sigma, 4),
                    "measured": option.measured,
                    "cost_seconds": round(option.seconds, 1),
                    "reasons": list(self.reasons(option)),
                }
                for option in self.options
            ],
            "tie": [option.name for option in self.tied],
            "region": {"name": where.name, "recipe": where.kind, "unfreeze": where.unfreeze},
            "evidence": self.evidence.summary(),
            "experience": {
                "targets": list(self.experience.targets),
                "cells": self.experience.cells,
                "most_cells": self.experience.most_cells,
                "doubt": self.evidence.score.doubt,
            },
        }


def advise(
    strategies: Mapping[str, Strategy],
    groups: Sequence[str],
    evidence: Evidence,
    experience: Experience,
    clock: Clock,
    views: int,
    scale: Scale | None = None,
) -> Advice:
    """Rank `strategies` (by name) for a backbone with layer `groups`; `views` as in `cost.views_of`.

    `scale` as in `Strategy.plan`.
    """
    plans = {name: strategy.plan(groups, scale) for name, strategy in strategies.items()}
    options = [_judge(name, plan, evidence, experience, clock, views) for name, plan in plans.items()]
    options.sort(key=lambda option: (-option.predicted.accuracy, option.name))
    useful = options
    if evidence.best.accuracy <= 2 * evidence.best.sigma:  # a head that finds nothing is cheap, and no use
        useful = [option for option in options if option.family != "frozen"] or options
    best = useful[0].predicted.accuracy
    near = [option for option in useful if best - option.predicted.accuracy <= INDIFFERENT]
    recommended = min(near, key=lambda option: (sum(clock.passes(plans[option.name], views)), option.name))
    if recommended.family == "frozen":
        recommended = next((option for option in useful if option.both), recommended)
    return Advice(tuple(options), recommended, _tied(useful), evidence, experience)


def family(plan: Plan) -> str:
    """frozen, partial, full or scratch: what of the pretrained network is left untouched."""
    if plan.start == "random":
        return "scratch"
    if not plan.phases:
        return "frozen"
    return "full" if set(plan.groups) <= set(plan.ever_trained) else "partial"


def holds_both(plan: Plan) -> bool:
    """Whether a training begins as the all-depth head and may end as it, which makes it a race of both by itself."""
    return plan.features == "all" and bool(plan.phases) and plan.wise_ft


def _judge(name: str, plan: Plan, evidence: Evidence, experience: Experience, clock: Clock, views: int) -> Option:
    own = family(plan)
    borrowed = plan.strategy not in experience.rules
    kind = NEAREST[own] if borrowed else plan.strategy
    rule: Rule = experience.rules[kind]
    seconds = clock.seconds(plan, evidence.samples, views) or clock.forward * evidence.samples
    carried = evidence.score.doubt > 1
    found = predict(rule, evidence, borrowed, experience.rules[NEAREST["frozen"]] if carried else None)
    return Option(name, plan.strategy, own, found, plan.strategy in FROZEN, borrowed, holds_both(plan), seconds)


def _tied(options: Sequence[Option]) -> tuple[Option, ...]:
    """The best and what is too close to it, one a family: a race between near twins would teach little."""
    best, tied = options[0], [options[0]]
    for option in options[1:]:
        gap = best.predicted.accuracy - option.predicted.accuracy
        doubt = math.hypot(best.predicted.spread, option.predicted.spread)
        if gap <= CLOSE * doubt and option.family not in {each.family for each in tied}:
            tied.append(option)
    return tuple(tied[:MOST]) if len(tied) > 1 else ()
