"""How to transfer: the union of strategies is the registry."""

from typing import Annotated

from pydantic import Field

from tlpipe.strategies.all_depth_head import AllDepthHead
from tlpipe.strategies.all_depth_tuning import AllDepthTuning
from tlpipe.strategies.auto import Advised
from tlpipe.strategies.explicit import Explicit
from tlpipe.strategies.head_only import HeadOnly
from tlpipe.strategies.partial import FirstBlock, LowRank, NormOnly
from tlpipe.strategies.scratch import Scratch
from tlpipe.strategies.tfidf import TfIdf
from tlpipe.strategies.unfreeze import AllLayers, TopLayers

AnyStrategy = Annotated[
    HeadOnly
    | AllDepthHead
    | TopLayers
    | AllLayers
    | AllDepthTuning
    | FirstBlock
    | NormOnly
    | LowRank
    | Scratch
    | TfIdf
    | Explicit
    | Advised,
    Field(discriminator="kind"),
]
"""A strategy plus the backbone's layer groups is a Plan."""
