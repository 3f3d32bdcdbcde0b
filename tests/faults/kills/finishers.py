"""Clients that bring uploads to their last byte, and whoever is told that they are finished."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.faults.disks.trial import Trial, name_of
from tests.faults.oracle.checker import Job
from tests.faults.oracle.history import Begun
from tests.faults.oracle.payload import payload
from tests.support.servers import running
from tests.support.waiting import until
from tests.support.wire import Wire

REFUSED = 5
"""The application refuses uploads whose length this number divides, where it is asked."""
SLOWEST = 0.01
"""Seconds for which an answer of the application keeps the server waiting."""
NOTE = 'echo "$TUS_ID $TUSD_PY_IDEMPOTENCY_KEY $TUSD_PY_ATTEMPT $$" >> "$0"'
"""What the command does, which is given the file as its only argument."""


class Application:
    """Agrees to uploads or refuses them, and hears that they are finished: over HTTP and by a command."""

    def __init__(self, place: Path, chance: random.Random) -> None:
        self.told: list[Job] = []
        """Every delivery over HTTP; the number of its attempt is not known."""
        self._commands = place / "commands.txt"
        self._chance = chance
        self._url = ""

    def settings(self, *, asks: bool) -> dict[str, Any]:
        """Return what tells a server of it; with `asks` it wants to agree to every finish."""
        agree = {"agree": {"url": f"{self._url}/agree", "events": ["pre-finish"]}} if asks else {}
        return {
            "hooks": {"hear": {"url": f"{self._url}/hear", "events": ["post-finish"]}, **agree},
            "hooks_http_retry": 0,
            "jobs": {"command": {"command": ["/bin/sh", "-c", NOTE, str(self._commands)]}},
        }

    def done(self) -> list[Job]:
        """Return every attempt of the command."""
        lines = self._commands.read_text().splitlines() if self._commands.exists() else []
        return [Job(line.split()[0], line.split()[1], int(line.split()[2])) for line in lines]

    async def gone(self) -> None:
        """Wait until none of the commands runs, also those whose server was killed; kill one that does not end."""
        lines = self._commands.read_text().splitlines() if self._commands.exists() else []
        pids = {int(line.split()[3]) for line in lines}

        async def none_is_left() -> bool:
            return not any(map(self._is_ours, pids))

        try:
            await until(none_is_left)
        finally:
            for pid in filter(self._is_ours, pids):
                os.kill(pid, signal.SIGKILL)

    def _is_ours(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            return str(self._commands).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        return False

    async def _hear(self, request: web.Request) -> web.Response:
        upload = (await request.json())["Event"]["Upload"]
        self.told.append(Job(upload["ID"], request.headers["Idempotency-Key"], 0))
        await asyncio.sleep(self._chance.uniform(0, SLOWEST))
        return web.json_response({})

    async def _agree(self, request: web.Request) -> web.Response:
        upload = (await request.json())["Event"]["Upload"]
        await asyncio.sleep(self._chance.uniform(0, SLOWEST))
        if self._chance.random() < 0.1:
            raise web.HTTPServiceUnavailable
        return web.json_response({"RejectUpload": upload["Size"] % REFUSED == 0})

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer until the block ends."""
        app = web.Application()
        app.router.add_post("/hear", self._hear)
        app.router.add_post("/agree", self._agree)
        # Whoever asked was killed: nobody waits for an answer.
        async with running(app, shutdown_timeout=0.1) as self._url:
            yield


@dataclass(frozen=True)
class Last:
    """A PATCH of which only the last byte is still to be sent."""

    begun: Begun
    wire: Wire
    byte: bytes

    def send(self) -> None:
        """Send it on its way."""
        self.wire.send(self.byte)

    async def told(self) -> None:
        """Wait for the answer, or for the end of the server."""
        try:
            answer = await self.wire.answer()
        except (OSError, asyncio.IncompleteReadError):
            self.begun.end(None)
            return
        offset = answer.headers.get("Upload-Offset")
        self.begun.end(answer.status, int(offset) if offset else None, note=answer.code)


@dataclass
class Finisher:
    """Finishes uploads, each with one request, in any of the ways there are."""

    one: Trial
    chance: random.Random
    open: set[str] = field(default_factory=set)
    """Keys of uploads that may lack bytes."""
    parts: set[str] = field(default_factory=set)
    joined: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By key of a concatenation, its parts."""
    _made: int = 0

    async def almost(self, crowd: AsyncExitStack) -> list[Last]:
        """Bring some uploads to their last byte, new ones and those that an earlier server did not finish."""
        for _ in range(self.chance.randint(1, 2)):
            key = self._key()
            part = self.chance.random() < 0.2
            await self.one.made(key, self._length(), **({"Upload_Concat": "partial"} if part else {}))
            self.open.add(key)
            if part:
                self.one.partial.add(key)
        chosen = self.chance.sample(sorted(self.open), min(len(self.open), self.chance.randint(1, 4)))
        reached = [await self._reach(crowd, key) for key in chosen]
        return [each for each in reached if each is not None]

    async def at_once(self) -> None:
        """Make an upload with all its bytes, or out of others; there may be no answer any more."""
        dice, key = self.chance.random(), self._key()
        ready = sorted(self.one.partial & self.parts)
        if dice < 0.3:
            length = self._length()
            self.one.lengths[key] = length
            await self.one.create(key, length, size=length)
        elif dice < 0.5 and len(ready) > 1:
            parts = tuple(self.chance.sample(ready, 2))
            self.one.lengths[key] = sum(self.one.lengths[part] for part in parts)
            self.joined[key] = parts
            await self.one.concat(key, parts, self.one.lengths[key])
        if key not in self.one.urls:
            self.one.lengths.pop(key, None)
            self.joined.pop(key, None)

    async def _reach(self, crowd: AsyncExitStack, key: str) -> Last | None:
        seen, length = await self.one.head(key), self.one.lengths[key]
        if seen.offset is None or seen.offset == length:
            # Finished meanwhile, or refused, or somebody has still to agree.
            self.open.discard(key)
            if key in self.one.partial and seen.offset == length:
                self.parts.add(key)
            return None
        at, url, writer = seen.offset, self.one.urls[key], next(self.one._writers)
        body = payload(key, writer, at, length)
        begun = self.one.log.begin("patch", key, writer=writer, at=at, size=len(body))
        wire = await crowd.enter_async_context(await Wire.open(url))
        wire.start_patch(url, at, {"Content-Length": str(len(body))})
        wire.send(body[:-1])
        await wire.flush()
        return Last(begun, wire, body[-1:])

    def _key(self) -> str:
        self._made += 1
        return f"upload-{self._made}"

    def _length(self) -> int:
        return self.chance.choice([self.chance.randint(1, 2000), self.chance.randint(1, 60_000)])

    def names(self) -> Mapping[str, str]:
        """Return by id the keys of all uploads that clients know."""
        return {name_of(url): key for key, url in self.one.urls.items()}
