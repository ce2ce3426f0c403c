"""Errors of the system end in a sentence: what happened, what is kept, how to go on."""

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tlpipe.cli import app
from tlpipe.stages import runner
from tlpipe.troubles import KEPT, sentence


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), "data/x: the disk is full: free some room"),
        (OSError(errno.EROFS, "Read-only file system", "models"), "models: it is on a file system that is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "raw/a"), "raw/a: this user may not: give the permission"),
        (OSError(errno.ELOOP, "Too many levels of symbolic links", "a"), "a: Too many levels of symbolic links"),
        (OSError("4096 requested and 16 written"), "could not be written or read to its end"),
        (RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598"), "the disk may be full"),
        (Exception('I/O error: No space (os error 28) at path "models/.tmp1"'), "models/.tmp1: the disk is full"),
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "not enough memory",
        ),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_each_error_of_the_system_has_a_sentence(error: BaseException, said: str):
    text = sentence(error, KEPT)
    assert text is not None
    assert said in text
    assert text.endswith(KEPT)
    assert "\n" not in text


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("shape mismatch"), ModuleNotFoundError("no timm")])
def test_other_errors_have_none(error: BaseException):
    assert sentence(error) is None


class Full(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_torch_makes_of_a_full_disk_is_seen_through():
    with pytest.raises((OSError, RuntimeError)) as caught:
        torch.save({"a": torch.zeros(10_000)}, Full())  # type: ignore[arg-type]
    assert "the disk is full" in str(sentence(caught.value))


def test_a_stage_ends_with_the_sentence_and_code_2(capsys: pytest.CaptureFixture[str]):
    def work() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "models/x")

    with pytest.raises(SystemExit) as ended:
        runner.run(work)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: models/x: the disk is full: free some room (`dvc gc -w` and .tlpipe/cache are places to look) "
        f"(No space left on device). {KEPT}\n"
    )


def test_a_stage_that_is_interrupted_says_so(capsys: pytest.CaptureFixture[str]):
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        runner.run(work)
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"error: interrupted. {KEPT}\n"


def test_an_import_that_is_interrupted_says_so():
    code = (
        "import tlpipe.stages, os, signal, time; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
    )  # a process in the background may have inherited that SIGINT is ignored
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert done.stderr == f"error: interrupted. {KEPT}\n"


def test_a_command_ends_with_the_sentence(tmp_path: Path):
    from typer.testing import CliRunner

    (tmp_path / "there").mkdir()
    result = CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "there")])
    assert result.exit_code == 2
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Is a directory" in result.output


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_class_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path):
    from tlpipe.data.image_folder import ImageFolder

    (tmp_path / "a").mkdir(mode=0)
    with pytest.raises(PermissionError):
        ImageFolder(path=str(tmp_path)).scan()


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from tlpipe.data.image_folder import ImageFolder

    (tmp_path / "a").mkdir()
    original = os.scandir

    def refuse(path: object) -> object:
        if str(path).endswith("a"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        ImageFolder(path=str(tmp_path)).scan()


def test_a_name_of_any_length_is_said_in_short():
    said = sentence(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000)) or ""
    assert "its name is too long for this file system: shorten it" in said
    assert len(said) < 700
