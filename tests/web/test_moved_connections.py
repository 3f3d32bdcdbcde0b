"""Connections of moved bodies: given away to the byte, and given back as they were (protocol 2.5)."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.support.client import CT, Client, T
from tests.support.servers import Target, running, serve
from tests.support.waiting import until
from tests.support.wire import Wire
from tests.web.moved import MIB, is_moving, start_moved, ways
from tusd_py.stores import file as file_module


@pytest.fixture
async def moved(tmp_path: Path) -> AsyncIterator[Target]:
    """A server that moves whatever it can."""
    async with serve("moved", tmp_path / "data") as target:
        yield target


async def test_with_its_head(moved: Target, session: aiohttp.ClientSession) -> None:
    """A body that came in one packet with its head is there already: nothing is left to be moved. (CORE-BODY-05)."""
    url = await Client(session, moved.url).create(11)
    async with await Wire.open(url) as wire:
        head = f"PATCH {url[url.index('/files') :]} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: 11\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in {**T, **CT, "Upload-Offset": "0"}.items())
        wire.send(head.encode() + b"\r\nhello world")
        assert (await wire.answer()).status == 204
    assert ways(moved) == (0, 11)
    assert moved.data_path(url).read_bytes() == b"hello world"


async def test_a_part_with_its_head(moved: Target, session: aiohttp.ClientSession) -> None:
    """What came with the head is stored in front of what is taken from the socket. (CORE-BODY-05)."""
    data = os.urandom(MIB)
    url = await Client(session, moved.url).create(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": str(len(data))})
        wire.send(data[:1000])
        await until(lambda: is_moving(moved, url))
        wire.send(data[1000:])
        assert (await wire.answer()).status == 204
    assert ways(moved) == (len(data), 0)
    assert moved.data_path(url).read_bytes() == data


async def test_half_a_request_behind(moved: Target, session: aiohttp.ClientSession) -> None:
    """A next request that has come by half when the body ends is answered when the rest comes. (CORE-BODY-13)."""
    data = os.urandom(3 * MIB)
    url = await Client(session, moved.url).create(len(data))
    following = f"HEAD {url[url.index('/files') :]} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    for at in (1, 20, len(following) - 1):
        async with await start_moved(moved, url, len(data)) as wire:
            wire.send(data + following[:at])
            assert (await wire.answer()).status == 204
            wire.send(following[at:])
            assert (await wire.answer(head=True)).headers["Upload-Offset"] == str(len(data))
        url = await Client(session, moved.url).create(len(data))
        following = following.replace(following.split()[1], url[url.index("/files") :].encode())
    assert ways(moved) == (3 * len(data), 0)


async def test_a_client_that_sends_too_much(moved: Target, session: aiohttp.ClientSession) -> None:
    """However fast a client sends, nothing is stored behind the length of its body. (CORE-PATCH-10, I2)."""
    data = os.urandom(2 * MIB)
    client = Client(session, moved.url)
    url = await client.create(len(data))
    async with await start_moved(moved, url, len(data)) as wire:
        wire.send(data + b"X" * 1000 + b"\r\n\r\n")
        assert (await wire.answer()).status == 204
        assert (await wire.answer()).status == 400
        assert await wire.closed() == b""
    assert moved.data_path(url).read_bytes() == data
    assert (await client.head(url)).headers["Upload-Offset"] == str(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, len(data), {"Content-Length": str(MIB), "Expect": "100-continue"})
        assert (await wire.answer()).status == 413
    assert moved.stored(url) == len(data)


async def test_a_deferred_length(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Nor behind what the server allows where the client has not said its length. (CORE-PATCH-10, row 3)."""
    async with serve("moved", tmp_path / "data", max_size=2 * MIB) as moved:
        url = await Client(session, moved.url).create(None)
        async with await start_moved(moved, url, MIB) as wire:
            wire.send(bytes(MIB))
            assert (await wire.answer()).status == 204
            wire.start_patch(url, MIB, {"Content-Length": str(MIB + 1), "Expect": "100-continue"})
            assert (await wire.answer()).status == 413
        assert moved.stored(url) == MIB


@pytest.mark.parametrize("options", [{}, {"auto_decompress": False}], ids=["as usual", "compressed"])
async def test_pages_of_the_host(tmp_path: Path, session: aiohttp.ClientSession, options: dict[str, Any]) -> None:
    """Pages of the host behave behind a moved body, on the same connection, as they do before it. (CORE-BODY-13)."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application()
    app.router.add_put("/page", page)
    tus = tusd_py.setup(app, "/files", data_dir=tmp_path / "data", data_plane_from=1)
    packed = gzip.compress(b"hello" * 100)
    async with running(app, **options) as base, await Wire.open(base) as wire:
        moved = Target(f"{base}/files/", tmp_path / "data", "moved", tus=tus)
        url = await Client(session, moved.url).create(2 * MIB)

        async def ask() -> list[bytes]:
            wire.start("PUT", "/page", {"Content-Length": "5"})
            wire.send(b"plain")
            wire.start("PUT", "/page", {"Transfer-Encoding": "chunked"})
            for chunk in (b"chu", b"nks", b""):
                wire.send_chunk(chunk)
            wire.start("PUT", "/page", {"Content-Length": str(len(packed)), "Content-Encoding": "gzip"})
            wire.send(packed)
            return [(await wire.answer()).body for _ in range(3)]

        before = await ask()
        assert before == [b"plain", b"chunks", packed if options else b"hello" * 100]
        for offset in (0, MIB):
            await start_moved(moved, url, MIB, offset=offset, wire=wire)
            wire.send(bytes(MIB))
            assert (await wire.answer()).status == 204
            assert await ask() == before
        assert ways(moved) == (2 * MIB, 0)


async def test_a_unix_socket(tmp_path: Path) -> None:
    """Bodies that come over a Unix socket, as from a proxy, are moved, too. (CORE-BODY-13)."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=tmp_path / "data", data_plane_from=1)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    data, path = os.urandom(3 * MIB), str(tmp_path / "socket")
    try:
        await web.UnixSite(runner, path).start()
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), auto_decompress=False) as session:
            client = Client(session, "http://localhost/files/")
            url = await client.create(len(data))
            for offset in range(0, len(data), MIB):
                assert (await client.patch(url, offset, data[offset : offset + MIB])).offset == offset + MIB
            assert (await client.get(url)).body == data
    finally:
        await runner.cleanup()
    assert tus.engine.received["moved"] + tus.engine.received["read"] == len(data)
    assert tus.engine.received["moved"] >= 2 * MIB


async def test_no_plane(tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store cannot move bodies, they are read, and everything is as it was. (CORE-BODY-13)."""
    monkeypatch.setattr(file_module.Planes, "make", lambda: None)
    data = os.urandom(3 * MIB)
    async with serve("moved", tmp_path / "data") as target:
        client = Client(session, target.url)
        assert (await client.get(await client.upload(data))).body == data
        assert ways(target) == (0, len(data))


async def test_many_bodies_at_once(moved: Target, session: aiohttp.ClientSession) -> None:
    """Fifty connections whose bodies come in turns each fill their own upload. (CONC-13, I4)."""
    client, size = Client(session, moved.url), 200_000
    bodies = [os.urandom(size) for _ in range(50)]
    urls = [await client.create(size) for _ in bodies]
    async with contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(await start_moved(moved, url, size)) for url in urls]
        for at in range(0, size, 40_000):
            for wire, body in zip(wires, bodies, strict=True):
                wire.send(body[at : at + 40_000])
                await wire.flush()
        answers = await asyncio.gather(*(wire.answer() for wire in wires))
    assert {answer.status for answer in answers} == {204}
    assert [moved.data_path(url).read_bytes() for url in urls] == bodies
    assert ways(moved) == (50 * size, 0)


async def test_no_descriptor_is_left(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Whatever became of them, moved bodies leave no descriptor behind. (I12)."""
    async with serve("moved", tmp_path / "data") as target:
        client = Client(session, target.url)

        async def round_of_bodies() -> None:
            for end in (None, Wire.finish, Wire.reset):
                url = await client.create(MIB)
                async with await start_moved(target, url, MIB) as wire:
                    wire.send(bytes(MIB if end is None else 1000))
                    if end is None:
                        assert (await wire.answer()).status == 204
                    else:
                        await target.until_stored(url, 1000)
                        end(wire)
                        await until(lambda at=url: _is_committed(client, at))  # type: ignore[misc]
                assert (await client.delete(url)).status == 204

        await round_of_bodies()
        await until(lambda: _is_left(target, 0))
        before = _open_sockets_and_files()
        for _ in range(3):
            await round_of_bodies()
        await until(lambda: _is(_open_sockets_and_files() <= before))


async def _is_committed(client: Client, url: str) -> bool:
    return await client.offset(url) == 1000


async def _is_left(target: Target, count: int) -> bool:
    assert target.tus is not None
    return len(target.tus.engine._running) == count


def _open_sockets_and_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _is(value: bool) -> bool:
    return value
