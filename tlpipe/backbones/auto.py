"""A backbone that is chosen for the data among several, within a budget of time and size: the choose stage decides."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from tlpipe.backbones.base import Backbone, Encoder
from tlpipe.backbones.checkpoint import Checkpoint
from tlpipe.backbones.timm import Timm
from tlpipe.backbones.torchvision import Torchvision
from tlpipe.config import ConfigError, Spec, parse
from tlpipe.preprocess import AnyPreprocess

CHOSEN = Path("data/backbone.json")
"""What the choose stage writes: the entry of `among` that was taken, and its place there."""
Candidate = Annotated[Torchvision | Timm | Checkpoint, Field(discriminator="kind")]


class Budget(Spec):
    """What the exported model may cost where it is served; null = any."""

    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """Milliseconds for one image in onnxruntime on this machine's CPU, the median of several calls; null = any."""
    megabytes: Annotated[float, Field(gt=0)] | None = None
    """Size of the ONNX file in units of 10^6 bytes; null = any."""


class Auto(Backbone):
    """The one of `among` on whose frozen features probes are best, of those within the budget. For images."""

    modality: ClassVar[Literal["image", "text"]] = "image"

    kind: Literal["auto"] = "auto"
    among: Annotated[tuple[Candidate, ...], Field(min_length=1, max_length=64)]
    """Backbones as they would stand in the section `backbone`."""
    budget: Budget = Budget()
    """Largest cost of the exported model; a candidate over it is not looked at."""

    @field_validator("among")
    @classmethod
    def _different(cls, among: tuple[Any, ...]) -> tuple[Any, ...]:
        if twice := next((at for at, each in enumerate(among) if each in among[:at]), None):
            raise ValueError(f"number {twice + 1} is there twice; each backbone is looked at once")
        return among

    @property
    def settled(self) -> bool:
        """Whether the choose stage has chosen among these."""
        return self._choice() is not None

    def chosen(self) -> Backbone:
        """The one that was chosen. Raises ConfigError before the choose stage has run for these."""
        choice = self._choice()
        if choice is None:
            raise ConfigError(f"backbone: the choose stage has not chosen among these yet; `dvc repro` writes {CHOSEN}")
        return choice

    def preprocess(self) -> AnyPreprocess:
        """Of the chosen one."""
        return self.chosen().preprocess()

    def resolved(self) -> Any:
        """The chosen one: later stages know no other."""
        return self.chosen().resolved()

    def encoder(self) -> Encoder:
        """Of the chosen one."""
        return self.chosen().encoder()

    def pretrained(self) -> tuple[Encoder, dict[str, str | list[str]]]:
        """Of the chosen one."""
        return self.chosen().pretrained()

    def _choice(self) -> Backbone | None:
        if not CHOSEN.is_file():
            return None
        content = json.loads(CHOSEN.read_text(encoding="utf-8"))
        choice: Backbone = parse(content["backbone"], Candidate, str(CHOSEN))
        return choice if choice in self.among else None
