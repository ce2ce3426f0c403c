"""tlpipe beside its peers on the same images, network, resolution, epochs and batch: `python -m benchmarks.peers.run`.

Each side is timed inside its own process, from the raw image files to the trained model, without its imports. Rounds
are interleaved: every side once, then every side again, the order turned by one each time. Writes
`.tlpipe/bench/results/peers.json` and `peers.md`; `python -m benchmarks.report --adopt` takes the first in.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import FOLDER, ROOT, NotInstalled, python_of
from benchmarks.peers.goals import FULL, ONLY, PEERS, QUICK, SCENARIOS, table, verdict
from benchmarks.peers.images import lay_out, shared
from benchmarks.peers.job import Job, Phase
from benchmarks.peers.memory import run as watched
from benchmarks.peers.project import StageFailed
from benchmarks.peers.with_tlpipe import measure

WORK, RESULTS = FOLDER / "work", FOLDER / "results"
Results = dict[str, dict[str, list[dict[str, Any]]]]


def main() -> None:
    """Install, measure, print and write the table."""
    asked = _arguments()
    source = shared()
    counts = lay_out(source / "data/hymenoptera", WORK / "images", asked.limit)
    base = _job(asked, source)
    interpreters, failed = _install(asked.sides)
    workers = {side: _workers(side, python, base, asked.workers) for side, python in interpreters.items()}
    phases = QUICK if asked.quick else FULL
    wanted = {name: [side for side in asked.sides if side in ONLY.get(name, asked.sides)] for name in asked.scenarios}
    results: Results = {scenario: {side: [] for side in sides} for scenario, sides in wanted.items()}
    for number in range(asked.rounds):
        for scenario in asked.scenarios:
            job = replace(base, phases=_phases(phases[scenario], asked.epochs), comparison=scenario == "five")
            for side in _turned(wanted[scenario], number):
                if side not in failed:
                    each = replace(job, workers=workers.get(side, 0))
                    _once(side, scenario, number, each, interpreters, results, failed)
                    _write(asked, base, counts, results, failed, workers)
    print(_write(asked, base, counts, results, failed, workers))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sides, scenarios = ["tlpipe", *PEERS], list(SCENARIOS)
    parser.add_argument("--quick", action="store_true", help="few epochs: head 3; staged 1 + 1 + 1; all 1; five 1")
    parser.add_argument("--epochs", type=int, help="so many epochs in every phase instead")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--limit", type=int, help="at most so many images in each split")
    parser.add_argument("--backbone", choices=["mobilenet_v2", "resnet18"], default="mobilenet_v2",
                        help="resnet18 has random weights here: for times only")  # fmt: skip
    parser.add_argument("--sides", nargs="+", choices=sides, default=sides)
    parser.add_argument("--scenarios", nargs="+", choices=scenarios, default=scenarios)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--workers", choices=["auto", "0", "2"], default="auto",
                        help="image loading processes of the peers; auto = what each one is faster with")  # fmt: skip
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto",
                        help="of tlpipe; auto = its own choice here. The peers run in fp32, as they come")  # fmt: skip
    asked = parser.parse_args()
    for name in ("epochs", "rounds", "limit", "batch", "threads"):
        if getattr(asked, name) is not None and getattr(asked, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(asked, name)}")
    if asked.limit is not None and asked.limit < asked.batch:
        parser.error(f"--limit {asked.limit} is below the batch of {asked.batch}: some sides drop incomplete batches")
    return asked


def _job(asked: argparse.Namespace, source: Path) -> Job:
    weights = source / "weights/mobilenet_v2_imagenet.pth"
    if asked.backbone == "resnet18":
        weights = _random_weights("resnet18")
    images = str(WORK / "images")
    return Job((), images, asked.backbone, str(weights), 2, asked.batch, asked.threads, 0, 0, asked.precision)


def _random_weights(name: str) -> Path:
    import torch
    from torchvision.models import get_model

    torch.manual_seed(0)
    path = WORK / f"{name}_random.pth"
    torch.save(get_model(name).state_dict(), path)
    return path


def _install(sides: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    found, failed = {}, {}
    for side in sides:
        if side != "tlpipe":
            try:
                found[side] = python_of(side)
            except NotInstalled as error:
                failed[side] = f"not installed: {error}"
                print(f"{side}: {failed[side]}", file=sys.stderr, flush=True)
    return found, failed


def _workers(side: str, python: Path, base: Job, asked: str) -> int:
    """What was asked for, or what one epoch of everything is faster with (after an epoch that warms the disk up)."""
    if asked != "auto":
        return int(asked)
    times = {}
    for workers in (0, 2):
        job = replace(base, phases=(Phase("all", 1),), workers=workers)
        try:
            times[workers] = _peer(side, python, job)["seconds"]
        except StageFailed:
            continue
    chosen = min(times, key=lambda workers: float(times[workers]), default=0)
    print(f"{side}: {chosen} workers, an epoch takes {times}", file=sys.stderr, flush=True)
    return chosen


def _once(
    side: str, scenario: str, number: int, job: Job, interpreters: Mapping[str, Path],
    results: Results, failed: dict[str, str],
) -> None:  # fmt: skip
    """One run of one side; a failure takes the side out of the following rounds and into the table."""
    begun = time.perf_counter()
    try:
        found = measure(job, WORK / "project") if side == "tlpipe" else _peer(side, interpreters[side], job)
    except StageFailed as error:
        failed[side] = str(error)
        print(f"{scenario} {side}: {error}", file=sys.stderr, flush=True)
        return
    results[scenario][side].append(found)
    took = f"{found['seconds']:.1f} s, validation {found['validation']:.3f}, held out {found['test']:.3f}"
    whole = time.perf_counter() - begun
    print(f"round {number + 1} {scenario} {side}: {took} (whole {whole:.1f} s)", flush=True)


def _peer(side: str, python: Path, job: Job) -> dict[str, Any]:
    """Raises StageFailed with the end of the peer's output."""
    asked, answered, log = WORK / f"{side}.job.json", WORK / f"{side}.result.json", WORK / f"{side}.log"
    job.save(asked)
    answered.unlink(missing_ok=True)
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    kept = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [str(python), "-m", f"benchmarks.peers.with_{side}", str(asked), str(answered)]
    ran = watched(command, ROOT, {**kept, **hidden}, log)
    if ran.code or not answered.exists():
        raise StageFailed(f"{side} ended with {ran.code}: {log.read_text(errors='replace')[-600:].strip()}")
    found: dict[str, Any] = json.loads(answered.read_text())
    return {**found, "memory": ran.peak.total, "memory_anonymous": ran.peak.anonymous}


def _phases(phases: tuple[Phase, ...], epochs: int | None) -> tuple[Phase, ...]:
    return phases if epochs is None else tuple(replace(phase, epochs=epochs) for phase in phases)


def _turned(sides: list[str], by: int) -> list[str]:
    by %= len(sides)
    return [*sides[by:], *sides[:by]]


def _write(
    asked: argparse.Namespace, base: Job, counts: Mapping[str, int], results: Results, failed: Mapping[str, str],
    workers: Mapping[str, int],
) -> str:  # fmt: skip
    """Write both files; the Markdown."""
    scored = asked.backbone == "mobilenet_v2"
    verdicts = {
        scenario: {side: verdict(scenario, side, runs, sides.get("tlpipe", []), scored) for side, runs in sides.items()}
        for scenario, sides in results.items()
    }
    machine = {"processor": platform.machine(), "threads": base.threads, "load": os.getloadavg()}
    about = {"asked": vars(asked), "images": dict(counts), "machine": machine, "workers": dict(workers)}
    everything = {
        **about, "job": asdict(base), "failed": dict(failed), "results": results,
        "verdicts": verdicts,
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "peers.json").write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    own = sorted({run["precision"] for sides in results.values() for run in sides.get("tlpipe", [])})
    text = f"{_heading(asked, counts, base, own)}\n\n{table(results, failed, scored)}\n"
    (RESULTS / "peers.md").write_text(text, encoding="utf-8")
    return text


def _heading(asked: argparse.Namespace, counts: Mapping[str, int], base: Job, own: list[str]) -> str:
    images = ", ".join(f"{count} {split}" for split, count in counts.items())
    goals = "" if not asked.quick and asked.epochs is None else " Goals are for the full number of epochs."
    precision = f"tlpipe in {' and '.join(own) or 'no run'}, the peers in fp32"
    return (
        f"{base.backbone}, {images} images, batch {base.batch}, {base.threads} threads, CPU, {precision}, "
        f"medians of {asked.rounds} interleaved rounds.{goals}"
    )


if __name__ == "__main__":
    main()
