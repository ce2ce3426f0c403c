"""Union of all tasks: what `task` in params.yaml may be."""

from typing import Annotated

from pydantic import Field

from tlpipe.tasks.image_classification.spec import ImageClassification
from tlpipe.tasks.question_answering.spec import QuestionAnswering
from tlpipe.tasks.text_classification.spec import TextClassification
from tlpipe.tasks.token_classification.spec import TokenClassification

AnyTask = Annotated[
    ImageClassification | TextClassification | TokenClassification | QuestionAnswering, Field(discriminator="kind")
]
