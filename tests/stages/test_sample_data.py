from pathlib import Path

import numpy as np
from PIL import Image

from stages.sample_data import main


def test_digits_are_split_a_thousand_for_testing_and_have_stable_bytes(tmp_path: Path):
    main(tmp_path / "digits")
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.png")}
    test = [name for name in files if name.startswith("digits/test/")]
    assert (len(files), len(test)) == (1797, 1000)
    assert {sum(name.startswith(f"digits/test/{digit}/") for name in test) for digit in range(10)} == {100}
    assert len({Path(name).name for name in files}) == 1797
    pixels = np.asarray(Image.open(tmp_path / test[0]))
    assert (pixels.shape, pixels.dtype) == ((8, 8), np.uint8)
    main(tmp_path / "digits")
    assert all((tmp_path / name).read_bytes() == raw for name, raw in files.items())
