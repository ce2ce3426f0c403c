"""First look at the data of a params file: what `prepare` would refuse before it reads a sample, in the same words.

Nothing is decoded. Of an image folder at most LISTED files a class are counted, and it is said where there are more.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlpipe.backbones.published import CACHED, HOSTS, reachable
from tlpipe.config import ConfigError
from tlpipe.data.base import listing
from tlpipe.data.findings import Findings
from tlpipe.data.pack import check_assigned, check_samples
from tlpipe.data.packed import SPLITS
from tlpipe.data.space import check_space
from tlpipe.data.spec import Data
from tlpipe.data.split import assign
from tlpipe.packaged import is_packaged, local_path, packaged_in
from tlpipe.project.pipeline import SAMPLES, own_files

LISTED = 2_000
PACKED = Path("data/packed")
COPIES = 2
"""The packed array is on the disk this often while it is sorted."""


def look_at_data(data: Data, pixels: int | None) -> list[str]:
    """Lines about the samples; `pixels` of an image as it is packed, None for texts.

    Raises:
        ConfigError: As `pack` would without reading a sample, and where the disk has no room for the packed images.
    """
    source = data.source
    if not Path(source.path).exists() and (stage := SAMPLES.get(source.path)):
        return [f"data: {source.path} is not there yet; the stage {stage} makes it"]
    samples, whole = source.listed(LISTED)
    strata = check_samples(samples, data)
    assigned = assign(samples, range(len(samples)), [], data)
    if whole:
        check_assigned(Findings(samples, strata, {}, (), {}, assigned), data)
    if pixels is not None:
        check_space(PACKED, len(samples) * pixels * 3 * COPIES, f"data: {len(samples):,} images")
    counts = Counter(sample.label for sample in samples)
    shown = listing([f"{label} {count:,}" for label, count in counts.most_common()])
    found = "samples" if whole else f"samples or more: of each class folder the first {LISTED:,} files were counted"
    lines = [f"data: {len(samples):,} {found}; {len(counts):,} labels: {shown}"]
    if whole:
        splits = Counter(assigned.splits.values())
        folds = len(set(assigned.folds.values()))
        parts = [f"{split} {splits[split]:,}" for split in SPLITS if splits[split]]
        lines.append(f"split: {', '.join(parts)}{f', in {folds} folds' if folds else ''}, before copies are found")
    return lines


def require_weights(backbone: Mapping[str, Any], root: Path = Path()) -> None:
    """Raise ConfigError where the source backbone's weights are neither here nor can be fetched.

    `backbone`: the section of params.yaml. Whether a host can be reached is all that is asked of it.
    """
    if backbone["kind"] == "auto":
        for each in backbone["among"]:
            require_weights(each, root)
        return
    kind, files = backbone["kind"], own_files(backbone, root)
    gone = [path for key, path in files.items() if not key.startswith("corpus") and not (root / path).exists()]
    if gone:
        raise ConfigError(f"backbone: {listing(gone)} does not exist (seen from {Path(root).resolve()})")
    for name in packaged_in(backbone):
        local_path(name)
    host = HOSTS.get(kind)
    if host is None or "name" in files or is_packaged(str(backbone.get("name"))) or (root / "models/source").is_dir():
        return
    name, cached = str(backbone["name"]), CACHED.get(kind, CACHED["huggingface"])
    if not cached(name) and not reachable(host):
        raise ConfigError(
            f"backbone: the weights of {name} are not on this machine, and {host} cannot be reached; fetch them where "
            "there is a network, or choose a backbone that is trained here: kind: letters for images, bert for texts"
        )
