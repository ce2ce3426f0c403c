"""What is learnt: the union of tasks is the registry."""

from typing import Annotated

from pydantic import Field

from tlpipe.tasks.image_classification import ImageClassification
from tlpipe.tasks.text_classification import TextClassification

AnyTask = Annotated[ImageClassification | TextClassification, Field(discriminator="kind")]
