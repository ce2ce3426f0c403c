"""sample_data: the offline default's images, scikit-learn's handwritten digits as small PNG files."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

OUT = Path("data/digits")
POOL_PER_CLASS = 100
SEED = 0


def main(out: Path = OUT) -> int:
    """Write out/{train,test}/<digit>/<number>.png, 1,797 images of 8 x 8 pixels: 1,000 for training, 797 for testing.

    Labelled samples and everything that was ever looked at to choose the recipe are in train/, 100 of each digit; no
    setting of params.yaml was chosen with a look at test/, 74 to 83 of each digit (benchmarks/digits.py).
    Source: UCI Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998), as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    shutil.rmtree(out, ignore_errors=True)
    seen: Counter[int] = Counter()
    for index in np.random.default_rng(SEED).permutation(len(pixels)).tolist():
        label = int(digits.target[index])
        seen[label] += 1
        folder = out / ("train" if seen[label] <= POOL_PER_CLASS else "test") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        # Stored, not compressed: the bytes must not depend on the version of zlib.
        Image.fromarray(pixels[index]).save(folder / f"{index:04}.png", compress_level=0)
    pool = POOL_PER_CLASS * len(seen)
    print(f"{out}: {pool:,} images for training, {len(pixels) - pool:,} for testing")
    return 0
