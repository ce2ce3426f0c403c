"""How a model is evaluated."""

from typing import Annotated

from pydantic import Field

from tlpipe.config import Seed, Spec

Resamples = Annotated[int, Field(ge=100, le=100_000)]


class Evaluate(Spec):
    """The evaluation of one strategy on the validation and the test split."""

    resamples: Resamples = 1000
    """Bootstrap resamples behind each 95 % interval."""
    seed: Seed = 0
    """Seed of the resampling."""
    mistakes: Annotated[int, Field(ge=1, le=200)] = 24
    """Pictures on the sheet of the worst mistakes."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Samples in one forward pass."""
