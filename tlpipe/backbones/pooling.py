"""How a published text model wants its tokens pooled: what its folder says, not a guess."""

from collections.abc import Mapping
from typing import Any

from tlpipe.backbones.folders import fetch_optional, read_json, weight_names, weights_path
from tlpipe.backbones.text import Pooling
from tlpipe.backbones.text_families import FAMILIES
from tlpipe.config import ConfigError

MODULES, DEFAULT_FOLDER = "modules.json", "1_Pooling"
"""sentence-transformers' list of what a text goes through, and where it usually keeps the pooling's settings."""
MODES: Mapping[str, Pooling] = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
PREFIX = "pooling_mode_"


def choose_pooling(config: Mapping[str, Any], name: str, revision: str | None) -> tuple[Pooling, str]:
    """The pooling of `pooling: auto`, and where it stands.

    That of sentence-transformers' configuration, where there is one; else the pooler, where the weights have one; else
    the mean over the tokens: a first token that nothing was asked of in pretraining says little while layers are
    frozen. Raises ConfigError for a configured pooling that is not here.
    """
    folder = _folder(name, revision)
    settings = fetch_optional(name, f"{folder}/config.json", revision)
    if settings is not None:
        return _configured(read_json(settings), name, folder), f"{folder}/config.json"
    kind = str(config.get("model_type"))
    if FAMILIES[kind].has_pooler and any("pooler." in key for key in weight_names(weights_path(name, revision))):
        return "pooler", "the weights have a pooler"
    return "mean", "no pooling configuration, and no pooler in the weights"


def _folder(name: str, revision: str | None) -> str:
    path = fetch_optional(name, MODULES, revision)
    listed = read_json(path) if path is not None else []
    modules = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    own = [str(each.get("path")) for each in modules if str(each.get("type")).rpartition(".")[2] == "Pooling"]
    return own[0] if own else DEFAULT_FOLDER


def _configured(settings: Any, name: str, folder: str) -> Pooling:
    given = settings if isinstance(settings, Mapping) else {}
    modes = [key.removeprefix(PREFIX) for key, value in given.items() if key.startswith(PREFIX) and value is True]
    stated = given.get("pooling_mode")
    modes += [str(mode) for mode in (stated if isinstance(stated, list) else [stated]) if mode]
    if len(modes) == 1 and modes[0] in MODES:
        return MODES[modes[0]]
    raise ConfigError(
        f"backbone.pooling: auto, but {name} asks for {' and '.join(modes) or 'no pooling'} ({folder}/config.json), "
        "which is not here; set backbone.pooling to mean or cls"
    )
