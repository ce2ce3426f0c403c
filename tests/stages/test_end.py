"""How the process of a stage ends."""

import subprocess
import sys

import pytest

LEFT = """
import atexit, threading, time
import tlpipe.stages
from tlpipe.endings import leave

def late():
    time.sleep(0.3)
    print("thread")

atexit.register(print, "registered")
threading.Thread(target=late).start()
print("work")
"""


def ends(program: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


@pytest.mark.parametrize("brought", ["torch", "transformers.masking_utils"])
@pytest.mark.parametrize("end", ["", "; tlpipe.endings.leave()"])
def test_nothing_is_said_at_the_end(brought: str, end: str) -> None:
    """transformers brings triton, which reports as leaks what nobody has collected."""
    done = ends(f"import tlpipe.stages, tlpipe.endings, {brought}{end}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_process_that_leaves_waits_for_its_threads_and_for_what_is_registered() -> None:
    done = ends(f"{LEFT}\nleave(3)")
    assert (done.returncode, done.stdout.split(), done.stderr) == (3, ["work", "thread", "registered"], "")


def test_an_error_is_still_an_error() -> None:
    done = ends(f"{LEFT}\nraise ValueError('wrong')\nleave()")
    assert done.returncode == 1
    assert "ValueError: wrong" in done.stderr


def test_output_that_nobody_takes_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        done = ends("import tlpipe.stages, tlpipe.endings; print('lost'); tlpipe.endings.leave()", full.fileno())
    assert done.returncode != 0
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize("what", ["import tlpipe.stages", "from tlpipe.cli import main; main()"])
def test_a_process_ends_without_a_search_for_garbage(what: str):
    last = (
        "import atexit, gc, sys; sys.argv = ['tlpipe', '--help']; atexit.register(lambda: print(gc.get_freeze_count()))"
    )
    done = subprocess.run([sys.executable, "-c", f"{last}; {what}"], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) > 1000
