"""What a first look writes, at all its boundaries; where the disk is full, all processes of a team end together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tlpipe.config import ConfigError
from tlpipe.train.cache.cache_folder import CacheFolder
from tlpipe.train.cache.stored_activations import Encoded, Layout, Writer
from tlpipe.train.hardware.distributed import Team

Found = list[list[tuple[int, int, Encoded]]]
"""From each process (cut, first row, what is stored) of some samples."""


class Writers:
    """The folders that are being written, by cut.

    All processes of a team make the same calls, and one on each machine writes. Every call raises ConfigError in all of
    them if the disk of one refuses.
    """

    def __init__(self, cache_folder: CacheFolder, team: Team, wanted: int) -> None:
        self.cache_folder, self.team, self.wanted = cache_folder, team, wanted
        self._open: dict[int, Writer] = {}

    def begin(self, make_room: Callable[[int], None], folders: dict[int, tuple[str, Layout]], count: int) -> None:
        """Let room be made for the `wanted` bytes, and open a folder of `count` samples for each (key, layout)."""

        def begin() -> None:
            make_room(self.wanted)
            for cut, (key, layout) in folders.items():
                self._open[cut] = Writer(self.cache_folder.folder(key), count, layout)

        self._together(begin)

    def write(self, found: Found) -> None:
        """Store what all processes found."""

        def write() -> None:
            for cut, start, encoded in (each for climbed in found for each in climbed):
                self._open[cut].write(start, *encoded)

        self._together(write)

    def close(self) -> None:
        """Everything is written: let it be found."""

        def close() -> None:
            for writer in self._open.values():
                writer.close()

        self._together(close)

    def abandon(self) -> None:
        """Leave nothing behind of what was not closed."""
        for writer in self._open.values():
            writer.abandon()

    def _together(self, work: Callable[[], None]) -> None:
        refusal = None
        try:
            if self.team.first_here:
                work()
        except OSError as error:
            refusal = error.strerror or str(error)
        refusals = [each for each in self.team.gather(refusal) if each]
        if refusals:
            wanted, free = (f"{each / 1e9:.2g} GB" for each in (self.wanted, self.cache_folder.room(0).free))
            raise ConfigError(
                f"what frozen layers give cannot be kept in {self.cache_folder.root}: {refusals[0]} ({wanted} were to "
                f"be written, {free} are free). Make room there and run the same again, it goes on from where it was; "
                "or set training.cache.views to 0, then nothing is kept and the training begins anew"
            )


@contextmanager
def writers(cache_folder: CacheFolder, team: Team, wanted: int) -> Iterator[Writers]:
    """`Writers` that leave nothing half-written behind, however the block ends."""
    opened = Writers(cache_folder, team, wanted)
    try:
        yield opened
    finally:
        opened.abandon()
