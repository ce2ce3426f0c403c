"""Progress passes everything through, and says what is needed on a terminal and elsewhere."""

import io
import sys
from collections.abc import Iterator

import pytest

from tlpipe import progress
from tlpipe.progress import track


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def passing(self, seconds: float, count: int) -> Iterator[int]:
        for index in range(count):
            self.now += seconds
            yield index


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_everything_comes_through_in_order_and_nothing_is_taken_early():
    taken: list[int] = []

    def source() -> Iterator[int]:
        for index in range(5):
            taken.append(index)
            yield index

    tracked = track(source(), "reading", total=5)
    assert taken == []
    assert next(tracked) == 0
    assert taken == [0]
    assert list(tracked) == [1, 2, 3, 4]


def test_short_work_is_silent_without_a_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]):
    assert list(track(clock.passing(0.1, 10), "quick", total=10)) == list(range(10))
    assert capsys.readouterr() == ("", "")


def test_long_work_says_rate_and_time_left_in_lines(clock: Clock, capsys: pytest.CaptureFixture[str]):
    list(track(clock.passing(4.0, 10), "images", total=10, unit="img"))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "images: 3/10 img (30 %), 0.2 img/s, 28 s left"
    assert lines[-1] == "images: 10 img in 40.0 s"
    assert "\r" not in err
    assert "\x1b" not in err


def test_work_of_unknown_length_says_no_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]):
    list(track(clock.passing(6.0, 4), "rows", unit="row"))
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "rows: 2 row, 0.2 row/s"
    assert "left" not in err


def test_the_length_of_a_list_is_known(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    list(track([1, 2], "items"))
    assert "items: 1/2 it (50 %)" in capsys.readouterr().err


def test_nothing_to_do_is_no_error(capsys: pytest.CaptureFixture[str]):
    assert list(track([], "none")) == []
    assert capsys.readouterr().err == ""


def test_an_error_in_the_work_comes_through():
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        list(track(source(), "failing"))


def test_a_terminal_gets_a_bar_with_a_count(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track(range(3), "painting", unit="img")) == [0, 1, 2]
    assert "painting" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
