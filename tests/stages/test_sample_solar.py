import importlib.util
from pathlib import Path

import pytest

from tlpipe.config import ConfigError
from tlpipe.stages import sample_solar
from tlpipe.stages.sample_solar import main

INSTALLED = pytest.mark.skipif(not importlib.util.find_spec("elpv_dataset"), reason="needs tlpipe[demo]")


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


@INSTALLED
def test_cells_are_drawn_once_for_all_and_their_licence_lies_beside_them(tmp_path: Path) -> None:
    main(tmp_path / "cells")
    first = files(tmp_path / "cells")
    counts = {folder: sum(name.startswith(folder) for name in first) for folder in ("train", "test")}
    assert counts == {"train": 600, "test": 700}
    assert sum(name.startswith("test/defective/") for name in first) == 350
    assert len({Path(name).name for name in first}) == 1300
    terms = (tmp_path / "cells/SOURCE.md").read_text()
    assert "CC BY-NC-SA 4.0" in terms
    assert "10.1016/j.solener.2019.02.067" in terms
    main(tmp_path / "again")
    assert files(tmp_path / "again") == first


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_solar, "SOLAR_CELLS", "package:no-such-cells/data")
    with pytest.raises(ConfigError, match="pip install no-such-cells"):
        main(tmp_path / "cells")
