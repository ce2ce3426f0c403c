"""Bytes that no client should send: `python -m benchmarks.serve.fuzz BUNDLE --requests 20000`.

Mutations of good requests to `/predict` and `/infer`, requests made of noise, heads that contradict themselves, and
bodies that hold more pixels than a request may. No answer may be a 5xx but 503, none may fail to come, no connection
may stay open, and the server must still answer a good request the same way at the end. `--out` records the counts.
"""

import argparse
import json
import platform
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.report.provenance import stamp
from benchmarks.serve.asked import HEAVY, INFER, KINDS, File, Request, heavy, multipart
from benchmarks.serve.process import started
from benchmarks.serve.wire import WIRE, exchange, hostile

OPTIONS = ("--no-requests-log", "--body-seconds", "5")
"""Of the server: a body that never ends is given up before the clients lose patience."""
TYPES = (
    "", "image/png", "multipart/form-data", "multipart/form-data; boundary=" + "a" * 5000, "text/html; charset=\xff",
    "a/b/c",
)  # fmt: skip
WORDS = (
    b"null", b"NaN", b"-1", b"1e999", b"[]", b"{}", b'""', b"true", b"0", b"4294967296", b"[" * 200, b'"\\ud800"',
    b"\xff\xfe", b"\x00", b"UINT8", b"FP32", b"inputs", b"binary_data_size",
)  # fmt: skip


def mutated(body: bytes, generator: random.Random) -> bytes:
    """`body` with bytes changed, cut, doubled, or words put in."""
    content = bytearray(body)
    for _ in range(generator.randint(1, 8)):
        at = generator.randrange(len(content) + 1)
        change = generator.randrange(5)
        if change == 0 and content:
            content[at % len(content)] = generator.randrange(256)
        elif change == 1:
            del content[at : at + generator.randint(1, 40)]
        elif change == 2:
            content[at:at] = generator.choice(WORDS)
        elif change == 3:
            content[at:at] = content[at : at + 50]
        else:
            content[at : at + 4] = struct.pack(">I", generator.getrandbits(32))
    return bytes(content)


def requests(count: int, seed: int, task: str, inputs: Sequence[str]) -> list[Request]:
    """The same requests for the same seed, to a model of this task with these inputs."""
    generator, kind = random.Random(seed), KINDS[task]
    files = kind.files(generator)
    makers: tuple[Callable[[], Request], ...] = (
        lambda: ("/predict", *_plain(generator.choice(files))),
        lambda: kind.tensors(generator, inputs),
        lambda: multipart(files, generator),
        lambda: (generator.choice(("/predict", INFER)), generator.randbytes(generator.randrange(300)), {}),
        lambda: (WIRE, hostile(generator), {}),
        lambda: heavy(generator),
    )
    found = []
    for _ in range(count):
        path, body, headers = generator.choices(makers, (4, 4, 2, 1, 1, 0.005))[0]()
        if path == WIRE or HEAVY in headers.values():
            found.append((path, body, headers))
            continue
        if kind.mutated == 1 or generator.random() < kind.mutated:
            body = mutated(body, generator)
        found.append((path, body, _odd(headers, generator)))
    return found


def _plain(file: File) -> tuple[bytes, dict[str, str]]:
    return file[0], {"content-type": file[1]}


def _odd(headers: dict[str, str], generator: random.Random) -> dict[str, str]:
    if generator.random() < 0.9:
        return headers
    odd = {
        "Inference-Header-Content-Length": str(generator.randint(-5, 500)),
        "content-encoding": generator.choice(("gzip", "deflate", "br", "identity")),
        "content-type": generator.choice(TYPES),
    }
    name = generator.choice(list(odd))
    return headers | {name: odd[name]}


def send(port: int, batch: list[Request]) -> tuple[Counter[str], list[str]]:
    """Send one after the other over a connection that is kept; statuses, and what must not happen."""
    seen: Counter[str] = Counter()
    bad = []
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    for path, body, headers in batch:
        if path == WIRE:
            status, problem = exchange(port, body)
            seen[status] += 1
            bad += [problem] if problem else []
            continue
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            bad.append(f"{path} {headers} {body!r}: {error!r}")
            connection.close()
            continue
        seen[str(response.status)] += 1
        if response.status >= 500 and response.status != 503:
            bad.append(f"{path} {headers} {body!r}: {response.status} {content!r}")
        if response.status == 200 and HEAVY in headers.values():
            bad.append("64 images of 25 million pixels in one request are answered")
        if response.status == 200 and path == INFER and b"NaN" in content:
            bad.append(f"{path} {headers} {body!r}: values that are no numbers: {content!r}")
        if response.status >= 400 and b'"error":"' not in content and b"Invalid HTTP" not in content:
            bad.append(f"{path} {headers}: {response.status} without a sentence: {content!r}")
    connection.close()
    return seen, bad


def fuzz(port: int, count: int, seed: int, clients: int = 4) -> tuple[Counter[str], list[str]]:
    """(answers by status, what must not have happened) of `count` requests to the server on `port`."""
    about = _about(port)
    task, inputs = about["parameters"]["task"], [each["name"] for each in about["inputs"]]
    good = (*_plain(KINDS[task].files(random.Random(seed))[1]),)
    before = _answer(port, *good)
    work = requests(count, seed, task, inputs)
    with ThreadPoolExecutor(clients) as pool:
        results = list(pool.map(lambda first: send(port, work[first::clients]), range(clients)))
    seen = sum((each for each, _ in results), Counter[str]())
    bad = [line for _, lines in results for line in lines]
    if _answer(port, *good) != before:
        bad.append("the server answers a good request in another way than before")
    return seen, bad


def _about(port: int) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v2/models/model")
    content = json.loads(connection.getresponse().read())
    connection.close()
    return content


def _answer(port: int, body: bytes, headers: dict[str, str]) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/predict", body, headers)
    content = connection.getresponse().read()
    connection.close()
    return content


def record(path: Path, task: str, outcome: dict[str, Any]) -> None:
    """Put the outcome of a task into the file of all tasks; answers by status, in order."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    known[task] = outcome | {"answers": dict(sorted(outcome["answers"].items())), "bad": outcome["bad"][:20]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    command = "python -m benchmarks.serve.fuzz BUNDLE --requests 20000 --out benchmarks/results/fuzz.json"
    stamp(path, command, platform.machine())


def main() -> None:
    """Start a server, send, report; exit code 1 when something happened that must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON file of counts by task, of which this task's are replaced")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with started(arguments.bundle, *OPTIONS) as port:
        task = _about(port)["parameters"]["task"]
        seen, bad = fuzz(port, arguments.requests, arguments.seed)
    if arguments.out:
        record(
            arguments.out, task, {"requests": sum(seen.values()), "seed": arguments.seed, "answers": seen, "bad": bad}
        )
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(seen.items()))
    print(f"{sum(seen.values())} answers in {time.monotonic() - begun:.0f} s, by status {statuses}; {len(bad)} bad")
    for line in bad[:20]:
        print(line[:500])
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
