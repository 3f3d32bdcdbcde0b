"""A small world for the model: one data directory, services that come and go over it, a clock that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from aiohttp import web

import tusd_py
from tests.faults.actors import Actor
from tests.faults.oracle.history import History
from tests.faults.oracle.payload import payload
from tests.support.client import CT, T
from tests.support.servers import Target, running
from tests.support.state import holdings
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.assembly import service
from tusd_py.engine.context import Context
from tusd_py.engine.expire import CLOCK_JUMP, Sweeper
from tusd_py.engine.settle import settle
from tusd_py.testing import FakeClock

EXPIRE = 1000.0
"""Seconds that an unfinished upload lives without a byte."""
NEVER = 10.0**6
START = 2_000_000_000.0
"""Far behind the times of all files, so that data without a row is old at once."""


@dataclass(frozen=True)
class Attempt:
    """One run of the job of an upload."""

    upload: str
    life: int
    number: int
    key: str
    size: int
    """Bytes that were stored when it ran."""
    succeeded: bool


class Refused(Exception):
    """The job does not want to, now."""


@dataclass
class Life:
    """One service, from its start to its end."""

    number: int
    target: Target
    ctx: Context
    sweeper: Sweeper
    ends: contextlib.AsyncExitStack
    is_alive: bool = True
    drift: float = 0.0
    """Of the two clocks at the last sweep."""
    paused_until: float = float("-inf")


@dataclass(frozen=True)
class Held:
    """A PATCH whose client has sent a part of its body and says nothing more."""

    wire: Wire
    key: str
    writer: int
    at: int
    size: int
    sent: int

    async def complete(self) -> int:
        """Send the rest; return the status of the answer."""
        self.wire.send(payload(self.key, self.writer, self.at + self.sent, self.at + self.size))
        return (await self.wire.answer()).status

    async def was_refused(self) -> bool:
        """Whether the body was ended by the server and not acknowledged."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            return (await self.wire.answer()).status >= 400
        return True


@dataclass
class World:
    """What outlives a service."""

    place: Path
    settings: dict[str, Any]
    clock: FakeClock = field(default_factory=lambda: FakeClock(now=START))
    failing: bool = False
    """Whether the jobs of finished uploads fail."""
    attempts: list[Attempt] = field(default_factory=list)
    strangers: int = 0
    """Uploads that may be there although no client knows them: their creation was cut."""

    def __post_init__(self) -> None:
        self.log = History(self.place / "history.jsonl")
        self.writers = itertools.count(1)
        self.actor = Actor("", self.log, writers=self.writers, linger=0.2)
        self.data_dir = self.place / "data"
        self._numbers = itertools.count(1)

    async def begin(self) -> None:
        """Start a service; what clients know of uploads goes on with it."""
        number = next(self._numbers)
        app = web.Application()
        with mock.patch.object(service, "SystemClock", return_value=self.clock):
            tus = tusd_py.setup(
                app, "/files", data_dir=self.data_dir, expire_after=EXPIRE, sweep_interval=NEVER, **self.settings
            )
        ctx = tus.engine._ctx

        @tus.on_finish
        async def work(upload: tusd_py.FinishedUpload) -> None:
            self._work(number, upload)

        ends = contextlib.AsyncExitStack()
        url = await ends.enter_async_context(running(app, shutdown_timeout=0.5)) + "/files/"
        target = Target(url, self.data_dir, "embedded", tus=tus)
        self.life = Life(number, target, ctx, Sweeper(ctx, NEVER), ends, drift=self._drift())
        self.actor.url = url
        self.actor.urls |= {key: url + name.rpartition("/")[2] for key, name in self.actor.urls.items()}

    async def end(self) -> None:
        """Stop the service as people do."""
        await self.life.ends.aclose()

    async def die(self) -> None:
        """Go on from what a kill at this moment leaves on the disk; what the dead one does is seen by nobody."""
        before = self.life
        before.is_alive = False
        self.data_dir = self.place / f"data-{before.number + 1}"
        _copy(before.target.data_dir, self.data_dir)
        await before.ends.aclose()
        shutil.rmtree(before.target.data_dir)
        await self.begin()

    def _work(self, life: int, upload: tusd_py.FinishedUpload) -> None:
        if self.life.number != life or not self.life.is_alive:
            return
        assert upload.path is not None
        size, key = upload.path.stat().st_size, upload.idempotency_key
        self.attempts.append(Attempt(upload.id, life, upload.attempt, key, size, not self.failing))
        if self.failing:
            raise Refused

    async def quiet(self) -> None:
        """Wait until no request is worked on."""
        ctx, tus = self.life.ctx, self.life.target.tus
        assert tus is not None
        busy = tus.engine._running

        async def nobody() -> bool:
            return not (ctx.receiving or busy or ctx.locker._lines)  # type: ignore[attr-defined]

        await until(nobody)

    async def hold(self, key: str, at: int, size: int, sent: int) -> Held:
        """Begin a PATCH and leave it in the middle, when so many bytes of it are stored."""
        writer, url = next(self.writers), self.actor.urls[key]
        wire = await Wire.open(url)
        self.life.ends.push_async_exit(wire.__aexit__)
        wire.start_patch(url, at, {"Content-Length": str(size)})
        wire.send(payload(key, writer, at, at + sent))

        async def is_live() -> bool:
            return self.name(key) in self.life.ctx.receiving and self.life.target.stored(url) >= at + sent

        await until(is_live)
        return Held(wire, key, writer, at, size, sent)

    async def cut_creation(self, size: int, sent: int) -> None:
        """Vanish in the middle of a creation with upload."""
        self.strangers += 1
        async with await Wire.open(self.actor.url) as wire:
            sizes = {"Upload-Length": str(size), "Content-Length": str(size)}
            wire.start("POST", self.actor.url, {**T, **CT, **sizes})
            wire.send(bytes(sent))
            await wire.flush()
            wire.finish()
            await wire.closed()

    async def sweep(self) -> bool:
        """Do what the sweeper does; return whether it may have removed something (I13)."""
        life, now = self.life, self.clock.monotonic()
        if abs(self._drift() - life.drift) > CLOCK_JUMP:
            life.paused_until = now + CLOCK_JUMP
        life.drift = self._drift()
        await settle(life.ctx)
        await life.sweeper.finish_removals()
        await life.sweeper.sweep()
        await life.sweeper.sweep_orphans()
        return now >= life.paused_until

    def wake(self) -> None:
        """Let the worker look at the clock."""
        tus = self.life.target.tus
        assert tus is not None
        assert tus._worker is not None
        tus._worker.wake()

    async def worked(self) -> None:
        """Let all jobs succeed, however long they have to wait."""
        self.failing = False

        async def nothing_left() -> bool:
            tus = self.life.target.tus
            assert tus is not None
            if await tus._info.next_job_at() is None:
                return True
            self.clock.advance(7200)
            self.wake()
            return False

        await until(nothing_left)

    def leftovers(self, names: Collection[str]) -> set[str]:
        """Return the ids that have data or a row beyond these, or data without a row, or bytes without data."""
        held = [each.split() for each in holdings(self.life.target)]
        files = {name for kind, name in held if kind == "file"}
        rows = {name for kind, name in held if kind == "row"}
        with self._database() as db:
            filled = {name for (name,) in db.execute("select id from uploads where offset > 0 or state = 'finished'")}
        return (files - rows) | (filled - files) | (rows ^ set(names))

    def row(self, key: str) -> tuple[int, str]:
        """Return offset and state of an upload."""
        with self._database() as db:
            query = "select offset, state from uploads where id = ?"
            found: tuple[int, str] = db.execute(query, (self.name(key),)).fetchone()
            return found

    def _database(self) -> contextlib.closing[sqlite3.Connection]:
        path = self.life.target.data_dir / "uploads.sqlite3"
        return contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True))

    def name(self, key: str) -> str:
        """Return the id of an upload."""
        return self.actor.urls[key].rpartition("/")[2]

    def stored(self, key: str) -> bytes:
        """Return what is on the disk of an upload."""
        path = self.life.target.data_path(self.actor.urls[key])
        return path.read_bytes() if path.exists() else b""

    def _drift(self) -> float:
        return self.clock.now() - self.clock.monotonic()


def _copy(source: Path, target: Path) -> None:
    """Copy a data directory that is in use: what is known first, since data is written before it."""
    target.mkdir(mode=0o700)
    for name in ("uploads.sqlite3-wal", "uploads.sqlite3"):
        if (source / name).exists():
            shutil.copy2(source / name, target / name)
    shutil.copytree(source / "uploads", target / "uploads")
