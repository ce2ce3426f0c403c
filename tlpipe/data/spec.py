"""The `data` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tlpipe.config import Seed, Spec
from tlpipe.data.conll import Conll
from tlpipe.data.image_folder import ImageFolder
from tlpipe.data.image_table import ImageTable
from tlpipe.data.squad import Squad
from tlpipe.data.text_table import TextTable
from tlpipe.preprocess.decode import MAX_PIXELS, MOST_PIXELS

AnySource = Annotated[ImageFolder | ImageTable | TextTable | Conll | Squad, Field(discriminator="kind")]
Share = Annotated[float, Field(gt=0, lt=1)]
AUTO_FOLDS, CROSS_FITTED = 5, 2000
"""Folds that `auto` makes, and the most labelled samples that it makes them of. Above, a fifth of the samples tells
enough (a standard error of 1.5 points at an accuracy of 0.9 on 400), and folds cost five trainings more."""


class SplitShares(Spec):
    """How much is split off, stratified by class; null for a split that the source's own folders or column give."""

    folds: Literal["auto"] | Annotated[int, Field(ge=2, le=20)] | None = "auto"
    """Number of folds of the labelled samples for cross-fitting: each sample is predicted by a model that was trained
    on the other folds, everything is chosen on these out-of-fold predictions, and what ships is trained on all labelled
    samples. auto = 5 folds up to 2,000 labelled samples, a single validation split above, and where the source gives
    one. null = a single validation split."""
    validation: Share | None = 0.2
    """Share of what is not test (after `limit_per_class`) where there is a single validation split."""
    test: Share | None = 0.2
    """Share of all samples."""
    refit: bool | Literal["auto"] = "auto"
    """Whether the model that ships is trained once more, on the validation split too, with what was chosen on it. auto
    = where tlpipe made the split; a validation split of the source's own stays unseen. With folds there is always a
    refit."""
    seed: Seed = 0
    """Decides which samples are split off, and which ones `limit_per_class` takes."""

    def count_folds(self, labelled: int) -> int:
        """Number of folds for so many labelled samples without a validation split of their own; 0 = a single split."""
        if self.folds == "auto":
            return AUTO_FOLDS if labelled <= CROSS_FITTED else 0
        return self.folds or 0

    def learns_all(self, labelled: int) -> bool:
        """Whether what ships is trained on all so many labelled samples, if the source gives no validation split."""
        return bool(self.count_folds(labelled)) or self.refit is not False

    @model_validator(mode="after")
    def _consistent(self) -> "SplitShares":
        if not isinstance(self.folds, int):
            return self
        if self.refit is False:
            raise ValueError(
                f"refit is false beside {self.folds} folds, whose models are never shipped: set refit to auto, or "
                "folds to null for a single validation split"
            )
        if "validation" in self.model_fields_set and self.validation is not None:
            raise ValueError(
                f"validation is {self.validation:g} beside {self.folds} folds, which need no validation split: set "
                "validation to null, or folds to auto or null"
            )
        return self


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
    """Folder and layout of the samples."""
    split: SplitShares = SplitShares()
    """The splits that tlpipe makes."""
    limit_per_class: Annotated[int, Field(ge=2, le=100_000_000)] | None = None
    """Largest number of samples a class for training and validation together; the test split is untouched. null =
    all."""
    checks: Checks = Checks()
    """Checks of the files before training."""

    def expected(self, classes: int) -> int | None:
        """Training samples that `limit_per_class` leaves if every class reaches it; None without a limit."""
        if self.limit_per_class is None:
            return None
        labelled = self.limit_per_class * classes
        share = 0.0 if self.split.learns_all(labelled) else self.split.validation or 0.0
        return round(labelled * (1 - share))
