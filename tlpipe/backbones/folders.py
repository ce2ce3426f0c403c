"""Files of a published text model: from a folder, an installed package or the Hugging Face hub, each by its name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.backbones.text_families import FAMILIES
from tlpipe.backbones.weights import State, listed, read_state
from tlpipe.config import ConfigError
from tlpipe.packaged import local_path
from tlpipe.preprocess.text import TOKENIZER

CONFIG, WEIGHTS, PICKLED = "config.json", "model.safetensors", "pytorch_model.bin"
VOCABULARIES = ("vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
"""What older folders have in the place of a tokenizer.json."""


def local_folder(name: str) -> Path | None:
    """The folder that a name stands for, on this machine or in an installed package; None = a name on the hub."""
    folder = local_path(name)
    return folder if folder.is_dir() else None


def fetch(name: str, file: str, revision: str | None) -> Path:
    """One file of a folder, or of a hub name by its cache. Raises ConfigError with a way out."""
    folder = local_folder(name)
    if folder is not None:
        if (folder / file).is_file():
            return folder / file
        have = listed(sorted(path.name for path in folder.iterdir()))
        raise ConfigError(
            f"{folder} has no {file} (it has {have}); transformers writes it with save_pretrained: of the fast "
            "tokenizer for tokenizer.json, of the model for config.json and model.safetensors"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"backbone.name: {name!r} is no folder here, and the hub did not give its {file} "
            f"({str(error).splitlines()[0]}); correct the name, or download the folder and name that"
        ) from None


def fetch_optional(name: str, file: str, revision: str | None) -> Path | None:
    """As `fetch`; None where there is no such file."""
    folder = local_folder(name)
    if folder is not None:
        return folder / file if (folder / file).is_file() else None
    try:
        return fetch(name, file, revision)
    except ConfigError:
        return None


def weights_path(name: str, revision: str | None) -> Path:
    """model.safetensors, or pytorch_model.bin where there is none. Raises ConfigError where there is neither."""
    return (
        fetch_optional(name, WEIGHTS, revision)
        or fetch_optional(name, PICKLED, revision)
        or fetch(name, WEIGHTS, revision)
    )


def weight_names(path: Path) -> frozenset[str]:
    """Names of the tensors of a weights file. Raises ConfigError when it cannot be read."""
    if path.suffix != ".safetensors":
        return frozenset(read_state(path)[0])
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return frozenset(file.keys())
    except SafetensorError as error:
        raise ConfigError(f"{path} is not a readable safetensors file: {error}") from None


def pickled_state(path: Path) -> State | None:
    """The tensors of a pickle, read without running code in it; None for safetensors, which transformers reads."""
    return None if path.suffix == ".safetensors" else read_state(path)[0]


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ConfigError when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None


def read_config(name: str, revision: str | None) -> dict[str, Any]:
    """config.json of a folder or a hub name. Raises ConfigError when it cannot be had or its family is unknown."""
    config = read_json(fetch(name, CONFIG, revision))
    if not isinstance(config, Mapping) or config.get("model_type") not in FAMILIES:
        kind = config.get("model_type") if isinstance(config, Mapping) else type(config).__name__
        way = "; it is for backbone.kind: static" if kind == "model2vec" else ""
        raise ConfigError(f"backbone.name: {name!r} is a {kind}; allowed: {', '.join(sorted(FAMILIES))}{way}")
    return dict(config)


def tokenizer_path(name: str, revision: str | None, target: Path) -> Path:
    """The tokenizer.json of a model; `target`, which is written, where it had to be made from older vocabulary files.

    Raises ConfigError, with the command that makes it, where it cannot be made here.
    """
    path = fetch_optional(name, TOKENIZER, revision)
    if path is not None:
        return path
    older = [file for file in VOCABULARIES if fetch_optional(name, file, revision)]
    if not older:
        fetch(name, TOKENIZER, revision)
    where = str(local_folder(name) or name)
    try:
        target.write_text(_converted(where, revision), encoding="utf-8", newline="")
    except Exception as error:  # transformers raises many kinds, also of packages that are not installed
        packages = "sentencepiece protobuf" if any(file.endswith(".model") for file in older) else "tokenizers"
        raise ConfigError(
            f"{where} has {', '.join(older)} and no {TOKENIZER}, and it could not be converted here "
            f"({type(error).__name__}: {str(error).strip().partition(chr(10))[0]}); make it once with: "
            f'pip install {packages} && python -c "from transformers import AutoTokenizer as T; '
            f"T.from_pretrained('{where}').save_pretrained('{where}')\""
        ) from None
    return target


def _converted(where: str, revision: str | None) -> str:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    fast = AutoTokenizer.from_pretrained(where, revision=revision, use_fast=True)
    return str(fast.backend_tokenizer.to_str(pretty=True))
