"""Who races, and for how many epochs: decided with the advice, from work that is counted and not timed."""

from collections.abc import Mapping, Sequence

from tlpipe.advise.advice import Advice, holds_both
from tlpipe.advise.cost import Clock
from tlpipe.advise.decision import Contender, Decision
from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale

SHARE = 0.25
"""Of its own training: how far each of two goes before one is stopped. Of k, each goes 1 / (k - 1) of that far, so that
a race costs at most 1.25 trainings of the dearest, counted in forward passes (`Clock.passes`) and not in seconds."""
MOST = 0.3
"""What losers may cost where a single epoch is already more than SHARE; else the training does not race."""


def decide(
    advice: Advice,
    strategies: Mapping[str, Strategy],
    groups: Sequence[str],
    clock: Clock,
    views: int,
    race: bool,
    scale: Scale | None = None,
) -> Decision:
    """The recommended strategy, or with `race` those that are tied, with the epochs after which each is judged."""
    entries = laps(advice, strategies, groups, clock, views, scale) if race else {advice.recommended.name: 0}
    judged = {option.name: option.predicted for option in advice.options}
    contenders = [
        Contender(
            name=name,
            epochs=epochs,
            predicted=round(judged[name].accuracy, 4),
            spread=round(judged[name].spread, 4),
            strategy=strategies[name],  # type: ignore[arg-type]
        )
        for name, epochs in entries.items()
    ]
    return Decision(contenders=tuple(contenders))


def laps(
    advice: Advice,
    strategies: Mapping[str, Strategy],
    groups: Sequence[str],
    clock: Clock,
    views: int,
    scale: Scale | None = None,
) -> dict[str, int]:
    """The epochs of each tied strategy's lap, the best first; 0 where nothing trains, or nothing else does.

    Successive halving with one rung (Jamieson & Talwalkar 2016, arXiv 1502.07943). All are judged at the same share of
    their own schedule: at equal cost a short schedule would have annealed its rate and a long one would not.
    """
    names = [option.name for option in advice.tied] or [advice.recommended.name]
    plans = {name: strategies[name].plan(groups, scale) for name in names}
    names = _uncontained(plans)
    costs = {name: clock.passes(plans[name], views) for name in names}
    trained = [name for name in names if costs[name]]
    rivals = max(len(trained) - 1, 1)
    epochs = {name: max(1, _within(costs[name], SHARE / rivals)) for name in trained}
    slow = {name for name in trained if sum(costs[name][: epochs[name]]) > MOST / rivals * sum(costs[name])}
    if slow & set(trained[:1]):
        slow = set(trained[1:])  # the best one cannot be judged early, so nobody runs against it
    racing = len(trained) - len(slow) > 1
    return {name: epochs.get(name, 0) if racing else 0 for name in names if name not in slow}


def _uncontained(plans: Mapping[str, Plan]) -> list[str]:
    """The names of those that race; where one of them contains others, without these.

    What begins as the all-depth head and ends between that and a fine-tuned network is a race of both in one training.
    Only fresh weights run against it.
    """
    both = [name for name, plan in plans.items() if holds_both(plan)][:1]
    return [*both, *(name for name, plan in plans.items() if plan.start == "random")] if both else list(plans)


def _within(costs: Sequence[float], share: float) -> int:
    """Epochs whose costs add up to at most `share` of all."""
    spent, total = 0.0, sum(costs)
    for count, cost in enumerate(costs):
        spent += cost
        if spent > share * total:
            return count
    return len(costs)
