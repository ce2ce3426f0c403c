"""Published weights: the hosts that have them, and whether a cache or a package of this machine does."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from tlpipe.config import ConfigError
from tlpipe.packaged import local_path

HOSTS = {
    "torchvision": "download.pytorch.org",
    "timm": "huggingface.co",
    "huggingface": "huggingface.co",
    "static": "huggingface.co",
}
"""Where published weights come from."""
PUBLISHED = {"image": ("torchvision", "mobilenet_v2"), "text": ("huggingface", "google-bert/bert-base-uncased")}
"""Usual backbones, kind and name, by what the samples are."""


def installed(name: str) -> bool:
    """Whether a file or folder of a package is on this machine."""
    try:
        return local_path(name).exists()
    except ConfigError:
        return False


def reachable(host: str, seconds: float = 2.0) -> bool:
    """Whether a connection can be made; behind a proxy that is taken to be so."""
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    if os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy"):
        return True
    try:
        socket.create_connection((host, 443), seconds).close()
    except OSError:
        return False
    return True


def torch_hub_cache() -> Path:
    """The folder of torch.hub's files of weights."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return Path(os.environ.get("TORCH_HOME", cache / "torch")).expanduser() / "hub/checkpoints"


def hugging_face_cache() -> Path:
    """The folder of the hub's snapshots."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    home = Path(os.environ.get("HF_HOME", cache / "huggingface")).expanduser()
    return Path(os.environ.get("HF_HUB_CACHE", home / "hub"))


def in_torch_hub(name: str) -> bool:
    """Whether torch.hub's cache has a file of this model of torchvision."""
    return any(torch_hub_cache().glob(f"{name}-*.pth"))


def in_hugging_face(name: str) -> bool:
    """Whether the hub's cache has a snapshot of this model."""
    return any((hugging_face_cache() / f"models--{name.replace('/', '--')}").glob("snapshots/*/*.safetensors"))


CACHED: Mapping[str, Callable[[str], bool]] = {"torchvision": in_torch_hub, "huggingface": in_hugging_face}
