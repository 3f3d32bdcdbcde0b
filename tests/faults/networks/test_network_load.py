"""T8: crowds of clients that are slow on purpose cost little, disturb nobody, and are all gone in the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.faults.figures import Figures
from tests.faults.lives import Lives, lives
from tests.faults.networks.network import PATIENCE, Scene, scene
from tests.support.client import Client
from tests.support.servers import WAYS_OF_BODIES
from tests.support.wire import Wire
from tests.web.test_download_slow import Reader

MIB = 2**20
SIZE = 300_000
WAITING = 64 * 1024
"""Bytes that a body brings before it stands still."""


@pytest.fixture(scope="module")
async def them(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lives]:
    """Where the servers come from."""
    async with lives(tmp_path_factory.mktemp("crowded")) as them:
        yield them


@pytest.fixture(params=WAYS_OF_BODIES)
async def play(request: pytest.FixtureRequest, them: Lives, tmp_path: Path, figures: Figures) -> AsyncIterator[Scene]:
    """A server of its own, whose memory nobody else has used; judged when the test is over."""
    life = await them.begin(tmp_path / "data", **WAYS_OF_BODIES[request.param], **PATIENCE)
    async with scene(request.node.originalname, them, life, tmp_path, figures) as played:
        yield played
    await life.kill()


class Slow:
    """Clients that want connections, not uploads."""

    def __init__(self, play: Scene, client: Client, stack: contextlib.AsyncExitStack) -> None:
        self.play = play
        self.client = client
        self._stack = stack
        self.silent: list[Wire] = []
        self.dripping_heads: list[Wire] = []
        self.stalled: list[Wire] = []
        self.dripping_bodies: list[Wire] = []

    async def come(self, count: int) -> None:
        """Open so many connections of each kind."""
        for _ in range(count):
            self.silent.append(await self._connect())
            self.dripping_heads.append(await self._connect())
            self.dripping_heads[-1].send(b"PATCH /files/x HTTP/1.1\r\n")
        # A server may wait a moment for more before it stores what came.
        begun = (self._begin(bodies) for bodies in (self.stalled, self.dripping_bodies) for _ in range(count))
        await asyncio.gather(*begun)

    async def _connect(self) -> Wire:
        return await self._stack.enter_async_context(await Wire.open(self.client.base))

    async def _begin(self, bodies: list[Wire]) -> None:
        url, wire = await self.client.create(MIB), await self._connect()
        wire.start_patch(url, 0, {"Content-Length": str(MIB)})
        wire.send(bytes(WAITING))
        await self.play.target.until_stored(url, WAITING)
        bodies.append(wire)

    async def drip(self) -> None:
        """Send a byte at a time."""
        for byte in itertools.cycle(b"X-Slow: 1\r\n"):
            for wire in (*self.dripping_heads, *self.dripping_bodies):
                if not wire.reader.at_eof() and not wire.writer.transport.is_closing():
                    wire.send(bytes([byte]))
            # Being slow is the behaviour here.
            await asyncio.sleep(0.05)

    async def give_up(self) -> None:
        """Wait until the server has ended every wait for a head, and every body that stands still."""
        await until_closed([*self.silent, *self.dripping_heads])
        await until_timed_out(self.stalled)


async def until_closed(wires: Sequence[Wire]) -> None:
    """Wait until the server has ended every connection."""
    async with asyncio.TaskGroup() as group:
        for wire in wires:
            group.create_task(wire.closed())


async def until_timed_out(wires: Sequence[Wire]) -> None:
    """Wait until the server has told everybody that it waits no longer."""
    for wire in wires:
        assert (await wire.answer()).code == "ERR_READ_TIMEOUT"


async def test_slowloris(
    play: Scene, session: aiohttp.ClientSession, figures: Figures, volume_of: Callable[[str], int]
) -> None:
    """Silent connections, heads and bodies that drip or stall: a good client is served all the time (row 48, I19)."""
    count = volume_of("T8") // 4
    async with contextlib.AsyncExitStack() as stack:
        slow = Slow(play, Client(session, play.life.url), stack)
        dripping = asyncio.create_task(slow.drip())
        stack.callback(dripping.cancel)
        await slow.come(count)
        play.weigh(4 * count, figures)
        await upload_while(play, asyncio.create_task(slow.give_up()))
        # Nothing but silence ends a body.
        assert not any(wire.reader.at_eof() for wire in slow.dripping_bodies)
        dripping.cancel()
        await until_timed_out(slow.dripping_bodies)
        if count > 50:
            # Who stays although it has its answer is heard for ten more seconds, by aiohttp.
            await until_closed([*slow.stalled, *slow.dripping_bodies])
    figures.add("attacks", 4 * count, of="48")


async def upload_while(play: Scene, ending: asyncio.Task[None]) -> None:
    """Be a good client until the bad ones have given up; every request must succeed."""
    served = 0
    while not ending.done() or served < 5:
        key = f"good-{served}"
        assert (await play.actor.create(key, SIZE)).status == 201
        assert (await play.actor.patch(key, 0, SIZE)).status == 204
        assert (await play.actor.get(key)).status == 200
        served += 1
    await ending


async def test_slow_readers(
    play: Scene, session: aiohttp.ClientSession, figures: Figures, volume_of: Callable[[str], int]
) -> None:
    """Clients that do not read what they asked for cost next to nothing, and uploads go on (row 30, I19)."""
    count, client = min(50, volume_of("T8")), Client(session, play.life.url)
    url = await client.upload(os.urandom(16 * MIB))
    play.remember()
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(Reader.open(url)) for _ in range(count)]
        for reader in readers:
            assert (await reader.read(100)).startswith(b"HTTP/1.1 200 OK\r\n")
        play.weigh(count, figures)
        await play.actor.create("good", MIB)
        assert (await play.actor.patch("good", 0, MIB)).status == 204
        await play.finish(play.actor, "good", MIB)
        await play.until_quiet()
        for reader in readers[:5]:
            assert await reader.rest() < 16 * MIB
    figures.add("attacks", count, of="30")


async def test_unread_answers(
    play: Scene, session: aiohttp.ClientSession, figures: Figures, volume_of: Callable[[str], int]
) -> None:
    """Thousands of requests in a row whose answers nobody reads fill no memory, and end (row 14, I19)."""
    count = volume_of("T8") // 4
    url = await Client(session, play.life.url).upload(bytes(16 * MIB))
    play.remember()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            wire = await stack.enter_async_context(await Wire.open(url))
            transport = wire.writer.transport
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            for _ in range(5000):
                wire.start("GET", url, {})
        await play.actor.create("good", MIB)
        assert (await play.actor.patch("good", 0, MIB)).status == 204
        await play.finish(play.actor, "good", MIB)
        play.weigh(count, figures)
        await play.until_quiet()
