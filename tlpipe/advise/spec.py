"""The `advise` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec


class Advise(Spec):
    """How the advice is found. Equal settings, equal advice."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    """Seed of the folds, of the nested parts of the learning curve, and of the random network beside the backbone."""
    directions: Annotated[int, Field(ge=0, le=16)]
    """Random directions of weight space from which linearised fine-tuning is sketched, a pass each; 0 = off."""
