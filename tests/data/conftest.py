"""Small pictures and folders of them."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[[Mapping[str, "Image.Image | bytes"]], Path]


def draw(seed: int, edge: int = 40) -> Image.Image:
    """A picture that is like no other one: smooth random colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((edge, edge), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def picture() -> Callable[[int], Image.Image]:
    """Seed -> a picture of 40 x 40 pixels that is like no other one."""
    return draw


@pytest.fixture
def tree(tmp_path: Path) -> Write:
    """Writes {relative path: picture or bytes} below a folder, and returns that folder."""

    def write(files: Mapping[str, Image.Image | bytes]) -> Path:
        root = tmp_path / "raw"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                buffer = io.BytesIO()
                content.save(buffer, "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG")
                path.write_bytes(buffer.getvalue())
        return root

    return write
