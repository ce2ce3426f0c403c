"""What the finetune stage does for a TF-IDF strategy: the same outs as for a network, without one."""

import time
from typing import NamedTuple

from tlpipe.preprocess.ngrams import NgramPreprocess
from tlpipe.stages.training import Setting
from tlpipe.strategies.counting import Size, Sizes, summary
from tlpipe.strategies.plan import HEAD
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.train.heads.linear import path_as_epochs
from tlpipe.train.heads.tfidf import Fitted, cross_fit
from tlpipe.train.model import About
from tlpipe.train.trainer.crossfit import labels_of
from tlpipe.train.trainer.events import Epoch
from tlpipe.train.trainer.resume import run_key
from tlpipe.train.trainer.temperature_scaling import fit_temperature


class TrainedTfIdf(NamedTuple):
    """A TF-IDF strategy's model, and how it came about."""

    about: About
    fitted: Fitted
    sizes: Sizes
    epochs: list[Epoch]
    """The path of penalties."""
    seconds: float


def train_tfidf(setting: Setting, strategy: TfIdf) -> TrainedTfIdf:
    """Fit it, with the penalty and the temperature that the held-out texts choose."""
    begun = time.perf_counter()
    fitted = cross_fit(strategy, setting.packed)
    seconds = time.perf_counter() - begun
    sizes = {HEAD: Size(fitted.model.weight.numel() + fitted.model.bias.numel())}
    plan = setting.plan(strategy)
    task, logits, labels = setting.head.task, fitted.held_out, labels_of(setting.packed)
    facts = summary(plan, sizes)
    about = setting.head.model_copy(
        update={
            "strategy": setting.name,
            "run_key": run_key("finetune", setting.name, strategy.model_dump(), *setting.inputs),
            "preprocess": NgramPreprocess(words=strategy.words, characters=strategy.characters),
            "dropout": 0.0,
            "temperature": fit_temperature(logits, labels, task.likelihood),
            "fitted": {},
            "validation": task.scores(logits, labels, setting.packed.pooled),
            "plan": plan,
            "total_parameters": facts["parameters"],
            "trainable_parameters": facts["trainable"],
            "ending": None,
        }
    )
    print(f"{setting.name}: {len(fitted.words):,} n-grams of words, {len(fitted.characters):,} of characters, "
          f"C {fitted.strength:g}")  # fmt: skip
    return TrainedTfIdf(about, fitted, sizes, path_as_epochs(fitted.path, setting.packed.learnt, seconds), seconds)
