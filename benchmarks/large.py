"""50,000 images at 224 pixels: prepared and trained on without the array in memory. `python -m benchmarks.large`.

SqueezeNet 1.1 with random weights; the top layer group trains for one pass over 40,000 images, so that every training
image is read from the mapped array and runs through the whole network. Anonymous memory is what counts: mapped pages
of the array are the system's to drop.
"""

import argparse
import shutil
import time

import torch
from torchvision.models import get_model

from benchmarks import growth
from benchmarks.growth import STRATEGY, WORK, make_images, parameters
from benchmarks.peers.project import Project

SIZE, RESIZE_TO = 224, 256


def main() -> None:
    """Print seconds, images a second and the peak of memory of each stage, and the size of the packed array."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    total = parser.parse_args().images
    WORK.mkdir(parents=True, exist_ok=True)
    growth.EDGE = 288
    begun = time.perf_counter()
    make_images(WORK / "images", total)
    print(f"{total:,} JPEG files made in {time.perf_counter() - begun:.0f} s", flush=True)
    torch.manual_seed(0)
    weights = WORK / "squeezenet1_1.pth"
    torch.save(get_model("squeezenet1_1").state_dict(), weights)
    params = parameters(WORK / "images", weights, 1)
    params["backbone"]["architecture"]["name"] = "squeezenet1_1"
    params["backbone"]["inputs"] |= {"size": SIZE, "resize_to": RESIZE_TO}
    params["finetune"] = {STRATEGY: {"kind": "top_layers", "layers": 1, "lr": 1e-4, "gamma": 0.8, "epochs": 1}}
    project = Project.make(WORK / "project", params)
    project.stage("check", measured=False)
    for stage in ("prepare", "pretrain", "embed", "head", "finetune"):
        ran = project.stage(stage, *([STRATEGY] if stage == "finetune" else []))
        rate, anonymous, everything = total / ran.seconds, ran.peak.anonymous / 2**20, ran.peak.total / 2**20
        print(f"{stage:9s} {ran.seconds:7.0f} s, {rate:6.0f} images/s, {anonymous:6.0f} MiB anonymous, "
              f"{everything:6.0f} MiB with mapped pages", flush=True)  # fmt: skip
    array = WORK / "project/data/packed/images.npy"
    print(f"packed array: {array.stat().st_size / 2**30:.1f} GiB")
    shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
