"""sample_solar: the demo's photographs, solar cells of the package elpv-dataset, functional and defective."""

import shutil
from pathlib import Path

import numpy as np

from tlpipe.packaged import SOLAR_CELLS, local_path, title_of

OUT = Path("data/solar_cells")
CLASSES = {"0.0": "functional", "1.0": "defective"}
"""By the probability of a defect that experts agreed on; cells that they were not sure of (1/3, 2/3) are left out."""
TEST_PER_CLASS, POOL_PER_CLASS = 350, 300
SEED = 0
TERMS = """\
# Solar cells, electroluminescence photographs

{title}: 2,624 cells of 44 modules, 300 x 300 pixels, each with the probability of a defect. Here are the cells that
experts were sure of, drawn by chance: {pool} of each class in train/, {test} in test/.

Licence: CC BY-NC-SA 4.0 (https://creativecommons.org/licenses/by-nc-sa/4.0/): name the authors, no commercial use,
pass it on under the same terms.

Cite:
- C. Buerhop-Lutz et al., A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery,
  EU PVSEC 2018, doi:10.4229/35thEUPVSEC20182018-5CV.3.15
- S. Deitsch et al., Automatic classification of defective photovoltaic module cells in electroluminescence images,
  Solar Energy 185 (2019) 455-468, doi:10.1016/j.solener.2019.02.067
- S. Deitsch et al., Segmentation of photovoltaic module cells in uncalibrated electroluminescence images,
  Machine Vision and Applications 32 (2021), doi:10.1007/s00138-021-01191-9
"""


def main(out: Path = OUT) -> int:
    """Write out/{train,test}/{functional,defective}/*.png and out/SOURCE.md, which says the licence and whom to cite.

    No setting of the recipe was chosen with a look at test/, 350 cells of each class. Raises ConfigError, with the
    command that installs it, without the package.
    """
    source = local_path(SOLAR_CELLS)
    shutil.rmtree(out, ignore_errors=True)
    rows = [line.split() for line in (source / "labels.csv").read_text(encoding="utf-8").splitlines() if line.strip()]
    for index, (probability, label) in enumerate(CLASSES.items()):
        files = sorted(path for path, given, *_ in rows if given == probability)
        order = np.random.default_rng((SEED, index)).permutation(len(files)).tolist()
        chosen = {"test": order[:TEST_PER_CLASS], "train": order[TEST_PER_CLASS : TEST_PER_CLASS + POOL_PER_CLASS]}
        for split, numbers in chosen.items():
            folder = out / split / label
            folder.mkdir(parents=True)
            for number in numbers:
                shutil.copyfile(source / files[number], folder / Path(files[number]).name)
    title = title_of(SOLAR_CELLS)
    terms = TERMS.format(title=title, pool=POOL_PER_CLASS, test=TEST_PER_CLASS)
    (out / "SOURCE.md").write_text(terms, encoding="utf-8")
    print(f"{out}: {2 * POOL_PER_CLASS} images for training, {2 * TEST_PER_CLASS} for testing; {title}")
    print("CC BY-NC-SA 4.0, no commercial use; whom to cite stands in", out / "SOURCE.md")
    return 0
