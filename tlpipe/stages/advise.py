"""advise: which strategy for this data and this backbone, with what score, at what cost, and why; trains nothing."""

from pathlib import Path

import numpy as np
import torch

from tlpipe import config
from tlpipe.advise.advice import Advice, advise
from tlpipe.advise.choice import read_choice
from tlpipe.advise.cost import Clock, views_of
from tlpipe.advise.decision import Decision
from tlpipe.advise.evidence import gather, subject
from tlpipe.advise.experience import load_experience
from tlpipe.advise.passes import shares
from tlpipe.advise.race import decide
from tlpipe.advise.spec import Advise
from tlpipe.data.packed import Packed
from tlpipe.strategies import AnyStrategy
from tlpipe.strategies.auto import Advised
from tlpipe.strategies.base import Strategy
from tlpipe.train.cache.embed import Features
from tlpipe.train.hardware.device import Runtime
from tlpipe.train.pretraining.source import load_source, source_encoder
from tlpipe.train.spec import Training
from tlpipe.train.trainer.history import write_json
from tlpipe.train.trainer.randomness import derive

SOURCE, PACKED, FEATURES = Path("models/source"), Path("data/packed"), Path("data/features")
REPORT, DECISIONS = Path("reports/advice.json"), Path("data/advice")


def main() -> None:
    """Write reports/advice.json for people, and data/advice/<strategy>.json for the finetune stages."""
    settings: Advise = config.load("advise", Advise)
    runtime: Runtime = config.load("runtime", Runtime)
    training: Training = config.load("training", Training)
    strategies: dict[str, Strategy] = config.load("finetune", dict[str, AnyStrategy])
    packed, features, source = Packed.open(PACKED), Features.open(FEATURES), load_source(SOURCE)
    machine, views = runtime.resolve(source.backbone.hidden_size), views_of(training)
    # the test split is never looked at; the validation split is: what is chosen here is chosen on it again later
    encoder = source_encoder(SOURCE, source)
    seen = subject(packed, packed.labelled, encoder.feature_dim * len(source.groups), settings.seed)
    torch.manual_seed(derive(settings.seed, "control"))
    control = source.backbone.encoder()
    depths = {group: np.array(features.at(group)[seen.lines]) for group in features.groups}
    evidence = gather(depths, encoder, control, packed, seen, machine, settings.seed, settings.directions)
    clock = Clock(evidence.forward, shares(encoder, packed, machine))
    candidates = {name: strategy for name, strategy in strategies.items() if strategy.settled and strategy.network}
    scale = training.scale(packed.learnt, encoder.batch_norms)
    advice = advise(candidates, source.groups, evidence, load_experience(), clock, views, scale)
    chosen = read_choice(Path(), source.backbone.kind)
    write_json(REPORT, {**advice.summary(), **({"backbone": chosen} if chosen else {})})
    for name, strategy in strategies.items():
        decision = Decision(contenders=())
        if isinstance(strategy, Advised):
            decision = decide(advice, candidates, source.groups, clock, views, strategy.race, scale)
        decision.write(DECISIONS / f"{name}.json")
    print(*_lines(advice), sep="\n")


def _lines(advice: Advice) -> list[str]:
    score = advice.evidence.score
    lines = [
        f"{option.name}: {score.title} {option.predicted.accuracy:.3f} +- {option.predicted.sigma:.3f}"
        f"{' (measured)' if option.measured else ''}, {option.seconds:.0f} s"
        for option in advice.options
    ]
    tie = f"; tie: race {', '.join(option.name for option in advice.tied)}" if advice.tied else ""
    if (gained := advice.evidence.transfer) is not None:
        lines.append(
            f"pretrained minus random weights, frozen: {100 * gained.value:+.1f} points of {score.title} "
            f"[{100 * gained.low:+.1f}, {100 * gained.high:+.1f}]"
        )
    return [*lines, f"recommended: {advice.recommended.name}{tie}"]
