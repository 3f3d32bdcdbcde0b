"""Clients that outlive servers: after every death they find the new one, ask for their offsets and go on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults.actors import Actor, Cut
from tests.faults.oracle.history import Event, History
from tests.faults.oracle.model import GONE

CLIENTS = 8
OPEN_AT_ONCE = 2
"""Unfinished uploads of one client."""


@dataclass
class Upload:
    """One upload as its client knows it."""

    key: str
    owner: int
    length: int
    kind: Literal["whole", "part", "final"] = "whole"
    offset: int | None = 0
    """Where to go on; None = the server has to be asked."""
    done: bool = False
    removed: bool = False
    """Its removal was asked for."""
    left: bool = False
    """Its client has nothing more to do with it."""
    joined: bytes | None = None
    """What a final upload must hold."""


class Survivors:
    """Clients of one data directory, over all lives of its server. Use `survivors()`."""

    def __init__(self, log: History, data_dir: Path, seed: str) -> None:
        self.log = log
        self.uploads: dict[str, Upload] = {}
        writers = itertools.count(1)
        self.visitor = Actor("", log, writers=writers)
        """Asks for what all of them have."""
        self._actors = [Actor("", log, writers=writers) for _ in range(CLIENTS)]
        for actor in self._actors:
            actor.urls = self.visitor.urls
        self._uploads_dir = data_dir / "uploads"
        self._seed = seed
        self._keys = itertools.count(1)
        self._serves = asyncio.Event()
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def meet(self, url: str) -> None:
        """Take all uploads to the server at this URL."""
        for actor in (self.visitor, *self._actors):
            actor.url = url
        for key in self.visitor.urls:
            self.visitor.urls[key] = url + self.name(key)

    def begin(self) -> None:
        """Let the clients go on."""
        self._serves.set()

    def stop(self) -> None:
        """Let them begin no more requests; those under way go on."""
        self._serves.clear()

    async def quiet(self) -> None:
        """Wait until no request is under way; call `stop` before."""
        await self._quiet.wait()

    def name(self, key: str) -> str:
        """Return by which id the server knows an upload."""
        return self.visitor.urls[key].rpartition("/")[2]

    def stored(self, key: str) -> bytes:
        """Return what is in the file of an upload, if there is one."""
        path = self.path(key)
        return path.read_bytes() if path.exists() else b""

    def path(self, key: str) -> Path:
        """Return where the bytes of an upload are."""
        return self._uploads_dir / self.name(key)[:2] / self.name(key)

    def forget(self, key: str) -> None:
        """Have nothing more to do with an upload."""
        del self.uploads[key], self.visitor.urls[key]

    async def work(self, number: int) -> None:
        """Be a client, until cancelled."""
        actor, chance = self._actors[number], random.Random(f"{self._seed}/{number}")
        while True:
            await self._serves.wait()
            self._busy += 1
            self._quiet.clear()
            try:
                await self._step(actor, number, chance)
            finally:
                self._busy -= 1
                if not self._busy:
                    self._quiet.set()

    async def _step(self, actor: Actor, number: int, chance: random.Random) -> None:
        mine = [each for each in self.uploads.values() if each.owner == number and not each.left]
        waiting = [each for each in mine if not each.done]
        done = [each for each in mine if each.done]
        parts = [each for each in done if each.kind == "part"]
        dice = chance.random()
        if len(parts) > 1 and dice < 0.5:
            await self._concat(actor, parts)
        elif done and dice < 0.3:
            await self._use(actor, chance.choice(done), chance)
        elif not waiting or (len(waiting) < OPEN_AT_ONCE and dice < 0.5):
            await self._create(actor, number, chance)
        else:
            await self._go_on(actor, chance.choice(waiting), chance)

    async def _create(self, actor: Actor, number: int, chance: random.Random) -> None:
        key = f"{self._seed}-{next(self._keys)}"
        length = chance.choice([chance.randint(1, 2000), chance.randint(1, 60_000), chance.randint(1, 500_000)])
        size = chance.choice([0, 0, 0, min(length, 30_000), chance.randint(1, min(length, 60_000))])
        part = chance.random() < 0.3
        event = await actor.create(key, length, {"Upload-Concat": "partial"} if part else None, size=size)
        if event.status == 201:
            self.uploads[key] = Upload(key, number, length, "part" if part else "whole")
            self._learn(event, event.offset or 0)

    async def _concat(self, actor: Actor, parts: Sequence[Upload]) -> None:
        keys = [each.key for each in parts]
        key, length = f"{self._seed}-{next(self._keys)}", sum(each.length for each in parts)
        for each in parts:
            each.left = True
        joined = b"".join(self.stored(part) for part in keys)
        if (await actor.concat(key, keys, length)).status == 201:
            self.uploads[key] = Upload(key, parts[0].owner, length, "final", length, done=True, joined=joined)

    async def _use(self, actor: Actor, upload: Upload, chance: random.Random) -> None:
        dice = chance.random()
        if upload.kind != "part":
            # A part waits for another one.
            upload.left, upload.removed = dice < 0.6, dice < 0.2
        if upload.removed:
            await actor.delete(upload.key)
        elif dice < 0.7:
            await actor.get(upload.key)
            actor.bodies.pop(upload.key, None)
        else:
            await actor.head(upload.key)

    async def _go_on(self, actor: Actor, upload: Upload, chance: random.Random) -> None:
        if upload.offset is None or chance.random() < 0.1:
            self._learn(await actor.head(upload.key))
            return
        rest = upload.length - upload.offset
        size = chance.choice([rest, rest, chance.randint(1, rest), min(rest, chance.randint(1, 3000))])
        cut: Cut | None = chance.choice(["fin", "rst"]) if chance.random() < 0.1 else None
        at, after, checksum = upload.offset, chance.randint(0, size), chance.random() < 0.2
        self._learn(await actor.patch(upload.key, at, size, cut=cut, after=after, checksum=checksum))

    def _learn(self, event: Event, created: int | None = None) -> None:
        upload = self.uploads[event.upload]
        upload.offset = event.offset if event.status in (200, 204) else created
        upload.done = upload.offset == upload.length
        upload.left = event.status in GONE


@contextlib.asynccontextmanager
async def survivors(log: History, data_dir: Path, seed: str) -> AsyncIterator[Survivors]:
    """Have clients; they wait for `meet` and `begin`."""
    them = Survivors(log, data_dir, seed)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(them.work(number)) for number in range(CLIENTS)]
        try:
            yield them
        finally:
            for task in tasks:
                task.cancel()
