"""Screenshot of a report for the documentation: `python -m docs.tools.screenshot demo/reports/report.html`.

Writes docs/images/report.png: the top of the page as headless Chromium shows it, in a palette of 64 colours.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

OUT = Path(__file__).resolve().parents[1] / "images/report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LARGEST = 300_000
"""Bytes of the picture."""


def screenshot(report: Path, width: int, height: int) -> Image.Image:
    """The top of a page, `width` x `height` pixels."""
    browser = next((name for name in BROWSERS if shutil.which(name)), None)
    if browser is None:
        sys.exit(f"no browser found; install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--window-size={width},{height}", f"--screenshot={picture}", report.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(picture) as image:
            return image.convert("RGB")


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=900)
    given = parser.parse_args()
    image = screenshot(given.report, given.width, given.height).quantize(64, dither=Image.Dither.NONE)
    OUT.parent.mkdir(exist_ok=True)
    image.save(OUT, optimize=True)
    if OUT.stat().st_size > LARGEST:
        sys.exit(f"{OUT} has {OUT.stat().st_size:,} bytes, more than {LARGEST:,}; choose a smaller --height")
    print(f"{OUT}: {image.width} x {image.height}, {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
