"""Bodies that end before their end: every byte that arrived counts (protocol 2.5)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.support.client import Client
from tests.support.rig import rig
from tests.support.servers import Target, running
from tests.support.waiting import until
from tests.support.wire import Wire

HALF = {"Content-Length": "10240"}


@pytest.mark.parametrize("end", [Wire.finish, Wire.reset], ids=["fin", "rst"])
async def test_connection_lost(client: Client, server: Target, end: Callable[[Wire], None]) -> None:
    """A connection lost in the middle of a body keeps what arrived, exactly; the upload can be resumed there.

    (CORE-BODY-03, CORE-BODY-04)
    """
    data = os.urandom(10240)
    url = await client.create(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, HALF)
        wire.send(data[:5120])
        await server.until_stored(url, 5120)
        end(wire)
        await until(lambda: _shows(client, url, 5120))
    assert (await client.get(url)).status == 404
    answer = await client.patch(url, 5120, data[5120:])
    assert (answer.status, answer.offset) == (204, 10240)
    assert (await client.get(url)).body == data


@pytest.mark.parametrize("end", [Wire.finish, Wire.reset], ids=["fin", "rst"])
async def test_lost_before_the_first_byte(client: Client, end: Callable[[Wire], None]) -> None:
    """A connection lost between head and body changes nothing and leaves no lock behind. (CORE-BODY-03)."""
    url = await client.create(10)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "10", "Expect": "100-continue"})
        # From here on the server waits for the body.
        assert (await wire.answer()).status == 100
        end(wire)
    answer = await client.patch(url, 0, b"0123456789")
    assert (answer.status, answer.offset) == (204, 10)


@pytest.mark.parametrize("later", [1000, 300_000, 2_000_000], ids=["little", "buffer", "more than fits"])
async def test_reset_while_the_store_is_slow(session: aiohttp.ClientSession, later: int) -> None:
    """What the server has taken from the socket is stored, even if the reset is noticed before it is read.

    (CORE-BODY-05)
    """
    data = os.urandom(5120 + later)
    async with rig(direct_from=None) as server:
        client = Client(session, server.url)
        url = await client.create(len(data) + 1)
        gate = server.data.hold("write")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(len(data) + 1)})
            wire.send(data[:5120])
            await gate.wait_entered()
            content = server.requests[-1].content
            wire.send(data[5120:])
            await until(lambda: _true(content.total_bytes == len(data) or _is_paused(server.requests[-1])))
            received = content.total_bytes
            wire.reset()
            if received == len(data):
                # A paused socket cannot tell that it was reset; another one must be known to be.
                await until(lambda: _true(content.exception() is not None))
            gate.opened.set()
            await until(lambda: _true(_offset(server, url) > 0))
        offset = await client.offset(url)
        assert received <= offset <= len(data)
        assert server.bytes_of(url)[:offset] == data[:offset]


async def test_silence(client_of: Callable[[Target], Client], hasty_server: Target) -> None:
    """A client that sends nothing for the network timeout gets 500; what it sent is kept, the lock is free.

    Nobody waits for the rest of the body, which would keep the connection for another 10 s. (CORE-BODY-07, row 48)
    """
    client = client_of(hasty_server)
    data = os.urandom(10240)
    url = await client.create(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, HALF)
        wire.send(data[:5120])
        started = time.monotonic()
        answer = await wire.answer()
        assert 0.25 < time.monotonic() - started < 3
        assert (answer.status, answer.code) == (500, "ERR_READ_TIMEOUT")
        assert answer.headers["Connection"].lower() == "close"
        assert await wire.closed(timeout=5) == b""
    assert await client.offset(url) == 5120
    assert (await client.patch(url, 5120, data[5120:])).status == 204
    assert (await client.get(url)).body == data


async def test_no_byte_at_all(client_of: Callable[[Target], Client], hasty_server: Target) -> None:
    """The timeout also holds for the first byte of a body. (CORE-BODY-07)."""
    client = client_of(hasty_server)
    url = await client.create(10)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "10"})
        assert (await wire.answer()).code == "ERR_READ_TIMEOUT"
    assert (await client.patch(url, 0, b"0123456789")).status == 204


async def test_slow_but_alive(client_of: Callable[[Target], Client], hasty_server: Target) -> None:
    """The timeout is per read: a client that sends a byte now and then is not cut, however long it takes.

    (CORE-BODY-08)
    """
    client = client_of(hasty_server)
    url = await client.create(12)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "12"})
        for byte in b"slow but ali":
            wire.send(bytes([byte]))
            await asyncio.sleep(0.1)
        assert (await wire.answer()).status == 204
    assert (await client.get(url)).body == b"slow but ali"


async def test_host_that_cancels_handlers(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """An application whose runner cancels handlers on disconnect loses no bytes either. (CORE-BODY-04)."""
    app = web.Application()
    tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    data = os.urandom(10240)
    async with running(app, handler_cancellation=True) as base:
        client = Client(session, f"{base}/files/")
        target = Target(client.base, tmp_path / "data", "embedded")
        url = await client.create(len(data))
        for offset, end in ((0, Wire.reset), (2560, Wire.finish)):
            async with await Wire.open(url) as wire:
                wire.start_patch(url, offset, {"Content-Length": str(len(data) - offset)})
                wire.send(data[offset : offset + 2560])
                await target.until_stored(url, offset + 2560)
                end(wire)
                await until(lambda at=offset + 2560: _shows(client, url, at))  # type: ignore[misc]
        assert (await client.patch(url, 5120, data[5120:])).status == 204
        assert (await client.get(url)).body == data


def _is_paused(request: web.Request) -> bool:
    return request.protocol._reading_paused


def _offset(server: object, url: str) -> int:
    upload = server.info._uploads[url.rpartition("/")[2]]  # type: ignore[attr-defined]
    return int(upload.offset)


async def _true(value: bool) -> bool:
    return value


async def _shows(client: Client, url: str, offset: int) -> bool:
    return await client.offset(url) == offset
