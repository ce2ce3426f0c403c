"""Where a backbone comes from: the union of sources is the registry."""

from typing import Annotated

from pydantic import Field

from tlpipe.backbones.auto import Auto
from tlpipe.backbones.bert import Bert
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.backbones.huggingface import HuggingFace
from tlpipe.backbones.letters import Letters
from tlpipe.backbones.static import Static
from tlpipe.backbones.timm import Timm
from tlpipe.backbones.torchvision import Torchvision

AnyBackbone = Annotated[
    Letters | Torchvision | Timm | Checkpoint | HuggingFace | Static | Bert | Auto, Field(discriminator="kind")
]
