"""The only place where concrete rooms meet: settings in, a running service out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path

from tusd_py.datadir import DataDir, open_data_dir
from tusd_py.engine.context import Policy
from tusd_py.engine.service import Engine, SystemClock
from tusd_py.jobs.registry import Registry
from tusd_py.jobs.worker import Worker
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.upload import UploadInfo
from tusd_py.settings import Settings
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore
from tusd_py.web.cors import CorsPolicy
from tusd_py.web.handlers import MountOptions
from tusd_py.web.location import EdgePolicy

OnFinish = Callable[[FinishedUpload], Awaitable[None]]


class Tus:
    """Uploads over one data directory: the engine, its stores and the jobs of finished uploads.

    Opens nothing until `start`; `tusd_py.setup` lets an aiohttp application start and stop it.
    """

    def __init__(self, settings: Settings, *, shielded: bool = True) -> None:
        """Remember the settings; `shielded` is of the engine, for hosts that may cancel requests."""
        self.settings = settings
        self._clock = SystemClock()
        self._registry = Registry(self._clock)
        self._worker: Worker | None = None
        self._working: asyncio.Task[None] | None = None
        self._dir: DataDir | None = None
        self._users = 0
        root = Path(settings.data_dir)
        self._data = FileDataStore(root / "uploads")
        self._info = SqliteInfoStore(
            root / "uploads.sqlite3", durability=settings.durability, data_root=root / "uploads"
        )
        self.engine = Engine(
            data=self._data,
            info=self._info,
            locker=MemoryLocker(),
            policy=Policy(
                durability=settings.durability,
                checkpoint_bytes=settings.checkpoint_bytes,
                checkpoint_interval=settings.checkpoint_interval,
                lock_timeout=settings.lock_timeout,
                shutdown_timeout=settings.shutdown_timeout,
            ),
            clock=self._clock,
            sweep_interval=settings.sweep_interval,
            shielded=shielded,
            jobs_for=self._registry.jobs_for,
            finished=self._finished,
        )

    def on_finish(self, task: OnFinish) -> OnFinish:
        """Register a coroutine function that runs for every finished upload (partial ones excepted).

        It is a durable job: its row commits with the finish, it is tried until it returns, also after a crash, and
        so may run more than once for one upload. Its qualified name is stored; keep it while jobs are waiting.
        """
        if not inspect.iscoroutinefunction(task):
            raise TypeError(f"on_finish needs a coroutine function, not {task!r}")
        self._registry.add(task)
        return task

    async def start(self) -> None:
        """Take the data directory, open the stores, run waiting jobs. Raises `StartupError`; destroys nothing.

        Applications that share a service each start and stop it: the first opens it, the last closes it.
        """
        if self._users == 0:
            await self._open()
        self._users += 1

    async def _open(self) -> None:
        settings = self.settings
        self._dir = open_data_dir(Path(settings.data_dir), allow_unsafe=settings.allow_unsafe_data_dir)
        try:
            await self.engine.start()
        except BaseException:
            self._dir.close()
            raise
        self._worker = Worker(
            jobs=self._info,
            info=self._info,
            registry=self._registry,
            clock=self._clock,
            locate=self._data.locate,
        )
        self._working = asyncio.create_task(self._worker.run(), name="tusd-py jobs")

    def drain(self) -> None:
        """Stop reading bodies; see `tusd_py.engine.service.Engine.drain`."""
        self.engine.drain()

    async def stop(self) -> None:
        """End running jobs (they run again after the next start), wait for requests, close everything."""
        self._users -= 1
        if self._users > 0:
            return
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            self._working = None
        await self.engine.stop()
        if self._dir is not None:
            self._dir.close()
            self._dir = None

    def _finished(self, upload: UploadInfo) -> None:
        # A look at the jobs costs more than a small upload does.
        if self._worker is not None and self._registry.owes(upload):
            self._worker.wake()


def build(settings: Settings, *, shielded: bool = True) -> Tus:
    """Return a service for these settings; nothing is opened yet.

    Without `shielded` it costs a little less, and whoever cancels a request stops what it does half-way: for servers
    that never cancel one before the shutdown timeout is over.
    """
    return Tus(settings, shielded=shielded)


def mount_options(settings: Settings) -> MountOptions:
    """Return how a mount with these settings shows itself."""
    return MountOptions(
        limits=settings.limits(),
        cors=CorsPolicy(
            enabled=not settings.disable_cors,
            allow_origin=tuple(settings.cors_allow_origin),
            allow_credentials=settings.cors_allow_credentials,
            max_age=int(settings.cors_max_age),
        ),
        edge=EdgePolicy(
            public_url=settings.public_url,
            relative=settings.relative_location,
            behind_proxy=settings.behind_proxy,
            trusted=tuple(ip_network(network) for network in settings.trusted_proxy),
        ),
        network_timeout=settings.network_timeout,
        data_plane_from=settings.data_plane_from,
        max_upload_rate=settings.max_upload_rate,
    )
