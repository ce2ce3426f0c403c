"""Golden samples: raw held-out samples with what torch says of them, so that any machine can prove its answers."""

import base64
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from tlpipe.config import Spec, parse

GOLDEN = "golden.json"


class GoldenSample(Spec):
    """A sample as a client sends it, and the outputs of each row of the graph's input that it becomes."""

    media: str
    """Its content type."""
    raw: str
    """Its bytes, in base64."""
    rows: Annotated[tuple[Annotated[dict[str, list[Any]], Field(min_length=1)], ...], Field(min_length=1)]
    """By output: nested lists of numbers, without the batch axis and without padding."""

    @model_validator(mode="after")
    def _proves_something(self) -> "GoldenSample":
        try:
            base64.b64decode(self.raw, validate=True)
        except ValueError as error:
            raise ValueError(f"raw is not base64 ({error})") from None
        for row in self.rows:
            for name, values in row.items():
                try:
                    np.asarray(values, np.float64)
                except (ValueError, TypeError, OverflowError):
                    raise ValueError(
                        f"{name} must be nested lists of numbers, all of one length at each depth"
                    ) from None
        return self

    @property
    def content(self) -> bytes:
        """Its bytes."""
        return base64.b64decode(self.raw)


class Golden(Spec):
    """What `golden.json` holds."""

    tolerance: Annotated[float, Field(gt=0)]
    """Largest difference of a probability where the graph itself resizes the raw image."""
    network_tolerance: Annotated[float, Field(gt=0)]
    """Largest difference of a probability, and of a logit relative to the largest one, on a CPU."""
    samples: Annotated[tuple[GoldenSample, ...], Field(min_length=1)]


def golden_sample(media: str, content: bytes, rows: tuple[dict[str, list[Any]], ...]) -> GoldenSample:
    """A sample of these bytes."""
    return GoldenSample(media=media, raw=base64.b64encode(content).decode(), rows=rows)


def write_golden(folder: Path, golden: Golden) -> None:
    """Write `golden.json`."""
    (folder / GOLDEN).write_text(golden.model_dump_json() + "\n", encoding="utf-8")


def read_golden(folder: Path) -> Golden:
    """What `write_golden` wrote. Raises ConfigError when the file says something else."""
    path = folder / GOLDEN
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        data = f"not JSON ({error})"
    golden: Golden = parse(data, Golden, str(path))
    return golden
