"""A server whose application is asked and told everything, and answers as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

import tusd_py
from tests.support.servers import WAYS, Target, running
from tests.support.timed import Door, name_of
from tests.support.waiting import until
from tusd_py.models.hook import HookEvent, HookReply, Moment

PATHS = ("embedded", "moved")
"""How bodies come in: read in Python, or moved by the kernel."""
Answer = HookReply | Exception | None
Act = Callable[[HookEvent], Awaitable[HookReply | None]]
LARGE = 2**20
"""Bytes that no creation keeps in memory."""


@dataclass
class Application:
    """What one hook heard, and what it says."""

    seen: list[HookEvent] = field(default_factory=list)
    doors: dict[str, Door] = field(default_factory=dict)
    """Where a hook waits at a moment, before it answers."""
    _answers: dict[str, list[Answer]] = field(default_factory=dict)

    def says(self, moment: str, *answers: Answer) -> None:
        """Answer so from now on; of several one after the other, and the last one for good."""
        self._answers[moment] = [*answers]

    def door(self, moment: str) -> Door:
        """Let the hook wait at a moment, and return the door."""
        door = self.doors[moment] = Door()
        door.shut()
        return door

    async def hear(self, event: HookEvent) -> HookReply | None:
        """Be the hook."""
        self.seen.append(event)
        if door := self.doors.get(event.moment):
            await door.pass_through()
        answers = self._answers.get(event.moment, [None])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def of(self, upload: str) -> list[str]:
        """Return the moments of one upload, by its URL or its id, in the order in which they were told."""
        return [str(event.moment) for event in self.seen if event.upload.id == name_of(f"/{upload}")]

    def events(self, moment: str) -> list[HookEvent]:
        """Return everything that was told at one moment."""
        return [event for event in self.seen if event.moment == moment]

    async def has(self, moment: str, count: int = 1) -> None:
        """Wait until so many events of a moment were told."""

        async def is_told() -> bool:
            return len(self.events(moment)) >= count

        await until(is_told)


@dataclass
class Hooked:
    """A running server with its application."""

    target: Target
    app: Application

    async def settle(self) -> None:
        """Wait until everything was told that is to be told."""
        tus = self.target.tus
        assert tus is not None

        async def is_quiet() -> bool:
            if await tus._info.next_job_at() is not None:
                return False
            return all(lane.idle.is_set() for lane in tus._hooks._lanes.values())

        await until(is_quiet)


@contextlib.asynccontextmanager
async def hooked(
    data_dir: Path, path: str = "embedded", *, app: Application | None = None, timeout: float = 15, **settings: Any
) -> AsyncIterator[Hooked]:
    """Run an embedded server with one hook at all moments, which takes at most `timeout` seconds."""
    application = app or Application()
    host = web.Application()
    settings = {"progress_hooks_interval": "20ms", **WAYS[path], **settings}
    tus = tusd_py.setup(host, "/files", data_dir=data_dir, **settings)
    tus.hook(*Moment, timeout=timeout, name="app")(application.hear)
    async with running(host) as url:
        yield Hooked(Target(f"{url}/files/", data_dir, path, tus=tus), application)
        # A test that failed must not hang behind a door.
        for door in application.doors.values():
            door.open()


def state_of(target: Target, upload: str) -> str | None:
    """Return the state of an upload in the database, by its URL or its id."""
    with contextlib.closing(sqlite3.connect(f"file:{target.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        row = db.execute("select state from uploads where id = ?", [name_of(f"/{upload}")]).fetchone()
    return None if row is None else str(row[0])


async def settles(call: Callable[[], Awaitable[Any]], status: int) -> Any:
    """Ask until the answer has a status, and return it."""
    answer: Any = None

    async def is_there() -> bool:
        nonlocal answer
        answer = await call()
        return bool(answer.status == status)

    async with asyncio.timeout(15):
        await until(is_there)
    return answer
