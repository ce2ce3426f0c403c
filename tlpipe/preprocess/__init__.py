"""Raw bytes or texts to numpy arrays, without torch: the same code when training and when serving."""

from typing import Annotated

from pydantic import Field

from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.text import TextPreprocess

AnyPreprocess = Annotated[ImagePreprocess | TextPreprocess, Field(discriminator="kind")]
