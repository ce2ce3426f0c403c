"""What is learnt: the union of tasks is the registry."""

from typing import Annotated

from pydantic import Field

from tlpipe.tasks.image_classification import ImageClassification
from tlpipe.tasks.question_answering import QuestionAnswering
from tlpipe.tasks.text_classification import TextClassification
from tlpipe.tasks.token_classification import TokenClassification

AnyTask = Annotated[
    ImageClassification | TextClassification | TokenClassification | QuestionAnswering, Field(discriminator="kind")
]
