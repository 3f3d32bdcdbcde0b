"""Large bodies and slow disks: memory stays bounded and nobody else waits (protocol 2.5, reliability I11, I19)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
import time
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.client import Client, T
from tests.support.rig import rig
from tests.support.servers import Target, serve
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.stores import posix
from tusd_py.web.body import RequestBody
from tusd_py.web.stream import CRUMBS

MIB = 2**20
BLOCK = bytes(range(256)) * (MIB // 256)


def memory_of(server: Target) -> tuple[int, int]:
    """Return the memory that a server process has now and has had at most, in bytes."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    now, most = (int(status.split(name)[1].split()[0]) * 1024 for name in ("VmRSS:", "VmHWM:"))
    return now, most


async def send_blocks(wire: Wire, count: int) -> None:
    for _ in range(count):
        wire.send(BLOCK)
        await wire.flush()


async def test_memory(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A PATCH of 512 MiB costs a server less than 64 MiB of memory. (CORE-BODY-21, scaled)."""
    async with serve("process", tmp_path / "data", durability="none") as server:
        client = Client(session, server.url)
        await client.upload(b"warm")
        url = await client.create(512 * MIB)
        before, _ = memory_of(server)
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(512 * MIB)})
            await send_blocks(wire, 512)
            answer = await wire.answer(timeout=60)
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(512 * MIB))
        _, most = memory_of(server)
        assert most - before < 64 * MIB
        assert (await client.delete(url)).status == 204


async def test_memory_while_the_store_waits(session: aiohttp.ClientSession) -> None:
    """A store that hangs stops the client: what waits in memory is bounded, whatever is sent. (CORE-BODY-21)."""
    async with rig(direct_from=None) as server:
        client = Client(session, server.url)
        url = await client.create(64 * MIB)
        gate = server.data.hold("write")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(64 * MIB)})
            sending = asyncio.create_task(send_blocks(wire, 64))
            await gate.wait_entered()
            request = server.requests[-1]
            await until(lambda: _is(request.protocol._reading_paused))
            assert request.content._size < MIB
            assert not sending.done()
            gate.opened.set()
            await sending
            assert (await wire.answer()).status == 204
        assert server.bytes_of(url) == BLOCK * 64


@pytest.mark.parametrize(("size", "ahead"), [(32, 0), (4096, 1)])
async def test_who_is_read_ahead(session: aiohttp.ClientSession, size: int, ahead: int) -> None:
    """A body may come in faster than it is stored, but not one of tiny chunks, which need far more memory. (I19)."""
    async with rig() as server:
        url = await Client(session, server.url).create(64 * size)
        gate = server.data.hold("write")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Transfer-Encoding": "chunked"})
            for _ in range(64):
                wire.send_chunk(b"x" * size)
            await gate.wait_entered()
            assert RequestBody._reading == ahead
            gate.opened.set()
            wire.send_chunk(b"")
            assert (await wire.answer()).status == 204
        assert server.bytes_of(url) == b"x" * 64 * size


async def test_tiny_chunks_while_the_store_waits(session: aiohttp.ClientSession) -> None:
    """Of a body of tiny chunks little is taken ahead, as each of them needs a buffer of its own. (I19)."""
    async with rig() as server:
        url = await Client(session, server.url).create(4064 * 32)
        gate = server.data.hold("write")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Transfer-Encoding": "chunked"})
            for _ in range(64):
                wire.send_chunk(b"x" * 32)
            await gate.wait_entered()
            for _ in range(4000):
                wire.send_chunk(b"x" * 32)
            request = server.requests[-1]
            await until(lambda: _is(request.protocol._reading_paused))
            assert len(request.content._buffer) <= CRUMBS + 1
            gate.opened.set()
            wire.send_chunk(b"")
            assert (await wire.answer()).status == 204
        assert server.bytes_of(url) == b"x" * 32 * 4064


async def test_others_do_not_wait(client: Client) -> None:
    """While a large body is received, hashed and synced, other requests are answered without delay.

    (CSUM-20 scaled, reliability I11; the bound holds for the median, because these tests share the machine)
    """
    size, url, other = 96 * MIB, await client.create(96 * MIB), await client.create(1)
    checksum = "sha512 " + base64.b64encode(hashlib.sha512(BLOCK * 96).digest()).decode()
    waits = []
    async with await Wire.open(url) as wire, await Wire.open(other) as observer:
        wire.start_patch(url, 0, {"Content-Length": str(size), "Upload-Checksum": checksum})
        sending = asyncio.create_task(send_blocks(wire, 96))
        answering = asyncio.create_task(wire.answer(timeout=60))
        while not answering.done():
            started = time.monotonic()
            observer.start("HEAD", other, T)
            assert (await observer.answer(head=True)).status == 200
            waits.append(time.monotonic() - started)
        await sending
        assert answering.result().status == 204
    assert sorted(waits)[len(waits) // 2] < 0.1
    assert (await client.delete(url)).status == 204


@pytest.mark.parametrize("step", ["write_buffers", "sync", "seal"])
async def test_disk_that_hangs(
    step: str, mode: str, start_server: StartServer, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that does not answer holds up the uploads that need it, not the event loop. (reliability I11)."""
    if mode == "process":
        pytest.skip("the disk of another process cannot be held up from here")
    server = await start_server(journal_up_to="none")
    client = Client(session, server.url)
    entered, goes_on = threading.Event(), threading.Event()
    place = posix.Root if step == "seal" else posix
    original = getattr(place, step)

    def hang(*args: object) -> object:
        entered.set()
        assert goes_on.wait(30)
        return original(*args)

    other, url = await client.create(10), await client.create(10)
    monkeypatch.setattr(place, step, hang)
    try:
        size = 10 if step == "seal" else 5
        patching = asyncio.create_task(client.patch(url, 0, b"0123456789"[:size]))
        await until(lambda: _is(entered.is_set()))
        assert await client.offset(other) == 0
        assert await client.offset(url) == 0
        assert (await client.delete(other)).status == 204
        assert (await client.send("OPTIONS")).status == 200
        assert not patching.done()
    finally:
        goes_on.set()
    assert (await patching).offset == size


async def _is(value: bool) -> bool:
    return value
