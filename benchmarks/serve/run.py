"""Servers against onnxruntime alone, in turns: `python -m benchmarks.serve.run BUNDLE --seconds 10 --rounds 3`.

Raw is `session.run` again and again on the size of batch at which it is fastest here; for JPEG files each is decoded
first, on as many threads as there are processors. Each server has a turn a round: started anew, measured with tensors
and with JPEG files over 127.0.0.1 by 32 clients, raw before and after each. The load comes from this process and
shares the processors with the server, as does nothing in the raw figure. Calls of one thread side by side, as tlpipe
makes them on a CPU under load, are printed besides: they are faster than raw.

`--device cuda` takes tlpipe alone, on a GPU; raw is then `session.run` with IO binding.
"""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

from benchmarks.peers.environment import NotInstalled
from benchmarks.serve.contenders import CONTENDERS, DELAY, Running, running
from benchmarks.serve.ideal import best_p99
from benchmarks.serve.load import closed, opened
from benchmarks.serve.pictures import Calls, Sample, call_seconds, calls_under_load, raw_files, raw_tensors, sample
from benchmarks.serve.soak import soak
from tlpipe.serve.runtime.batcher import MOST
from tlpipe.serve.runtime.load import Loaded, load
from tlpipe.serve.runtime.session import Runtime

CLIENTS = 32
KINDS = ("tensors", "files")
SIZES = (1, 2, 4, 6, 8, 16, 32)
LEAST = {"cpu": 0.95, "cuda": 0.9}
"""The goal for tensors, of raw."""


@dataclass
class Turn:
    """What one server did in one round, by kind of request."""

    ratios: dict[str, float] = field(default_factory=dict)
    """Throughput relative to raw."""
    rates: dict[str, float] = field(default_factory=dict)
    """Images a second."""
    p99: dict[str, float] = field(default_factory=dict)
    """Milliseconds, closed loop."""
    failures: int = 0
    megabytes: float = 0.0
    """Resident after the load."""
    idle: float = 0.0
    """Processors used while nothing is asked, after the load."""
    open_p99: float = 0.0
    """Tensors at 70 % of its own throughput, milliseconds."""
    batch: float = 0.0
    """Milliseconds of a full call as the server makes it under load, around that."""
    perfect: float = 0.0
    """What `open_p99` would be for a perfect server at that rate."""
    queue: float = 0.0
    """The same for one whose calls take so long that its throughput is this server's: what waiting in line costs."""


@dataclass(frozen=True)
class Setting:
    """What all turns share."""

    bundle: Path
    loaded: Loaded
    given: Sample
    best: int
    """Samples a call at which raw is fastest."""
    calls: Calls
    """tlpipe's under load."""
    options: tuple[str, ...]
    """tlpipe's."""
    seconds: float


def turn(name: str, setting: Setting, seed: int) -> Turn:
    """One server from its start to its end."""
    loaded, given, best, seconds = setting.loaded, setting.given, setting.best, setting.seconds
    found = Turn()
    with running(name, setting.bundle, given, *(setting.options if name == "tlpipe" else ())) as server:
        for kind in KINDS:
            closed(server.port, getattr(server, kind), CLIENTS, min(2.0, seconds))
            around = [_raw(kind, loaded, given, best, seconds / 2)]
            outcome = closed(server.port, getattr(server, kind), CLIENTS, seconds)
            around.append(_raw(kind, loaded, given, best, seconds / 2))
            found.rates[kind], found.p99[kind] = outcome.rate, 1000 * outcome.percentile(99)
            found.ratios[kind] = outcome.rate / mean(around)
            found.failures += outcome.failures.total()
        found.megabytes = server.memory() / 2**20
        found.idle = _idle(server, seconds)
        _under_way(server, found, setting, seed)
    return found


def _options(device: str, most: int | None) -> tuple[str, ...]:
    """tlpipe's, for a device that is not the others', and for a size of call that is not its own choice."""
    size = most or (None if device == "cpu" else MOST[device])
    return () if size is None else ("--device", device, "--max-batch", str(size))


def _under_way(server: Running, found: Turn, setting: Setting, seed: int) -> None:
    """Tensors at 70 % of the server's own throughput, between two looks at how long calls take."""
    calls, given, seconds = setting.calls, setting.given, setting.seconds
    sizes = [size for size in SIZES if size <= calls.most]
    rate = 0.7 * found.rates["tensors"]
    before = [call_seconds(calls, given.pixels, size, seconds / 8) for size in sizes]
    outcome = opened(server.port, server.tensors, rate, seconds, seed)
    after = [call_seconds(calls, given.pixels, size, seconds / 8) for size in sizes]
    times = {size: mean(pair) for size, pair in zip(sizes, zip(before, after, strict=True), strict=True)}
    found.open_p99, found.batch = 1000 * outcome.percentile(99), 1000 * times[calls.most]
    found.perfect = 1000 * best_p99(times, rate, calls.lanes)
    slower = calls.lanes * calls.most / times[calls.most] / found.rates["tensors"]
    found.queue = 1000 * best_p99({size: slower * time for size, time in times.items()}, rate, calls.lanes)
    found.failures += outcome.failures.total()


def _raw(kind: str, loaded: Loaded, given: Sample, best: int, seconds: float) -> float:
    if kind == "tensors":
        return raw_tensors(loaded, given.pixels, best, seconds)
    return raw_files(loaded, given.jpeg, best, seconds)


def _idle(server: Running, seconds: float) -> float:
    time.sleep(1)
    before, begun = server.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.monotonic() - begun)


def raw_rates(loaded: Loaded, given: Sample, seconds: float) -> dict[int, float]:
    """Images a second of raw by size of batch; the sizes take turns."""
    rates: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(3):
        for size in SIZES:
            rates[size].append(raw_tensors(loaded, given.pixels, size, seconds / 6))
    return {size: median(found) for size, found in rates.items()}


def bounds(loaded: Loaded, given: Sample, rates: dict[int, float], seconds: float) -> None:
    """What no server can do better with these calls, one at a time on all threads and side by side on one each."""
    print("| calls at a time | most a call | images/s | of the best raw | perfect p99 at 70 % | of call + delay |")
    print("|---|---|---|---|---|---|")
    _bounds(1, {size: size / rate for size, rate in rates.items()}, max(rates.values()))
    under = calls_under_load(loaded)
    if under.lanes > 1:
        calls = Calls(under.session, under.lanes, max(SIZES))
        times = {size: call_seconds(calls, given.pixels, size, seconds / 4) for size in SIZES}
        _bounds(under.lanes, times, max(rates.values()))


def _bounds(lanes: int, times: dict[int, float], best: float) -> None:
    for most in SIZES:
        rate = lanes * most / times[most]
        p99 = best_p99({size: times[size] for size in SIZES if size <= most}, 0.7 * rate, lanes)
        found = f"{rate:.0f} | {rate / best:.3f} | {1000 * p99:.1f} ms | {p99 / (times[most] + DELAY):.2f}"
        print(f"| {lanes} | {most} | {found} |", flush=True)


def table(turns: dict[str, list[Turn]]) -> None:
    """Medians over the rounds, as Markdown."""
    print(
        "\n| server | tensors/s | of raw | p99 ms | JPEG/s | of raw | p99 ms | MiB | idle CPU | p99 at 70 % | failed |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, each in turns.items():
        cells = [name]
        for kind in KINDS:
            ratios = sorted(one.ratios[kind] for one in each)
            cells.append(f"{median(one.rates[kind] for one in each):.0f}")
            cells.append(f"{median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
            cells.append(f"{median(one.p99[kind] for one in each):.0f}")
        cells.append(f"{median(one.megabytes for one in each):.0f}")
        cells.append(f"{median(one.idle for one in each):.2%}")
        cells.append(f"{median(one.open_p99 for one in each):.0f}")
        print("|", " | ".join([*cells, str(sum(one.failures for one in each))]), "|")


def goals(turns: dict[str, list[Turn]], device: str, calls: Calls) -> None:
    """The goals for tlpipe on this device, and whether they are met."""
    own = turns["tlpipe"]

    def line(what: str, value: float, limit: float, least: bool = False) -> None:
        met = value >= limit if least else value <= limit
        print(f"| {what} | {value:.3f} | {'at least' if least else 'at most'} {limit:.3f} | {'yes' if met else 'no'} |")

    print("\n| goal | found | limit | met |\n|---|---|---|---|")
    line("tensors, of raw", median(one.ratios["tensors"] for one in own), LEAST[device], least=True)
    line("JPEG files, of raw with decoding", median(one.ratios["files"] for one in own), 0.90, least=True)
    batches, perfect, queue = (
        median(getattr(one, name) / (one.batch + 1000 * DELAY) for one in own)
        for name in ("open_p99", "perfect", "queue")
    )
    line(f"p99 at 70 % load, of the time of a call of {calls.most}, {calls.lanes} at a time, + delay", batches, 1.3)
    print(f"| the same, of a perfect server with these calls | {perfect:.3f} | | |")
    print(f"| the same, of a perfect server with the throughput of this one | {queue:.3f} | | |")
    line("idle CPU, %", 100 * median(one.idle for one in own), 1.0)
    line("failed requests", sum(one.failures for one in own), 0)
    if "mlserver" in turns:
        theirs = median(one.megabytes for one in turns["mlserver"])
        line("MiB after the load, MLServer's as limit", median(one.megabytes for one in own), theirs)


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--device", choices=LEAST, default="cpu")
    parser.add_argument("--max-batch", type=int, choices=SIZES, help="tlpipe's, where not its own choice")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="instead, load for so long")
    arguments = parser.parse_args()
    loaded = load(arguments.bundle, Runtime(device=arguments.device))
    given = sample(loaded)
    options = _options(arguments.device, arguments.max_batch)
    if arguments.soak:
        with running("tlpipe", arguments.bundle, given, *options) as server:
            raise SystemExit(soak(server, CLIENTS, 60 * arguments.soak))
    rates = raw_rates(loaded, given, arguments.seconds)
    bounds(loaded, given, rates, arguments.seconds)
    best = max(rates, key=lambda size: rates[size])
    calls = calls_under_load(loaded, arguments.max_batch)
    setting = Setting(arguments.bundle, loaded, given, best, calls, options, arguments.seconds)
    turns: dict[str, list[Turn]] = {}
    servers = arguments.servers if arguments.device == "cpu" else ["tlpipe"]
    for number in range(arguments.rounds):
        for name in servers:
            try:
                found = turn(name, setting, number)
            except NotInstalled as error:
                print(f"{name} takes no part: {error}")
                continue
            turns.setdefault(name, []).append(found)
            print(f"round {number + 1}, {name}: {found}", flush=True)
    table(turns)
    if "tlpipe" in turns:
        goals(turns, arguments.device, calls)


if __name__ == "__main__":
    main()
