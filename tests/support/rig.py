"""A server of this process over stores that misbehave on purpose: writes that wait, disks that are full."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.noting import NotingJobs
from tests.support.servers import running
from tusd_py.abc import DataReader, Digest
from tusd_py.engine.context import Policy
from tusd_py.engine.service import Engine
from tusd_py.errors import InsufficientStorage
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.memory import MemoryData, MemoryDataStore, MemoryInfoStore
from tusd_py.web.handlers import MountOptions
from tusd_py.web.setup import add_mount, own_service


class Gate:
    """A place where a store waits until the test lets it go on."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def wait_entered(self) -> None:
        """Wait until the store stands at the gate."""
        await asyncio.wait_for(self.entered.wait(), 10)

    async def pass_through(self) -> None:
        """Be the store: wait for the gate to open."""
        self.entered.set()
        await self.opened.wait()


class TroubledData(MemoryData):
    """Data of a `TroubledStore`."""

    _store: TroubledStore

    async def write(
        self,
        offset: int,
        buffers: Sequence[bytes],
        digest: Digest | None = None,
        *,
        sync: bool = False,
        last: bool = False,
    ) -> None:
        await self._store.at("write")
        room, size = self._store.room, sum(map(len, buffers))
        if room is not None and size > room:
            await super().write(offset, [b"".join(buffers)[:room]])
            self._store.room = 0
            raise InsufficientStorage(written=room)
        if room is not None:
            self._store.room = room - size
        await super().write(offset, buffers, digest)
        if sync:
            await self.sync()

    async def copy(self, offset: int, source_id: str, length: int) -> None:
        await self._store.at("copy")
        await super().copy(offset, source_id, length)

    async def sync(self) -> None:
        await self._store.at("sync")


class TroubledStore(MemoryDataStore):
    """Memory whose writes can be held up and whose space can run out."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, Gate] = {}
        self.room: int | None = None
        """Bytes that still fit; None = any number."""

    def hold(self, step: str) -> Gate:
        """Let the next `write`, `copy`, `sync` or `read_from` wait, and all that follow until the gate opens."""
        self.gates[step] = Gate()
        return self.gates[step]

    async def at(self, step: str) -> None:
        if (gate := self.gates.get(step)) is not None:
            await gate.pass_through()

    async def write_to(self, upload_id: str, *, holds: int | None = 0, lasts: bool = True) -> TroubledData:
        await super().write_to(upload_id, holds=holds, lasts=lasts)
        return TroubledData(self, self.content(upload_id))

    async def read_from(self, upload_id: str) -> DataReader:
        await self.at("read_from")
        return await super().read_from(upload_id)


@dataclass
class Rig:
    """A running server and everything inside it."""

    url: str
    data: TroubledStore
    info: MemoryInfoStore
    locker: MemoryLocker
    engine: Engine
    requests: list[web.Request] = field(default_factory=list)
    """Every request that came, in order."""
    finished: list[str] = field(default_factory=list)
    """Ids of uploads, once for every time that one was reported as finished."""

    def bytes_of(self, upload_url: str) -> bytes:
        """Return what is stored of an upload."""
        content = self.data._contents.get(upload_url.rpartition("/")[2])
        return b"" if content is None else bytes(content.data)


@contextlib.asynccontextmanager
async def rig(
    policy: Policy | None = None, *, runner: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Rig]:
    """Run a server over memory; `options` are those of the mount."""
    data, info, locker = TroubledStore(), MemoryInfoStore(), MemoryLocker()
    finished: list[str] = []

    def note(upload: UploadInfo) -> None:
        finished.append(upload.id)

    jobs = NotingJobs(info._uploads.get, note)
    engine = Engine(data=data, info=info, locker=locker, policy=policy or Policy(), jobs=jobs)
    requests: list[web.Request] = []

    @web.middleware
    async def watch(request: web.Request, handler: Any) -> web.StreamResponse:
        requests.append(request)
        response: web.StreamResponse = await handler(request)
        return response

    app = web.Application(middlewares=[watch])
    add_mount(app, "/files", engine, MountOptions(**options))
    own_service(app, engine)
    async with running(app, auto_decompress=False, **(runner or {})) as url:
        try:
            yield Rig(f"{url}/files/", data, info, locker, engine, requests, finished)
        finally:
            for gate in data.gates.values():
                gate.opened.set()
