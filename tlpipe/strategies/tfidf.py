"""The baseline without a network: TF-IDF in a logistic regression, compared and shipped like any other strategy."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tlpipe.strategies.base import Strategy
from tlpipe.strategies.plan import Plan
from tlpipe.strategies.scale import Scale

Length = Annotated[int, Field(ge=1, le=8)]


class TfIdf(Strategy):
    """N-grams of words and of characters, weighed by TF-IDF, in a logistic regression.

    Chosen and judged as the others are: the penalty by what the folds hold out, what ships by all labelled texts.
    """

    network: ClassVar[bool] = False

    kind: Literal["tfidf"]
    words: tuple[Length, Length] = (1, 2)
    """Shortest and longest n-grams of words."""
    characters: tuple[Length, Length] = (2, 5)
    """Shortest and longest n-grams of the characters within a word."""
    most: Annotated[int, Field(ge=100, le=2_000_000)] = 200_000
    """N-grams of either sort that are kept at most, the ones that are in most texts."""
    strengths: Annotated[tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...], Field(min_length=1, max_length=20)] = (
        0.1, 1.0, 10.0, 100.0,
    )  # fmt: skip
    """Candidates for C, the inverse penalty; held-out cross-entropy chooses."""

    def plan(self, groups: Sequence[str], scale: Scale | None = None) -> Plan:
        """No phase and no layer group: there is no network."""
        return Plan(strategy=self.kind, start="texts", groups=(), phases=())
