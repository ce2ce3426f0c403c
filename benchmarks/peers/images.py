"""The same images for every side: one folder with train/, validation/ and test/, copied once from shared/."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HELD_OUT = 0.2
"""Share of each class's training images that becomes the validation split, as in recipes/hymenoptera.yaml."""
SUFFIXES = (".jpg", ".jpeg", ".png")


def shared() -> Path:
    """The folder of real data and weights; exits with a message when it is not there."""
    folder = Path(os.environ.get("TLPIPE_SHARED") or ROOT.parent / "shared").resolve()
    for part in ("data/hymenoptera/train", "data/hymenoptera/val", "weights/mobilenet_v2_imagenet.pth"):
        if not (folder / part).exists():
            sys.exit(
                f"error: {folder / part} does not exist. This benchmark needs the real images and weights of shared/; "
                "put the folder beside the repository, or say where it is with TLPIPE_SHARED=/path/to/shared"
            )
    return folder


def lay_out(source: Path, target: Path, limit: int | None) -> dict[str, int]:
    """Copy `source` (train/ and val/ of class folders) into three splits; how many images each of them has.

    Args:
        source: Folder of the data set.
        target: Made anew. Which images go where depends on their names alone.
        limit: At most so many images in each split, equally many of each class; None = all.
    """
    shutil.rmtree(target, ignore_errors=True)
    counts = {"train": 0, "validation": 0, "test": 0}
    classes = sorted(folder.name for folder in (source / "train").iterdir() if folder.is_dir())
    for label in classes:
        for split, files in _splits(source, label).items():
            folder = target / split / label
            folder.mkdir(parents=True)
            chosen = files if limit is None else files[: max(1, limit // len(classes))]
            for file in chosen:
                shutil.copyfile(file, folder / file.name)
            counts[split] += len(chosen)
    return counts


def _splits(source: Path, label: str) -> dict[str, list[Path]]:
    train, test = (_ordered(source / split / label) for split in ("train", "val"))
    held = round(HELD_OUT * len(train))
    return {"train": train[held:], "validation": train[:held], "test": test}


def _ordered(folder: Path) -> list[Path]:
    """The images in an order drawn by their names."""
    found = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda file: hashlib.sha256(file.name.encode()).digest())
