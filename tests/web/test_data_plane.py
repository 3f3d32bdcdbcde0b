"""Bodies that the kernel moves: which they are, and that nothing else about a connection or its host changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.support.client import CT, Client, T, chunked
from tests.support.servers import running
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.models.upload import UploadInfo
from tusd_py.web import handlers
from tusd_py.web.direct import DirectReader

MIB = 2**20
BODY = os.urandom(3 * MIB)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


@dataclass
class Host:
    """An application with uploads and a page of its own."""

    url: str
    client: Client
    tus: tusd_py.Tus

    async def new(self, length: int = len(BODY)) -> str:
        return await self.client.create(length)

    @property
    def ways(self) -> tuple[int, int]:
        """Bytes that were moved, and bytes that were read."""
        return self.tus.engine.received["moved"], self.tus.engine.received["read"]


@contextlib.asynccontextmanager
async def hosting(
    place: Path, *middlewares: Any, runner: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Host]:
    async def page(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"X-Page": "yes"})

    app = web.Application(middlewares=middlewares)
    app.router.add_route("*", "/page", page)
    tus = tusd_py.setup(app, "/files", data_dir=place / "data", **settings)
    async with running(app, **(runner or {})) as base, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Host(base, Client(session, f"{base}/files/"), tus)


@pytest.mark.parametrize(
    ("settings", "size", "moved"),
    [
        ({}, 768 * 1024, True),
        ({}, 767 * 1024, False),
        ({"data_plane_from": "1MiB"}, MIB, True),
        ({"data_plane_from": "1MiB"}, MIB - 1, False),
        ({"data_plane_from": None}, 3 * MIB, False),
    ],
)
async def test_from_which_size_on(tmp_path: Path, settings: dict[str, Any], size: int, moved: bool) -> None:
    """A body is moved when so many bytes are still to come, and the setting says how many. (performance: section 2)"""
    async with hosting(tmp_path, **settings) as host, await Wire.open(host.url) as wire:
        url = await host.new(size)
        wire.start_patch(url, 0, {"Content-Length": str(size), "Expect": "100-continue"})
        assert (await wire.answer()).status == 100
        wire.send(BODY[:size])
        assert (await wire.answer()).status == 204
        assert host.ways == ((size, 0) if moved else (0, size))
        assert (await host.client.get(url)).body == BODY[:size]


async def test_one_connection_after_another_body(tmp_path: Path) -> None:
    """A connection goes on behind a moved body as if nothing had been: for uploads, and for the host's own pages.

    (CORE-BODY-13)
    """
    async with hosting(tmp_path, data_plane_from=1) as host, await Wire.open(host.url) as wire:
        for _ in range(3):
            url = await host.new()
            wire.start("PUT", "/page", {"Content-Length": "5"})
            wire.send(b"hello")
            answer = await wire.answer()
            assert (answer.body, answer.headers["X-Page"]) == (b"hello", "yes")
            for offset in range(0, len(BODY), MIB):
                wire.start_patch(url, offset, {"Content-Length": str(MIB)})
                await wire.flush()
                wire.send(BODY[offset : offset + MIB])
                assert (await wire.answer()).headers["Upload-Offset"] == str(offset + MIB)
            assert (await host.client.get(url)).body == BODY
        assert host.ways[0] > len(BODY)


async def test_the_next_request_right_behind(tmp_path: Path) -> None:
    """A request that comes in the same packet as the end of a moved body is not taken for a part of it. (row 14)"""
    async with hosting(tmp_path, data_plane_from=1) as host, await Wire.open(host.url) as wire:
        url, other = await host.new(), await host.new(4)
        wire.start_patch(url, 0, {"Content-Length": str(len(BODY))})
        wire.send(BODY)
        wire.start("HEAD", other, T)
        wire.start_patch(other, 0, {"Content-Length": "4"})
        wire.send(b"tail")
        assert (await wire.answer()).headers["Upload-Offset"] == str(len(BODY))
        assert (await wire.answer(head=True)).headers["Upload-Offset"] == "0"
        assert (await wire.answer()).headers["Upload-Offset"] == "4"
        assert (await host.client.get(url)).body == BODY
        assert (await host.client.get(other)).body == b"tail"


async def read_a_little(request: web.Request, handler: Handler) -> web.StreamResponse:
    await request.content.readany()
    return await handler(request)


async def replace(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request.clone())


async def test_chunked(tmp_path: Path) -> None:
    """A chunked body is read: its length is in its framing. (CORE-BODY-01)"""
    async with hosting(tmp_path, data_plane_from=1) as host:
        url = await host.new()
        assert (await host.client.patch(url, 0, chunked(BODY[:MIB], BODY[MIB:]))).offset == len(BODY)
        assert host.ways == (0, len(BODY))
        assert (await host.client.get(url)).body == BODY


async def test_a_host_that_replaces_requests(tmp_path: Path) -> None:
    """Where a middleware hands a request of its own to us, its body is read, and right. (CORE-BODY-13)"""
    async with hosting(tmp_path, web.middleware(replace), data_plane_from=1) as host:
        url = await host.new()
        assert (await host.client.patch(url, 0, BODY)).offset == len(BODY)
        assert host.ways == (0, len(BODY))
        assert (await host.client.get(url)).body == BODY


async def test_a_host_that_reads_bodies(tmp_path: Path) -> None:
    """What a middleware took of a body is gone, and what is left is refused or right, never mixed up. (CORE-BODY-13)"""
    async with hosting(tmp_path, web.middleware(read_a_little), data_plane_from=1) as host:
        url = await host.new()
        with contextlib.suppress(aiohttp.ClientError):
            await host.client.patch(url, 0, BODY)
        offset = await host.client.offset(url)
        stored = host.tus._data.locate(UploadInfo(id=url.rpartition("/")[2])).read_bytes()[:offset]
        assert 0 < offset < len(BODY)
        assert stored == BODY[len(BODY) - offset :]


@pytest.mark.parametrize("direct", [True, False])
async def test_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    """A connection that is encrypted in this process is read, past the parser or through it. (CORE-BODY-13)"""
    begun: list[bool] = []
    take_over = DirectReader.begin
    monkeypatch.setattr(DirectReader, "begin", lambda *args: begun.append(True) or take_over(*args))
    pair = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-subj", "/CN=localhost"]
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *pair], check=True, capture_output=True
        )
    except OSError:
        pytest.skip("NOT RUN: needs openssl")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    app = web.Application()
    how = {"data_plane_from": 1, "direct_from": 1 if direct else "none"}
    tus = tusd_py.setup(app, "/files", data_dir=tmp_path / "data", **how)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        trusting = aiohttp.TCPConnector(ssl=False)
        async with aiohttp.ClientSession(connector=trusting, auto_decompress=False) as session:
            client = Client(session, f"https://127.0.0.1:{runner.addresses[0][1]}/files/")
            url = await client.create(2 * len(BODY))
            for offset in (0, len(BODY)):  # on one connection
                assert (await client.patch(url, offset, BODY)).status == 204
            assert (await client.get(url)).body == 2 * BODY
    finally:
        await runner.cleanup()
    assert tus.engine.received == {"moved": 0, "read": 2 * len(BODY)}
    assert bool(begun) == direct


async def test_an_aiohttp_that_we_do_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an aiohttp whose connections cannot be taken, every body is read."""
    monkeypatch.setattr(handlers, "can_detach", lambda: False)
    async with hosting(tmp_path, data_plane_from=1) as host:
        assert (await host.client.get(await host.client.upload(BODY))).body == BODY
        assert host.ways == (0, len(BODY))


async def test_a_host_that_shuts_down(tmp_path: Path) -> None:
    """Requests that are cancelled in the middle of a moved body end it: no thread goes on, what came is kept. (I17)"""
    async with hosting(tmp_path, data_plane_from=1, runner={"shutdown_timeout": 0.2}) as host:
        url = await host.new()
        wire = await Wire.open(host.url)
        wire.start_patch(url, 0, {"Content-Length": str(len(BODY))})
        wire.send(BODY[:MIB])
        await wire.flush()

        async def is_moving() -> bool:
            path = host.tus._data.locate(UploadInfo(id=url.rpartition("/")[2]))
            return path.exists() and path.stat().st_size >= MIB

        await until(is_moving)
    async with wire:
        await wire.closed()
    async with hosting(tmp_path) as host:
        moved = host.client.base + url.rpartition("/")[2]
        assert await host.client.offset(moved) == MIB


async def test_others_at_the_same_time(tmp_path: Path) -> None:
    """Bodies that are moved at the same time do not mix, nor with those that are read. (I4)"""
    bodies = [os.urandom(MIB + n) for n in range(12)]
    async with hosting(tmp_path, data_plane_from="1100KB") as host:
        urls = [await host.new(len(body)) for body in bodies]
        await asyncio.gather(
            *(
                host.client.patch(url, 0, body if n % 3 else chunked(body))
                for n, (url, body) in enumerate(zip(urls, bodies, strict=True))
            )
        )
        for url, body in zip(urls, bodies, strict=True):
            assert (await host.client.get(url)).body == body


async def test_creation_with_upload(tmp_path: Path) -> None:
    """The first bytes of a new upload are moved, too. (CWU-01)"""
    async with hosting(tmp_path, data_plane_from=1) as host, await Wire.open(host.url) as wire:
        wire.start(
            "POST", host.client.base, {**T, **CT, "Upload-Length": str(len(BODY)), "Content-Length": str(len(BODY))}
        )
        await wire.flush()
        wire.send(BODY)
        answer = await wire.answer()
        assert (answer.status, answer.headers["Upload-Offset"]) == (201, str(len(BODY)))
        assert (await host.client.get(answer.headers["Location"])).body == BODY
        assert host.ways[0] > 0
