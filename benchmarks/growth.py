"""How time and memory grow with the data: `python -m benchmarks.growth` runs the stages at n, 4 n and 16 n images.

The images are made here (smooth random colours, no two alike), the network is MobileNetV2 with random weights at 96
pixels: what is looked at is the pipeline. Time should be linear, so milliseconds an image stay the same; memory that
only swap could free should be flat. Then n images for 1, 4 and 16 epochs.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers.environment import FOLDER
from benchmarks.peers.project import Project, recipe

WORK, RESULTS = FOLDER / "growth", FOLDER / "results"
FACTORS = (1, 4, 16)
SIZE, RESIZE_TO, EDGE, CLASSES = 96, 110, 128, 4
STAGES = ("prepare", "embed", "head", "finetune")
STRATEGY = "growth"


def make_images(folder: Path, total: int) -> None:
    """`total` JPEG files in a folder a class; the first ones are the same whatever the total."""
    shutil.rmtree(folder, ignore_errors=True)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    for index in range(total):
        random = np.random.default_rng(index)
        colours = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        colours[:4, :4] = colours[:4, :4] // 4 + 48 * (index % CLASSES)
        picture = Image.fromarray(colours).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
        picture.save(folder / f"class{index % CLASSES}/{index:06d}.jpg", quality=90)


def random_weights() -> Path:
    """A state dict of torchvision's mobilenet_v2, seeded."""
    import torch
    from torchvision.models import get_model

    path = WORK / "mobilenet_v2_random.pth"
    torch.manual_seed(0)
    torch.save(get_model("mobilenet_v2").state_dict(), path)
    return path


def parameters(images: Path, weights: Path, epochs: int) -> dict[str, Any]:
    """The recipe with these images; all layers for `epochs`."""
    params = recipe()
    params["data"]["source"] = {"kind": "image_folder", "path": str(images), "splits": {}}
    params["data"]["split"] |= {"validation": 0.1, "test": 0.1}
    params["backbone"]["path"] = str(weights)
    params["backbone"]["inputs"] |= {"size": SIZE, "resize_to": RESIZE_TO}
    params["finetune"] = {STRATEGY: {**params["finetune"]["all_layers"], "epochs": epochs}}
    params["strategies"] = [STRATEGY]
    return params


def measure(images: Path, weights: Path, epochs: int) -> dict[str, dict[str, float]]:
    """{stage: {"seconds", "anonymous", "total"}}, seconds without the imports, memory in bytes."""
    project = Project.make(WORK / "project", parameters(images, weights, epochs))
    project.stage("check", measured=False)
    found = {}
    for stage in ("prepare", "pretrain", "embed", "head", "finetune"):
        given = [STRATEGY] if stage == "finetune" else []
        ran = project.stage(stage, *given)
        seconds = project.work_seconds()["@".join((stage, *given))]
        found[stage] = {"seconds": seconds, "anonymous": ran.peak.anonymous, "total": ran.peak.total}
    return found


def by_images(n: int, weights: Path) -> dict[int, dict[str, dict[str, float]]]:
    """One epoch at n, 4 n and 16 n images."""
    found = {}
    for factor in FACTORS:
        make_images(WORK / "images", n * factor)
        found[n * factor] = measure(WORK / "images", weights, 1)
        _show(n * factor, 1, found[n * factor])
    return found


def by_epochs(n: int, weights: Path) -> dict[int, dict[str, dict[str, float]]]:
    """N images for 1, 4 and 16 epochs."""
    make_images(WORK / "images", n)
    found = {}
    for factor in FACTORS:
        found[factor] = measure(WORK / "images", weights, factor)
        _show(n, factor, found[factor])
    return found


def _show(images: int, epochs: int, found: dict[str, dict[str, float]]) -> None:
    for stage in STAGES:
        seconds, memory = found[stage]["seconds"], found[stage]["anonymous"] / 2**20
        each = seconds / images * 1e3
        per_epoch = f"{each / epochs:.2f}" if stage == "finetune" else ""
        row = [f"{images:,}", epochs, stage, f"{seconds:.2f}", f"{each:.2f}", per_epoch, f"{memory:.0f}"]
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def main() -> None:
    """Print the table and write `.tlpipe/bench/results/growth.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="n (default 256, so that 16 n is 4,096)")
    n = parser.parse_args().images
    if n < 40:
        parser.error(f"--images must be at least 40 so that every split has every class, got {n}")
    WORK.mkdir(parents=True, exist_ok=True)
    weights = random_weights()
    print("| images | epochs | stage | seconds | ms an image | ms an image and epoch | peak anonymous MiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    found = {"images": by_images(n, weights), "epochs": by_epochs(n, weights)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "growth.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
