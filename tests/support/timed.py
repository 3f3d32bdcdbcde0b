"""An engine whose time stands still, whose sweeper runs when told, and whose store waits at gates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.support.servers import Target, embedded, running
from tusd_py.abc import Data, DataStore, InfoStore
from tusd_py.engine.context import Policy
from tusd_py.engine.expire import Sweeper
from tusd_py.engine.service import Engine
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.limits import Durability, Limits
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.memory import MemoryDataStore, MemoryInfoStore
from tusd_py.stores.sqlite import SqliteInfoStore
from tusd_py.testing import FakeClock
from tusd_py.web.handlers import MountOptions
from tusd_py.web.setup import add_mount

STORES = ("memory", "disk")
NEVER = 10.0**6
FOREVER = float("inf")


class Door:
    """Open by default; while it is shut, whoever comes waits behind `knocked`. May raise once behind it."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.knocked = asyncio.Event()
        self.error: BaseException | None = None

    def shut(self) -> None:
        self._open.clear()
        self.knocked.clear()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.knocked.set()
        await self._open.wait()
        error, self.error = self.error, None
        if error is not None:
            raise error


class DooredData(Data):
    """Data with a door before every copy."""

    def __init__(self, data: Data, copying: Door) -> None:
        self._data = data
        self._copying = copying

    async def write(self, *args: Any, **kwargs: Any) -> None:
        await self._data.write(*args, **kwargs)

    async def copy(self, offset: int, source_id: str, length: int) -> None:
        await self._copying.pass_through()
        await self._data.copy(offset, source_id, length)

    async def sync(self) -> None:
        await self._data.sync()

    async def seal(self, length: int, *, durable: bool) -> None:
        await self._data.seal(length, durable=durable)

    async def truncate(self, length: int) -> None:
        await self._data.truncate(length)

    async def close(self) -> None:
        await self._data.close()


class DooredStore(DataStore):
    """Any data store, with doors before copying and before removing."""

    def __init__(self, store: DataStore) -> None:
        self._store = store
        self.copying = Door()
        self.removing = Door()

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def create(self, upload_id: str, buffers: Sequence[bytes] = (), *, durable: bool) -> None:
        await self._store.create(upload_id, buffers, durable=durable)

    async def write_to(self, upload_id: str, *, holds: int | None = 0, lasts: bool = True) -> Data:
        return DooredData(await self._store.write_to(upload_id, holds=holds, lasts=lasts), self.copying)

    async def read_from(self, upload_id: str) -> Any:
        return await self._store.read_from(upload_id)

    async def sync_all(self) -> None:
        await self._store.sync_all()

    async def remove(self, upload_id: str, *, durable: bool) -> None:
        await self.removing.pass_through()
        await self._store.remove(upload_id, durable=durable)

    def names(self, *, older_than: float) -> Any:
        return self._store.names(older_than=older_than)


@dataclass
class Timed:
    """A running server whose time stands still."""

    url: str
    clock: FakeClock
    data: DooredStore
    info: InfoStore
    engine: Engine
    sweeper: Sweeper

    async def stored(self) -> set[str]:
        """Return the ids of all data, with or without a row."""
        return {name async for names in self.data.names(older_than=FOREVER) for name in names}

    async def rows(self) -> set[str]:
        """Return the ids of all rows, in whatever state."""
        return {upload.id for upload in await self.info.list_uploads()}

    async def is_receiving(self, upload_url: str) -> bool:
        """Whether a body is being read into an upload."""
        return name_of(upload_url) in self.engine._ctx.receiving


@contextlib.asynccontextmanager
async def timed(stores: str, directory: Path, **limits: Any) -> AsyncIterator[Timed]:
    """Run an engine over memory or files behind an aiohttp application."""
    clock = FakeClock(now=1_800_000_000.0)
    data: DataStore
    info: InfoStore
    if stores == "memory":
        data, info = MemoryDataStore(now=clock.now), MemoryInfoStore()
    else:
        data = FileDataStore(directory / "uploads")
        info = SqliteInfoStore(directory / "uploads.sqlite3", durability=Durability.NONE)
    doored = DooredStore(data)
    engine = Engine(
        data=doored,
        info=info,
        locker=MemoryLocker(),
        policy=Policy(durability=Durability.NONE),
        clock=clock,
        sweep_interval=NEVER,
    )
    app = web.Application()
    add_mount(app, "/files", engine, MountOptions(limits=Limits(**limits)))
    await engine.start()
    try:
        async with running(app) as url:
            try:
                yield Timed(f"{url}/files/", clock, doored, info, engine, Sweeper(engine._ctx, NEVER))
            finally:
                # A test that failed must not hang behind a door.
                doored.copying.open()
                doored.removing.open()
    finally:
        await engine.stop()


@dataclass
class Recording:
    """An embedded server and what its on_finish was told."""

    target: Target
    seen: list[FinishedUpload] = field(default_factory=list)

    async def quiet(self) -> bool:
        """Whether no job is waiting or running."""
        assert self.target.tus is not None
        return await self.target.tus._info.next_job_at() is None

    def of(self, upload_url: str) -> list[FinishedUpload]:
        """Return what was told of one upload."""
        return [upload for upload in self.seen if upload.id == name_of(upload_url)]


@contextlib.asynccontextmanager
async def recording(data_dir: Path, **settings: Any) -> AsyncIterator[Recording]:
    """Run an embedded server that writes down every finished upload."""
    async with embedded(data_dir, **settings) as target:
        record = Recording(target)

        async def write_down(upload: FinishedUpload) -> None:
            record.seen.append(upload)

        assert target.tus is not None
        target.tus.on_finish(write_down)
        yield record


def name_of(upload_url: str) -> str:
    """Return the id in an upload URL."""
    return upload_url.rstrip("/").rsplit("/", 1)[1]
