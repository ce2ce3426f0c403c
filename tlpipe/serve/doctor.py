"""What this machine can serve with, and why not with the rest."""

import platform
from collections.abc import Iterator

import onnxruntime

from tlpipe.cores import usable_cores
from tlpipe.serve.runtime.providers import PROVIDERS, installed, obstacles


def report() -> Iterator[str]:
    """Lines about Python, onnxruntime and each device; the reasons under a device that cannot be used."""
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {usable_cores()} processors"
    packages = ", ".join(f"{name} {version}" for name, version in installed().items())
    yield f"onnxruntime {onnxruntime.__version__} ({packages or 'no package metadata'})"
    if len(installed()) > 1:
        yield "  two onnxruntime packages overwrite each other's files: uninstall both, then install one of them"
    for device in PROVIDERS:
        reasons = obstacles(device)
        yield f"{device}: {'cannot be used' if reasons else 'can be used'}"
        yield from (f"  {reason}" for reason in reasons)
    yield f"--device auto takes {'cpu' if obstacles('cuda') else 'cuda'}"
