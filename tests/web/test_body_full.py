"""No space left: the client is told to try again, what fits is kept, everybody else goes on (protocol 2.5)."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.rig import rig
from tests.support.wire import Wire

MIB = 2**20


async def test_store_is_full(session: aiohttp.ClientSession) -> None:
    """A store that takes a part of the body: 507, the part counts, and the rest can be sent when there is space.

    (CORE-BODY-20)
    """
    data = os.urandom(10240)
    async with rig() as server:
        client = Client(session, server.url)
        url, other = await client.create(len(data)), await client.upload(b"other")
        server.data.room = 6000
        answer = await client.patch(url, 0, data)
        assert (answer.status, answer.code) == (507, "ERR_INSUFFICIENT_STORAGE")
        assert int(answer.headers["Retry-After"]) > 0
        assert await client.offset(url) == 6000
        assert server.bytes_of(url) == data[:6000]
        assert (await client.get(other)).body == b"other"
        server.data.room = None
        assert (await client.patch(url, 6000, data[6000:])).status == 204
        assert (await client.get(url)).body == data


async def test_store_is_full_from_the_start(session: aiohttp.ClientSession) -> None:
    """A store that takes nothing at all changes nothing. (CORE-BODY-20)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(10)
        server.data.room = 0
        answer = await client.patch(url, 0, b"0123456789")
        assert (answer.status, await client.offset(url)) == (507, 0)
        assert server.finished == []


async def test_store_is_full_with_a_checksum(session: aiohttp.ClientSession) -> None:
    """Bytes that could not be verified do not count, even if they fitted. (CORE-BODY-20)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(11)
        server.data.room = 5
        answer = await client.patch(url, 0, b"hello world", {"Upload-Checksum": "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="})
        assert (answer.status, await client.offset(url)) == (507, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("NOT RUN: needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


async def test_nothing_fits(small_disk: Path, start_server: StartServer, session: aiohttp.ClientSession) -> None:
    """A disk too full even for the new offset: 507, and what does not count does not fill the disk. (CORE-BODY-20)."""
    server = await start_server(small_disk / "data")
    client = Client(session, server.url)
    url = await client.create(16 * MIB)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": str(16 * MIB)})
        wire.send(bytes(16 * MIB))
        assert (await wire.answer()).status == 507
    assert await client.offset(url) == server.stored(url)
    small = await client.create(10)
    assert (await client.patch(small, 0, b"0123456789")).status == 204


async def test_disk_is_full(small_disk: Path, start_server: StartServer, session: aiohttp.ClientSession) -> None:
    """A full disk: 507, the offset is what the disk holds, others can be read, and DELETE gives the space back.

    (CORE-BODY-20, reliability I8 and 5.2 row 52)
    """
    server = await start_server(small_disk / "data", checkpoint_bytes="1MiB")
    client = Client(session, server.url)
    data, filler = os.urandom(5 * MIB), os.urandom(4 * MIB)
    other, url = await client.create(len(filler)), await client.create(len(data))
    assert (await client.patch(other, 0, io.BytesIO(filler))).status == 204
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": str(len(data))})
        wire.send(data)
        answer = await wire.answer()
    assert (answer.status, answer.code) == (507, "ERR_INSUFFICIENT_STORAGE")
    offset = await client.offset(url)
    assert 0 <= offset < len(data)
    assert server.data_path(url).read_bytes() == data[:offset]
    assert (await client.get(other)).body == filler

    assert (await client.delete(other)).status == 204
    assert (await client.head(other)).status == 404
    answer_again = await client.patch(url, offset, io.BytesIO(data[offset:]))
    assert (answer_again.status, answer_again.offset) == (204, len(data))
    assert (await client.get(url)).body == data
