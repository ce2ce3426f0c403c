"""A bundle as a Python function: images in, labels with probabilities out; any number of them in constant memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tlpipe.cores import usable_cores
from tlpipe.serve.reading import Answer, BadInput, Row, Sample
from tlpipe.serve.runtime.load import load, stack, unstack
from tlpipe.serve.runtime.session import Device, Runtime
from tlpipe.serve.runtime.tensorrt_profiles import Calls

T = TypeVar("T")
U = TypeVar("U")


class Predictor:
    """`Predictor("models/bundle")(["photo.jpg", ...])`. No torch; the bundle's hashes are verified first.

    Args:
        bundle: The bundle's folder.
        device: `auto`, `cpu`, `cuda` or `tensorrt`; a GPU that cannot be had is an error that says why.
        threads: CPU threads for the graph and for decoding; 0 = as many as this process may use.
        batch: Samples that are read together, and rows a call of the graph.
        top: How many labels an answer has.
        max_pixels: Larger images are refused before they are decoded; None = the limit of the training.
    """

    def __init__(
        self,
        bundle: str | Path,
        device: Device = "auto",
        threads: int = 0,
        batch: int = 32,
        top: int = 5,
        max_pixels: int | None = None,
    ) -> None:
        self.loaded = load(Path(bundle), Runtime(device=device, threads=threads), max_pixels, Calls(batch, batch))
        self.workers = threads or usable_cores()
        self.batch = batch
        self.top = top

    def __call__(self, items: Any) -> Any:
        """The answer to one sample (a mapping is one too), or a list of answers to a list (or other iterable) of them.

        Raises:
            BadInput: For the first sample that cannot be used; `stream` goes on instead.
        """
        if self._is_one(items):
            return self([items])[0]
        answers = []
        for at, answer in enumerate(self.stream(items)):
            if isinstance(answer, BadInput):
                raise BadInput(f"sample {at}: {answer}", answer.status)
            answers.append(answer)
        return answers

    @staticmethod
    def _is_one(items: Any) -> bool:
        if isinstance(items, str | Path | bytes | bytearray | memoryview | Mapping):
            return True
        return getattr(items, "ndim", 0) == 3 or not hasattr(items, "__iter__")

    def stream(self, items: Iterable[Any]) -> Iterator[Answer | BadInput]:
        """One answer a sample, in order, or the reason why there is none; decodes ahead, keeps a few batches.

        An item that is a reason already (BadInput) stays one.
        """
        parallel = self.loaded.parallel
        with ThreadPoolExecutor(self.workers) as pool, ThreadPoolExecutor(parallel.lanes if parallel else 1) as lanes:
            decoded = ahead(pool, self._load, items, 2 * self.batch)
            while chunk := list(islice(decoded, self.batch)):
                yield from self._answers(chunk, lanes)

    def _load(self, item: Any) -> Sample | BadInput:
        try:
            return item if isinstance(item, BadInput) else self.loaded.reading.load(item)
        except BadInput as error:
            return error
        except MemoryError:
            return BadInput("there was not enough memory to read it")

    def _answers(self, chunk: list[Sample | BadInput], lanes: ThreadPoolExecutor) -> list[Answer | BadInput]:
        read = [each for each in chunk if isinstance(each, Sample)]
        outputs = iter(self._outputs([row for sample in read for row in sample.rows], lanes))
        answer = self.loaded.reading.answer
        return [
            each if isinstance(each, BadInput) else answer(each, list(islice(outputs, len(each.rows))), self.top)
            for each in chunk
        ]

    def _outputs(self, rows: list[Row], lanes: ThreadPoolExecutor) -> list[Row]:
        """Of each row, those of equal shape computed together, as many calls side by side as the device has lanes."""
        found: list[Row] = [{} for _ in rows]
        session, most, parallel = self.loaded.session, self.batch, self.loaded.parallel
        if parallel and len(rows) >= parallel.fewest:
            session, most = parallel.session, min(self.batch, self.loaded.reading.together)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for at, row in enumerate(rows):
            groups.setdefault(tuple(value.shape for value in row.values()), []).append(at)
        calls = [group[start : start + most] for group in groups.values() for start in range(0, len(group), most)]
        answers = lanes.map(lambda places: session.run(stack([rows[at] for at in places])), calls)
        for places, outputs in zip(calls, answers, strict=True):
            for at, row in zip(places, unstack(outputs, len(places)), strict=True):
                found[at] = row
        return found


def ahead(pool: ThreadPoolExecutor, function: Callable[[T], U], items: Iterable[T], depth: int) -> Iterator[U]:
    """`map(function, items)` in the pool's threads, in order, never more than `depth` items ahead."""
    waiting: deque[Future[U]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
