"""Bodies that are read past aiohttp's parser: which they are, and that they differ in nothing else (performance 3b)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.client import Client, T, chunked
from tests.support.rig import rig
from tests.support.servers import running
from tests.support.waiting import until
from tests.support.wire import Wire
from tests.web.test_data_plane import hosting, replace
from tusd_py.web.direct import BUFFER, BUFFERS, SLOW, DirectReader

KIB = 1024
READ: dict[str, Any] = {"data_plane_from": None, "direct_from": 1}
"""Settings with which every body is read so that can be."""


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[DirectReader]]:
    """All that began; none of them may keep a buffer for itself in the end."""
    found: list[DirectReader] = []
    begin = DirectReader.begin

    def note(request: web.Request, least: int) -> DirectReader | None:
        reader = begin(request, least)
        if reader is not None:
            found.append(reader)
        return reader

    monkeypatch.setattr(DirectReader, "begin", note)
    yield found
    assert DirectReader._lent == 0
    assert len(DirectReader._free) <= BUFFERS


@pytest.mark.parametrize(
    ("size", "direct_from", "is_direct"),
    [(96 * KIB, "96KiB", True), (96 * KIB - 1, "96KiB", False), (BUFFER, "none", False), (3 * BUFFER, 1, True)],
)
async def test_from_which_size_on(
    tmp_path: Path, readers: list[DirectReader], size: int, direct_from: Any, is_direct: bool
) -> None:
    """A body is read so when so many bytes are still to come, and the setting says how many. (performance 3b)"""
    body = os.urandom(size)
    async with (
        hosting(tmp_path, data_plane_from=None, direct_from=direct_from) as host,
        await Wire.open(host.url) as wire,
    ):
        url = await host.new(size)
        wire.start_patch(url, 0, {"Content-Length": str(size), "Expect": "100-continue"})
        assert (await wire.answer()).status == 100
        wire.send(body)
        assert (await wire.answer()).status == 204
        assert len(readers) == is_direct
        assert host.ways == (0, size)
        assert (await host.client.get(url)).body == body


@pytest.mark.parametrize("size", [1, BUFFER - 1, BUFFER, BUFFER + 1, 5 * BUFFER // 2])
async def test_requests_right_behind(tmp_path: Path, readers: list[DirectReader], size: int) -> None:
    """Not a byte more is taken than belongs to the body: what follows in the same packet are requests. (row 14)"""
    body = os.urandom(size)
    async with hosting(tmp_path, **READ) as host, await Wire.open(host.url) as wire:
        for _ in range(2):
            url, other = await host.new(size), await host.new(4)
            wire.start_patch(url, 0, {"Content-Length": str(size)})
            await wire.flush()
            wire.send(body)
            wire.start("HEAD", other, T)
            wire.start_patch(other, 0, {"Content-Length": "4"})
            wire.send(b"tail")
            wire.start("PUT", "/page", {"Content-Length": "5"})
            wire.send(b"hello")
            assert (await wire.answer()).headers["Upload-Offset"] == str(size)
            assert (await wire.answer(head=True)).headers["Upload-Offset"] == "0"
            assert (await wire.answer()).headers["Upload-Offset"] == "4"
            assert (await wire.answer()).body == b"hello"
            assert (await host.client.get(url)).body == body
            assert (await host.client.get(other)).body == b"tail"
    if size > 2 * BUFFER:
        assert readers


async def test_not_in_any_other_way(tmp_path: Path, readers: list[DirectReader]) -> None:
    """A chunked body, one whose speed is limited, and one of somebody else's request are parsed. (CORE-BODY-13)"""
    body = os.urandom(BUFFER)
    async with hosting(tmp_path / "a", **READ) as host:
        url = await host.client.create(len(body))
        assert (await host.client.patch(url, 0, chunked(body))).offset == len(body)
    async with hosting(tmp_path / "b", max_upload_rate="1GiB", **READ) as host:
        assert (await host.client.get(await host.client.upload(body))).body == body
    async with hosting(tmp_path / "c", web.middleware(replace), **READ) as host:
        assert (await host.client.get(await host.client.upload(body))).body == body
    assert not readers


async def test_as_many_as_there_are_buffers(readers: list[DirectReader], session: aiohttp.ClientSession) -> None:
    """Memory is bounded: more bodies than that are parsed meanwhile, and none gets the bytes of another. (I4, I19)"""
    bodies = [os.urandom(2 * BUFFER + n) for n in range(2 * BUFFERS)]
    async with rig(data_plane_from=None, direct_from=1) as server:
        client = Client(session, server.url)
        urls = [await client.create(len(body)) for body in bodies]
        gate = server.data.hold("write")
        sending = [asyncio.create_task(client.patch(url, 0, body)) for url, body in zip(urls, bodies, strict=True)]
        await until(lambda: _is(len(server.engine._ctx.receiving) == len(bodies)))
        await until(lambda: _is(len(readers) == BUFFERS))
        assert DirectReader._lent == BUFFERS
        gate.opened.set()
        for answer in await asyncio.gather(*sending):
            assert answer.status == 204
        for url, body in zip(urls, bodies, strict=True):
            assert server.bytes_of(url) == body
        assert len(readers) == BUFFERS
        assert (await client.patch(await client.create(2 * BUFFER), 0, bytes(2 * BUFFER))).status == 204
        assert len(readers) == BUFFERS + 1


async def test_slow_client(readers: list[DirectReader], session: aiohttp.ClientSession) -> None:
    """Whoever sends little at a time is stored all the same, and leaves the large buffer to others. (I19)"""
    body = os.urandom(3 * SLOW)
    async with rig(data_plane_from=None, direct_from=1) as server, await Wire.open(server.url) as wire:
        url = await Client(session, server.url).create(len(body))
        wire.start_patch(url, 0, {"Content-Length": str(len(body))})
        wire.send(body[:1000])
        await until(lambda: _is(server.bytes_of(url) == body[:1000]))
        await until(lambda: _is(DirectReader._lent == 0))
        wire.send(body[1000:])
        assert (await wire.answer()).status == 204
        assert server.bytes_of(url) == body
        assert len(readers[0]._buffer) == SLOW


async def test_the_store_is_slow(readers: list[DirectReader], session: aiohttp.ClientSession) -> None:
    """While the store waits no more is taken than there is place for, and nothing that is on its way changes. (I11)"""
    body = os.urandom(4 * BUFFER)
    async with rig(data_plane_from=None, direct_from=1) as server, await Wire.open(server.url) as wire:
        url = await Client(session, server.url).create(len(body))
        gate = server.data.hold("write")
        wire.start_patch(url, 0, {"Content-Length": str(len(body))})
        wire.send(body)
        await gate.wait_entered()
        await until(lambda: _is(readers[0]._paused))
        assert readers[0]._filled == BUFFER
        gate.opened.set()
        assert (await wire.answer()).status == 204
        assert server.bytes_of(url) == body


@pytest.mark.parametrize("end", [Wire.finish, Wire.reset], ids=["fin", "rst"])
async def test_lost_while_the_store_is_slow(
    readers: list[DirectReader], session: aiohttp.ClientSession, end: Any
) -> None:
    """What was taken from the socket is stored, even if the connection is lost before it is read. (CORE-BODY-05)"""
    body = os.urandom(300_000)
    async with rig(data_plane_from=None, direct_from=1) as server:
        client = Client(session, server.url)
        url = await client.create(BUFFER)
        gate = server.data.hold("write")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(BUFFER)})
            wire.send(body[:5120])
            await gate.wait_entered()
            wire.send(body[5120:])
            await until(lambda: _is(readers[0]._left == BUFFER - len(body)))
            end(wire)
            await until(lambda: _is(readers[0].is_over))
            gate.opened.set()
            await until(lambda: _is(server.engine._ctx.receiving == {}))
        assert await client.offset(url) == len(body)
        assert server.bytes_of(url)[: len(body)] == body


async def test_taken_over(readers: list[DirectReader], session: aiohttp.ClientSession) -> None:
    """The next PATCH ends one that waits for bytes; what that had got counts. (CONC-01)"""
    body, hasty = os.urandom(200_000), {"shutdown_timeout": 0.1}
    async with rig(data_plane_from=None, direct_from=1, runner=hasty) as server, await Wire.open(server.url) as wire:
        client = Client(session, server.url)
        url = await client.create(len(body))
        wire.start_patch(url, 0, {"Content-Length": str(len(body))})
        wire.send(body[:100_000])
        await until(lambda: _is(bool(readers) and readers[0]._left == 100_000))
        refused = await client.patch(url, 0, body)
        assert (refused.status, (await wire.answer()).code) == (409, "ERR_UPLOAD_INTERRUPTED")
        assert (await client.patch(url, 100_000, body[100_000:])).offset == len(body)
        assert server.bytes_of(url) == body


async def test_who_goes_on_sending(readers: list[DirectReader]) -> None:
    """The buffer of a body that was ended early is nobody else's: what still comes of it would get into theirs. (I4)"""
    DirectReader._free.clear()
    done = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        reader = DirectReader.begin(request, 1)
        assert reader is not None
        await until(lambda: _is(reader._left == BUFFER - 1000))
        reader.end()
        assert [b"".join(await reader.receive()), await reader.receive()] == [b"x" * 1000, ()]
        wire.send(b"y" * 1000)
        await until(lambda: _is(reader._left == BUFFER - 2000))
        assert DirectReader._free == []
        reader.close()
        done.set()
        response = web.Response()
        response.force_close()
        return response

    app = web.Application()
    app.router.add_put("/", handle)
    async with running(app, shutdown_timeout=0.1) as url, await Wire.open(url) as wire:
        wire.start("PUT", "/", {"Content-Length": str(BUFFER)})
        wire.send(b"x" * 1000)
        assert (await wire.answer()).status == 200
        assert done.is_set()


async def test_a_buffer_in_use_is_nobody_elses(readers: list[DirectReader], session: aiohttp.ClientSession) -> None:
    """A request that is cancelled leaves its buffer to the thread that may still write from it. (I4)"""
    body, other = os.urandom(BUFFER - 1000), os.urandom(BUFFER)
    async with rig(data_plane_from=None, direct_from=1, runner={"handler_cancellation": True}) as server:
        client = Client(session, server.url)
        url, second = await client.create(2 * BUFFER), await client.create(len(other))
        gate = server.data.hold("write")
        DirectReader._free.clear()
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(2 * BUFFER)})
            wire.send(body)
            await gate.wait_entered()
            wire.reset()
            await until(lambda: _is(DirectReader._lent == 0))
        assert DirectReader._free == []
        sending = asyncio.create_task(client.patch(second, 0, other))
        await until(lambda: _is(len(readers) == 2 and readers[1].is_complete))
        gate.opened.set()
        assert (await sending).status == 204
        await until(lambda: _is(server.engine._ctx.receiving == {}))
        assert server.bytes_of(url)[: len(body)] == body
        assert server.bytes_of(second) == other


async def _is(value: bool) -> bool:
    return value
