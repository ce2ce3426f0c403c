"""tokenizer: what turns raw texts into tokens, trained here or fetched; an empty folder where the data are images."""

import shutil
from pathlib import Path

from tlpipe import config
from tlpipe.backbones import AnyBackbone
from tlpipe.backbones.base import Backbone

OUT = Path("data/tokenizer")


def main() -> None:
    """Write data/tokenizer/."""
    backbone: Backbone = config.load("backbone", AnyBackbone)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    backbone.prepare_tokenizer(OUT)
    print(*(f"{file}: {file.stat().st_size / 1e3:,.0f} kB" for file in sorted(OUT.iterdir())), sep="\n")
