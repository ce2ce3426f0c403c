"""The process that brings journals to MLflow: `python -m tlpipe.tracking.publisher live FOLDER` or `once FOLDER …`.

Nobody waits for it. It may be killed at any time: the next one finds the run by its key and sends what is missing.
"""

import argparse
import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tlpipe.locks import held
from tlpipe.tracking.journal import BUNDLE, MODEL
from tlpipe.tracking.launch import reachable
from tlpipe.tracking.outbox import PUBLISHER_LOCK, is_published, read_state, target, write_state, writer_lives
from tlpipe.tracking.snapshot import Snapshot, Tail

if TYPE_CHECKING:
    from tlpipe.tracking.store import Remote

POLL, LONGEST_PAUSE, LINGER, LOCK_WAIT = 1.0, 30.0, 20.0, 60.0
ATTEMPTS = 3


class UnreachableError(ConnectionError):
    """Nothing answers at the tracking URI."""


class Publisher:
    """Brings one run to the current target. Use with the run's publisher lock held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tail = Tail(folder)
        self.target = target(self._tail.read().experiment, folder.parent)
        entry = read_state(folder).get(self.target.key, {})
        self._artifacts: dict[str, str] = dict(entry.get("artifacts", {}))
        self._remote: Remote | None = None

    def step(self) -> bool:
        """Send what is new. True when the run has ended and MLflow has all of it. Raises what goes wrong."""
        alive = writer_lives(self.folder)  # asked before reading: what a dead writer left is then all there is
        size = self._tail.snapshot.size
        snapshot = self._tail.read()
        if self._remote is not None and snapshot.size == size and alive and snapshot.ended is None:
            return False
        try:
            return self._send(snapshot, over=snapshot.ended is not None or not alive)
        except Exception as error:
            # the store may or may not have got the last batch: look again before sending more
            self._remote = None
            write_state(self.folder, self.target.key, {"complete": False, "problem": f"{error}", "champion": None})
            raise

    def _send(self, snapshot: Snapshot, over: bool) -> bool:
        remote = self._connect(snapshot)
        remote.push(snapshot)
        write_state(self.folder, self.target.key, {"parent": remote.parent_key})
        self._send_artifacts(remote, snapshot)
        problems = []
        if over:
            from tlpipe.tracking.models import push_models

            problems = push_models(remote, snapshot, self.folder)
            self._crown(remote, snapshot)
            if snapshot.ended is None:
                remote.set_status("KILLED", snapshot.updated)
        self._save(size=snapshot.size, complete=over, problem="; ".join(problems))
        if over and not problems:
            for name in (MODEL, BUNDLE):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return over and is_published(self.folder, self.target.key)

    def _crown(self, remote: "Remote", snapshot: Snapshot) -> None:
        if snapshot.champion:
            from tlpipe.tracking.champion import crown

            write_state(self.folder, self.target.key, {"champion": crown(remote, snapshot)})

    def _connect(self, snapshot: Snapshot) -> "Remote":
        if self._remote is None:
            if not reachable(self.target.uri):
                raise UnreachableError(
                    f"nothing answers at {self.target.shown}; set MLFLOW_TRACKING_URI or try again later"
                )
            from tlpipe.tracking.store import Remote

            self._remote = Remote(self.target, snapshot)
            known = read_state(self.folder).get(self.target.key, {})
            if known.get("run_id") != self._remote.run_id:
                self._artifacts = {}
            place = {"uri": self.target.shown, "experiment": self.target.experiment, "run_id": self._remote.run_id}
            write_state(self.folder, self.target.key, place)
        return self._remote

    def _send_artifacts(self, remote: "Remote", snapshot: Snapshot) -> None:
        for name, digest in snapshot.artifacts.items():
            if self._artifacts.get(name) != digest:
                remote.push_artifact(self.folder, name)
                self._artifacts[name] = digest
                write_state(self.folder, self.target.key, {"artifacts": self._artifacts})

    def _save(self, size: int, complete: bool, problem: str) -> None:
        values = {"bytes": size, "complete": complete, "problem": problem or None}
        write_state(self.folder, self.target.key, values)


def live(folder: Path) -> None:
    """Publish a run while it trains, until it has ended and is published, or MLflow stays away."""
    while True:
        with held(folder / PUBLISHER_LOCK) as got:
            if got:
                _follow(Publisher(folder))
                return
        # another publisher still works on a former attempt: take over from it as long as there is a training to follow
        if not writer_lives(folder):
            return
        time.sleep(POLL)


def _follow(publisher: Publisher) -> None:
    pause, over_since = POLL, None
    while True:
        try:
            if publisher.step():
                return
            pause = POLL
        except Exception:
            _log(publisher.folder)
            pause = min(2 * pause, LONGEST_PAUSE)
        if not writer_lives(publisher.folder):
            over_since = over_since or time.monotonic()
            if time.monotonic() - over_since > LINGER:
                return
            pause = min(pause, LINGER / 4)
        _sleep(pause, publisher.folder)


def _sleep(seconds: float, folder: Path) -> None:
    """Sleep, but wake up when the training ends."""
    deadline = time.monotonic() + seconds
    was_alive = writer_lives(folder)
    while time.monotonic() < deadline and (not was_alive or writer_lives(folder)):
        time.sleep(min(0.2, seconds))


def once(folders: Sequence[Path]) -> None:
    """Publish runs that nobody trains, one after the other; stops at once when nothing answers."""
    for folder in folders:
        with held(folder / PUBLISHER_LOCK, LOCK_WAIT) as got:
            if not got or writer_lives(folder):
                continue
            if not _attempt(Publisher(folder)):
                return


def _attempt(publisher: Publisher) -> bool:
    """Try, and again what can pass (a locked SQLite file, a schema in the making). False when nothing answers."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            publisher.step()
        except UnreachableError:
            return False
        except Exception:
            _log(publisher.folder)
            time.sleep(attempt)
        else:
            break
    return True


def _log(folder: Path) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {folder.name}\n{traceback.format_exc(limit=-3)}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(prog="tlpipe.tracking.publisher", description=__doc__)
    parser.add_argument("mode", choices=("live", "once"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--background", action="store_true", help="leave the processor to others")
    options = parser.parse_args(arguments)
    if options.background:
        os.nice(19)
    if options.mode == "live":
        live(options.folders[0])
    else:
        once(options.folders)


if __name__ == "__main__":
    main()
