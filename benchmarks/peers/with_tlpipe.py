"""tlpipe's own side: the real stage commands, each a process of its own, in a project folder made for one run.

Two times are reported. `seconds` is the wall time of check, prepare, pretrain, embed, head and finetune, less what
each of these processes took to start and import, because the peers' time also starts after their imports. It covers
packing and embedding all images, the held-out ones too, which the peers only read after their clock has stopped.
`own_seconds` is what the stages measured themselves: the work on the network. The comparison of five strategies is
timed to its end, with the evaluation of each on validation and test, and scored by its champion.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.peers.job import RATES, RESIZE_TO, SIZE, WEIGHT_DECAY, Job
from benchmarks.peers.project import Project, recipe

TOPS = {"mobilenet_v2": ("block16", "block17", "top"), "resnet18": ("layer4",)}
"""The layer groups that hold what `benchmarks.peers.network.TOPS` names."""
STRATEGY = "bench"
RHO = 0.1
"""Rate of the stem over the head's."""


FIVE: dict[str, dict[str, Any]] = {
    "head_only": {"kind": "head_only"},
    "top_layers": {"kind": "top_layers", "layers": 3, "lr": 1e-4, "gamma": 0.8, "stage_epochs": 1},
    "all_layers": {"kind": "all_layers", "lr": 1e-4, "rho": 0.1, "stages": 1},
    "norm_only": {"kind": "norm_only", "lr": 1e-3},
    "scratch": {"kind": "scratch", "lr": 1e-3},
}
"""Of the comparison; epochs are added, of which two are the first two phases of `top_layers`."""


def measure(job: Job, folder: Path) -> dict[str, Any]:
    """Run one job; what it took and found. Raises StageFailed."""
    project = Project.make(folder, parameters(job))
    for stage in ("check", "prepare", "pretrain", "embed", "head"):
        project.stage(stage)
    (_compare if job.comparison else _one)(project, job)
    scored = folder / ("models/champion" if job.comparison else f"reports/evaluation/{STRATEGY}")
    scores = json.loads((scored / "metrics.json").read_text())
    data = json.loads((folder / "reports/data.json").read_text())
    timing = json.loads((folder / "reports/training/embed/timing.json").read_text())
    return {
        "seconds": sum(project.work_seconds().values()),
        "seconds_with_imports": sum(project.seconds.values()),
        "own_seconds": project.own_seconds(),
        "stages": project.work_seconds(),
        "imports": project.imports,
        "validation": scores["validation"]["accuracy"],
        "test": scores["test"]["accuracy"],
        "precision": timing["precision"],
        "trained": sum(data["counts"]["train"].values()),
        "memory": project.peak.total,
        "memory_anonymous": project.peak.anonymous,
    }


def _one(project: Project, job: Job) -> None:
    only_head = [phase.part for phase in job.phases] == ["head"]
    # for a head it only copies, so that it can be scored
    project.stage("finetune", STRATEGY, measured=not only_head)
    project.stage("evaluate", STRATEGY, measured=False)


def _compare(project: Project, job: Job) -> None:
    for stage in ("finetune", "evaluate"):
        for name in FIVE:
            project.stage(stage, name)
    project.stage("compare")


def parameters(job: Job) -> dict[str, Any]:
    """recipes/hymenoptera.yaml with this job's images, network, epochs and batch."""
    params = recipe()
    splits = {split: split for split in ("train", "validation", "test")}
    params["data"]["source"] = {"kind": "image_folder", "path": job.images, "splits": splits}
    params["data"]["split"] |= {"validation": None, "test": None}
    params["backbone"] |= {"path": job.weights, "architecture": {"library": "torchvision", "name": job.backbone}}
    params["backbone"]["inputs"] |= {"size": SIZE, "resize_to": RESIZE_TO}
    params["runtime"] |= {"threads": job.threads, "precision": job.precision}
    params["training"] |= {"seed": job.seed, "batch_size": job.batch, "weight_decay": WEIGHT_DECAY}
    one = {STRATEGY: _strategy(job, params["finetune"]["all_layers"])}
    params["finetune"] = _five(job.phases[-1].epochs) if job.comparison else one
    params["strategies"] = list(params["finetune"])
    return params


def _five(epochs: int) -> dict[str, Any]:
    lengths: dict[str, dict[str, int]] = {"head_only": {}, "top_layers": {"epochs": max(1, epochs - 2)}}
    return {name: {**spec, **lengths.get(name, {"epochs": epochs})} for name, spec in FIVE.items()}


def _strategy(job: Job, all_layers: dict[str, Any]) -> dict[str, Any]:
    """The peers' rate everywhere; the head stage has fitted the head before any of these epochs."""
    parts = [phase.part for phase in job.phases]
    if parts == ["head"]:
        return {"kind": "head_only"}
    if parts == ["all"]:
        return {**all_layers, "lr": RATES["all"], "rho": RHO, "epochs": job.phases[0].epochs}
    rate = RATES["all"]
    tops = dict.fromkeys(TOPS[job.backbone], rate)
    rates: dict[str, dict[str, float | None]] = {
        "head": {"head": rate, "*": None},
        "top": {"head": rate, **tops, "*": None},
        "all": {"head": rate, **tops, "*": rate * RHO},
    }
    rows = [{"name": each.part, "epochs": each.epochs, "rates": rates[each.part]} for each in job.phases]
    return {"kind": "phases", "start": "head", "phases": rows}
