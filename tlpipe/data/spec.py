"""The `data` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.data.conll import Conll
from tlpipe.data.image_folder import ImageFolder
from tlpipe.data.image_table import ImageTable
from tlpipe.data.squad import Squad
from tlpipe.data.text_table import TextTable
from tlpipe.preprocess.decode import MAX_PIXELS, MOST_PIXELS

AnySource = Annotated[ImageFolder | ImageTable | TextTable | Conll | Squad, Field(discriminator="kind")]
Share = Annotated[float, Field(gt=0, lt=1)]


class SplitShares(Spec):
    """How much is split off, stratified by class; null for a split that the source's own folders or column give."""

    validation: Share | None = 0.2
    """Share of what is not test (after `limit_per_class`)."""
    test: Share | None = 0.2
    """Share of all samples."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides which samples are split off, and which ones `limit_per_class` takes."""


class Checks(Spec):
    """What is found out about the files before anything is trained on them."""

    max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = MAX_PIXELS
    """An image whose header announces more pixels is rejected without decoding it, in serving too."""
    near_duplicates: Annotated[float, Field(ge=0.5, lt=1)] | None = 0.92
    """Similarity from which two samples count as copies of one another: of images a correlation (tlpipe.data.similar;
    with a side below 32 pixels they need a quarter of the distance from 1), of texts the share of character 5-grams
    that they have in common (tlpipe.data.shingles). null = exact copies only."""


class Data(Spec):
    """The samples: where they are, how they are split, what is checked."""

    source: AnySource
    """Where the samples are."""
    split: SplitShares = SplitShares()
    """The splits that tlpipe makes."""
    limit_per_class: Annotated[int, Field(ge=2)] | None = None
    """At most so many samples a class for training and validation together; the test split is untouched. null = all."""
    checks: Checks = Checks()
    """What is found out about the files."""

    def expected(self, classes: int) -> int | None:
        """Training samples that `limit_per_class` leaves if every class reaches it; None without a limit."""
        if self.limit_per_class is None:
            return None
        return round(self.limit_per_class * classes * (1 - (self.split.validation or 0.0)))
