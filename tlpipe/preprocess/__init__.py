"""Raw bytes or texts to numpy arrays, without torch: the same code when training and when serving."""

from typing import Annotated

from pydantic import Field

from tlpipe.preprocess.image import ImagePreprocess
from tlpipe.preprocess.ngrams import NgramPreprocess
from tlpipe.preprocess.questions import QuestionPreprocess
from tlpipe.preprocess.text import TextPreprocess
from tlpipe.preprocess.words import WordPreprocess

AnyPreprocess = Annotated[
    ImagePreprocess | TextPreprocess | WordPreprocess | QuestionPreprocess | NgramPreprocess,
    Field(discriminator="kind"),
]
"""`kind` says how a sample lies in the packed arrays and what it is labelled with; tables are keyed with it.

Those of n-grams are never packed: they are what a TF-IDF model reads of raw texts."""
