"""A tokenizer of short pieces, so that words and contexts take many tokens."""

from pathlib import Path

import pytest

from tlpipe.data.corpus import train_wordpiece

CONTEXT = "Zoë  lives in Tōkyō, not in New York.\nThe naïve 🙂 says: “the river runs 1,000 km”, and Zoë lives on."


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer.json that folds case and accents."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_wordpiece([CONTEXT, "who lives where?"] * 3, 60, True, path)
    return path
