"""What is learnt: the union of tasks is the registry."""

from tlpipe.tasks.image_classification import ImageClassification

AnyTask = ImageClassification
