"""How large a sample may be: the same where it is trained on and wherever it is served."""

from typing import Annotated

from pydantic import Field

from tlpipe.config import Spec
from tlpipe.preprocess.decode import MAX_PIXELS, MOST_PIXELS

MAX_CHARACTERS = 1_000_000


class SampleLimits(Spec):
    """Larger samples are refused: they are not trained on, and get no answer."""

    max_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = MAX_PIXELS
    """Of an image, as it is and once its shorter side is resized."""
    max_characters: Annotated[int, Field(ge=1)] = MAX_CHARACTERS
    """Of a text; of each of a pair."""
