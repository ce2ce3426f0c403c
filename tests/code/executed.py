"""Put on a stage's path as sitecustomize: writes down which files of the package it runs code of."""

import atexit
import os
import sys
from pathlib import Path

EXECUTED: set[str] = set()


def _note(frame: object, event: str, argument: object) -> None:
    code = frame.f_code  # type: ignore[attr-defined]
    if code.co_name != "<module>" and "tlpipe" in code.co_filename:
        EXECUTED.add(code.co_filename)


def _write() -> None:
    if "stage" in sys.argv and EXECUTED:
        name = "-".join(sys.argv[sys.argv.index("stage") + 1 :])
        Path(os.environ["EXECUTED"], f"{name}-{os.getpid()}").write_text("\n".join(sorted(EXECUTED)))


def _end(code: int) -> None:
    _write()
    EXIT(code)


if "EXECUTED" in os.environ:
    EXIT, os._exit = os._exit, _end
    sys.setprofile(_note)
    atexit.register(_write)
