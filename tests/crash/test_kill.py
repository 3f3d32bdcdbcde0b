"""SIGKILL at the worst moments: what was acknowledged is there after a restart (protocol 2.5, reliability I1)."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target, process
from tests.support.waiting import until
from tests.support.wire import Wire

LEVELS = ["none", "finish", "patch"]


async def kill(server: Target) -> None:
    """End a server without a chance to do anything about it."""
    assert server.process is not None
    server.process.kill()
    await server.process.wait()


def moved(server: Target, url: str) -> str:
    """Return the URL of an upload after a restart, which has another port."""
    return server.url + url.rpartition("/")[2]


@pytest.mark.parametrize("durability", LEVELS)
async def test_after_204(durability: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Everything acknowledged survives a kill at any level: offsets, content, finished uploads. (CORE-BODY-18)."""
    data = os.urandom(300_000)
    async with process(tmp_path / "data", durability=durability) as server:
        client = Client(session, server.url)
        done = await client.upload(data, Upload_Metadata="filename d29ybGQ=")
        half = await client.create(len(data))
        assert (await client.patch(half, 0, data[:100_000])).status == 204
        assert (await client.patch(half, 100_000, data[100_000:100_001])).status == 204
        await kill(server)
    async with process(tmp_path / "data", durability=durability) as server:
        client = Client(session, server.url)
        done, half = moved(server, done), moved(server, half)
        assert (await client.get(done)).body == data
        assert (await client.head(done)).headers["Upload-Metadata"] == "filename d29ybGQ="
        assert await client.offset(half) == 100_001
        assert (await client.patch(half, 100_001, data[100_001:])).status == 204
        assert (await client.get(half)).body == data


async def test_in_the_middle(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """After a kill inside a PATCH the offset never promises more than the disk holds; PATCH continues there.

    (CORE-BODY-19; CONC-10: nothing of the dead keeps the upload locked)
    """
    data = os.urandom(200_000)
    async with process(tmp_path / "data") as server:
        url = await Client(session, server.url).create(len(data))
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(len(data))})
            wire.send(data[:150_000])
            await server.until_stored(url, 150_000)
            await kill(server)
    async with process(tmp_path / "data") as server:
        client, url = Client(session, server.url), moved(server, url)
        offset = await client.offset(url)
        assert 0 <= offset <= server.stored(url) == 150_000
        assert (await client.patch(url, offset, data[offset:])).status == 204
        assert (await client.get(url)).body == data


async def test_in_the_middle_after_a_checkpoint(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What a PATCH had committed on its way is not lost by a kill, and what HEAD has shown least of all.

    (CORE-BODY-19, reliability I3)
    """
    data = os.urandom(200_000)
    async with process(tmp_path / "data", checkpoint_bytes=1) as server:
        client = Client(session, server.url)
        url = await client.create(len(data))
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": str(len(data))})
            wire.send(data[:150_000])
            await until(lambda: _shows(client, url, 150_000))
            await kill(server)
    async with process(tmp_path / "data") as server:
        client, url = Client(session, server.url), moved(server, url)
        assert await client.offset(url) == server.stored(url) == 150_000
        assert (await client.patch(url, 150_000, data[150_000:])).status == 204
        assert (await client.get(url)).body == data


async def test_garbage_is_overwritten(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Bytes that a killed PATCH left above the offset are no part of what is uploaded later. (CORE-BODY-19)."""
    async with process(tmp_path / "data") as server:
        url = await Client(session, server.url).create(None)
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": "100000"})
            wire.send(b"X" * 90_000)
            await server.until_stored(url, 90_000)
            await kill(server)
    async with process(tmp_path / "data") as server:
        client, url = Client(session, server.url), moved(server, url)
        assert await client.offset(url) == 0
        assert (await client.patch(url, 0, b"short", {"Upload-Length": "5"})).status == 204
        assert (await client.get(url)).body == b"short"
        assert server.stored(url) == 5


async def test_with_a_checksum(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Bytes that were never verified do not count after a kill, although they are in the file. (CSUM-10)."""
    data = os.urandom(100_000)
    checksum = "sha1 " + base64.b64encode(hashlib.sha1(data[10:]).digest()).decode()
    async with process(tmp_path / "data", checkpoint_bytes=1) as server:
        client = Client(session, server.url)
        url = await client.create(len(data))
        assert (await client.patch(url, 0, data[:10])).status == 204
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 10, {"Content-Length": str(len(data) - 10), "Upload-Checksum": checksum})
            wire.send(data[10:60_000])
            await server.until_stored(url, 60_000)
            await kill(server)
    async with process(tmp_path / "data") as server:
        client, url = Client(session, server.url), moved(server, url)
        assert server.stored(url) == 60_000
        assert await client.offset(url) == 10
        assert (await client.patch(url, 10, data[10:], {"Upload-Checksum": checksum})).status == 204
        assert (await client.get(url)).body == data


async def test_creation_with_upload(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A kill inside a POST that brings bytes harms no other upload and leaves no finished one. (CORE-BODY-19)."""
    place = tmp_path / "data"
    async with process(place) as server:
        other = await Client(session, server.url).upload(b"other")
        async with await Wire.open(server.url) as wire:
            wire.start("POST", server.url, {**T, **CT, "Upload-Length": "100000", "Content-Length": "100000"})
            wire.send(b"hello")
            await until(lambda: _holds(place, other, b"hello"))
            await kill(server)
    (name,) = {path.name for path in (place / "uploads").glob("??/*")} - {other.rpartition("/")[2]}
    async with process(place) as server:
        client = Client(session, server.url)
        assert (await client.get(moved(server, other))).body == b"other"
        assert (await client.get(server.url + name)).status == 404
        assert await client.offset(server.url + name) <= 5


async def test_several_in_a_row(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """An upload survives kill after kill, each in the middle of a PATCH, without a wrong byte. (CORE-BODY-19, I1)."""
    data = os.urandom(400_000)
    name, seen = "", 0
    for sent in (90_000, 180_000, 270_000):
        async with process(tmp_path / "data", checkpoint_bytes=30_000) as server:
            client = Client(session, server.url)
            url = server.url + name if name else await client.create(len(data))
            name = url.rpartition("/")[2]
            offset = await client.offset(url)
            assert seen <= offset <= server.stored(url)
            async with await Wire.open(url) as wire:
                wire.start_patch(url, offset, {"Content-Length": str(len(data) - offset)})
                wire.send(data[offset:sent])
                await server.until_stored(url, sent)
                seen = await client.offset(url)
                await kill(server)
    async with process(tmp_path / "data") as server:
        client = Client(session, server.url)
        url = server.url + name
        offset = await client.offset(url)
        assert seen <= offset <= 270_000
        assert (await client.patch(url, offset, data[offset:])).status == 204
        assert (await client.get(url)).body == data


async def _shows(client: Client, url: str, offset: int) -> bool:
    return await client.offset(url) == offset


async def _holds(place: Path, other: str, content: bytes) -> bool:
    files = [path for path in (place / "uploads").glob("??/*") if path.name != other.rpartition("/")[2]]
    return any(path.read_bytes() == content for path in files)
