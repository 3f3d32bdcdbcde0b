"""Going down: bodies are cut with 503 and kept, the process ends promptly and with code 0 (reliability I17)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target, process, serve
from tests.support.waiting import until
from tests.support.wire import Wire

PROMPTLY = 5.0
"""Seconds; far less than the time given to running requests (30 s) and than a silent client may have (60 s)."""


@contextlib.asynccontextmanager
async def stopping(mode: str, place: Path) -> AsyncIterator[tuple[Target, asyncio.Event]]:
    """A server, and an event that lets it end while the block still runs. It must end promptly."""
    down = asyncio.Event()
    up: asyncio.Future[Target] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with serve(mode, place) as target:
            up.set_result(target)
            await down.wait()
            started = time.monotonic()
        assert time.monotonic() - started < PROMPTLY

    running = asyncio.create_task(run())
    try:
        yield await asyncio.wait_for(asyncio.shield(up), 30), down
    finally:
        down.set()
        await running


async def test_patch(mode: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A PATCH under way gets 503, what it sent is stored; a silent client does not hold up the end. (CORE-BODY-17)."""
    data = os.urandom(10240)
    place = tmp_path / "data"
    async with stopping(mode, place) as (server, down):
        url = await Client(session, server.url).create(len(data))
        wire = await Wire.open(url)
        wire.start_patch(url, 0, {"Content-Length": str(len(data))})
        wire.send(data[:5120])
        await server.until_stored(url, 5120)
        down.set()
        answer = await wire.answer()
        assert (answer.status, answer.code) == (503, "ERR_SERVER_SHUTDOWN")
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Connection"].lower() == "close"
    wire.reset()
    async with serve(mode, place) as server:
        client, url = Client(session, server.url), server.url + url.rpartition("/")[2]
        assert await client.offset(url) == 5120
        assert (await client.patch(url, 5120, data[5120:])).status == 204
        assert (await client.get(url)).body == data


async def test_patch_with_a_checksum(mode: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What a PATCH under way brought under a checksum is not kept: it cannot be verified. (CORE-BODY-17)."""
    place = tmp_path / "data"
    async with stopping(mode, place) as (server, down):
        url = await Client(session, server.url).create(11)
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": "11", "Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="})
            wire.send(b"hello")
            await server.until_stored(url, 5)
            down.set()
            assert (await wire.answer()).status == 503
    async with serve(mode, place) as server:
        client, url = Client(session, server.url), server.url + url.rpartition("/")[2]
        assert await client.offset(url) == 0
        assert (await client.patch(url, 0, b"hello world")).status == 204


async def test_creation_with_upload(mode: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A POST whose body is cut by the end gets 503. (CORE-BODY-17)."""
    place = tmp_path / "data"
    async with stopping(mode, place) as (server, down), await Wire.open(server.url) as wire:
        wire.start("POST", server.url, {**T, **CT, "Upload-Length": "100000", "Content-Length": "100000"})
        wire.send(b"hello")

        async def has_begun() -> bool:
            return any(path.stat().st_size == 5 for path in (place / "uploads").glob("??/*"))

        await until(has_begun)
        down.set()
        answer = await wire.answer()
        assert (answer.status, answer.code) == (503, "ERR_SERVER_SHUTDOWN")


async def test_idle_connections(mode: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Connections without a request are closed and hold up nothing. (reliability I17)."""
    async with stopping(mode, tmp_path / "data") as (server, down):
        url = await Client(session, server.url).create(1)
        async with await Wire.open(url) as used, await Wire.open(url) as fresh, await Wire.open(url) as half:
            used.start("HEAD", url, T)
            assert (await used.answer(head=True)).status == 200
            half.send(b"HEAD /files/ HTT")
            await half.flush()
            down.set()
            for wire in (used, fresh, half):
                assert await wire.closed() == b""


async def test_everything_is_kept(mode: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A restart changes nothing that a client can see: offsets, lengths, metadata, concatenation, expiry, content.

    (reliability I1, I17)
    """
    place = tmp_path / "data"
    parts = [os.urandom(1000), os.urandom(2000)]
    async with serve(mode, place) as server:
        client = Client(session, server.url)
        urls = [await client.upload(part, Upload_Concat="partial") for part in parts]
        final = await client.post({"Upload-Concat": "final;" + " ".join(urls), "Upload-Metadata": "a Yg==, empty"})
        urls.append(final.headers["Location"])
        urls.append(await client.upload(b"whole", Upload_Metadata="filename d29ybGQ="))
        urls.append(await client.create(10, Upload_Metadata="k ,x eA=="))
        assert (await client.patch(urls[-1], 0, b"part")).offset == 4
        urls.append(await client.create(None))
        assert (await client.patch(urls[-1], 0, b"deferred")).offset == 8
        gone = await client.upload(b"gone")
        assert (await client.delete(gone)).status == 204
        before = [await _seen(client, url) for url in urls]
    async with serve(mode, place) as server:
        client = Client(session, server.url)
        again = [server.url + url.rpartition("/")[2] for url in urls]
        assert [await _seen(client, url) for url in again] == before
        assert (await client.get(again[2])).body == b"".join(parts)
        assert (await client.head(server.url + gone.rpartition("/")[2])).status == 404
        assert (await client.patch(again[4], 4, b"tial12")).offset == 10
        assert (await client.patch(again[5], 8, b"!", {"Upload-Length": "9"})).offset == 9
        assert (await client.get(again[5])).body == b"deferred!"


async def _seen(client: Client, url: str) -> tuple[dict[str, str], int, bytes]:
    head, download = await client.head(url), await client.get(url)
    headers = {name: value for name, value in head.headers.items() if name.startswith("Upload-")}
    base = client.base.encode()
    shown = {name: value.replace(client.base, "/files/") for name, value in headers.items() if name != "Upload-Concat"}
    return shown, download.status, download.body.replace(base, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_signals(number: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM and SIGINT end an idle server at once, with code 0 and nothing that listens. (reliability I17)."""
    async with process(tmp_path / "data") as server:
        assert server.process is not None
        server.process.send_signal(number)
        assert await asyncio.wait_for(server.process.wait(), PROMPTLY) == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


async def test_nothing_new(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A server that waits for a slow download takes no new connection; a second signal ends it at once.

    (reliability I17)
    """
    async with process(tmp_path / "data") as server:
        assert server.process is not None
        client = Client(session, server.url)
        url = await client.create(64 * 2**20)
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(64 * 2**20)})
            for _ in range(64):
                wire.send(bytes(2**20))
                await wire.flush()
            assert (await wire.answer()).status == 204
        async with await Wire.open(url) as slow:
            slow.start("GET", url, {})
            assert (await slow.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            server.process.send_signal(signal.SIGTERM)
            await until(lambda: _refuses(server))
            assert server.process.returncode is None
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(server.process.wait(), 2) == 128 + signal.SIGTERM


async def _refuses(server: Target) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    except ConnectionError:
        return True
    writer.transport.abort()
    return False
