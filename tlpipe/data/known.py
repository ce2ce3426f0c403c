"""What `prepare` found, for those who have not opened its arrays."""

import json
from pathlib import Path

DATASET = Path("data/packed/dataset.json")


def known_classes() -> int | None:
    """How many classes `prepare` packed here, or None if it has not run."""
    return len(json.loads(DATASET.read_text(encoding="utf-8"))["classes"]) if DATASET.is_file() else None


def known_samples() -> int | None:
    """How many rows the training split has here, windows of long texts among them, or None if `prepare` has not run."""
    return int(json.loads(DATASET.read_text(encoding="utf-8"))["learnt"]) if DATASET.is_file() else None
