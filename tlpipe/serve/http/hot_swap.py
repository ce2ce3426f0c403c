"""The bundle that is being served, and its change for a newer one without a failed request."""

import asyncio
import logging
from dataclasses import dataclass

from tlpipe.bundle import ABOUT
from tlpipe.config import ConfigError
from tlpipe.serve.http.metrics import Metrics
from tlpipe.serve.http.settings import Settings
from tlpipe.serve.runtime.batcher import WIDTH, Batcher, Lanes
from tlpipe.serve.runtime.load import Loaded, load
from tlpipe.serve.runtime.tensorrt_profiles import Calls

log = logging.getLogger("tlpipe.serve")
LONGEST_PAUSE = 60.0
"""Seconds until a bundle that could not be loaded is tried again."""


@dataclass(eq=False)
class Served:
    """A loaded bundle with its queue; kept alive inside of a `with` block."""

    loaded: Loaded
    batcher: Batcher
    users: int = 0

    def __enter__(self) -> "Served":
        self.users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.users -= 1


class Model:
    """Holds what is served now; requests that began with an older bundle end with it."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self._served: Served | None = None
        self._loading = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._seen: object = None

    @property
    def now(self) -> Served:
        """What is served now. Raises RuntimeError before the first `load`."""
        if self._served is None:
            raise RuntimeError("no bundle has been loaded")
        return self._served

    async def load(self) -> None:
        """Serve what is in the bundle's folder from now on. Raises ConfigError; then all stays as it was."""
        async with self._loading:
            seen = self._stamp()
            loaded = await asyncio.to_thread(self._load)
            self._seen = seen
            before = self._served
            if before is not None and before.loaded.version == loaded.version:
                return
            self._served = Served(loaded, self._batcher(loaded))
        labels = {"model": self.settings.name, "version": loaded.version, "provider": loaded.session.provider}
        self.metrics.model(**labels)
        about = {"bundle": str(self.settings.bundle), "task": loaded.bundle.task, "golden_samples": loaded.proved}
        log.info("loaded", extra={**about, **labels})
        if before is not None:
            task = asyncio.create_task(_retire(before))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def _load(self) -> Loaded:
        settings, usual = self.settings, self.settings.batching.most("tensorrt")
        calls = Calls(usual, max(usual, settings.limits.items))
        return load(settings.bundle, settings.runtime, settings.limits.pixels, calls)

    def _batcher(self, loaded: Loaded) -> Batcher:
        given, device = self.settings.batching, loaded.session.device
        batching = given.model_copy(update={"max_batch": given.most(device)})
        width, parallel, lanes = WIDTH.get(device, 1), loaded.parallel, None
        if parallel is not None:
            most = given.max_batch or loaded.reading.together
            lanes = Lanes(parallel.session.run, parallel.lanes, most, parallel.fewest)
        return Batcher(loaded.session.run, batching, self.metrics.batch, width, lanes)

    async def reload(self) -> bool:
        """As `load`, but whatever fails is logged and counted, and the bundle before stays; whether it was loaded."""
        try:
            await self.load()
        except Exception as error:  # a bundle that is being copied, or hostile, can fail in any way; this one serves on
            self.metrics.reload("failed")
            reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
            log.error(
                "the new bundle is not served",
                extra={"reason": reason},
                exc_info=None if isinstance(error, ConfigError) else error,
            )
            return False
        self.metrics.reload("loaded")
        return True

    async def watch(self) -> None:
        """Reload whenever `bundle.json` changes; ends when it is cancelled.

        What failed is tried again, as the other files of a copied bundle may arrive later: twice as late each time, up
        to a minute.
        """
        failed: object = None
        pause = self.settings.watch
        while True:
            await asyncio.sleep(pause)
            stamp = self._stamp()
            if stamp in (None, self._seen):
                pause = self.settings.watch
                continue
            loaded = await self.reload()
            again = not loaded and stamp == failed
            pause = min(2 * pause, max(LONGEST_PAUSE, self.settings.watch)) if again else self.settings.watch
            failed = None if loaded else stamp

    def _stamp(self) -> object:
        try:
            found = (self.settings.bundle / ABOUT).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    async def close(self) -> None:
        """Finish what waits, and end."""
        await asyncio.gather(*self._retiring)
        if self._served is not None:
            await self._served.batcher.close()


async def _retire(served: Served) -> None:
    """End an older bundle's queue once nobody uses it."""
    while served.users:
        await asyncio.sleep(0.05)
    await served.batcher.close()
