"""Bodies that nobody wants: the client gets to see why, and the server keeps nothing (protocol 2.5)."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target
from tests.support.wire import Wire

MIB = bytes(2**20)


def memory_of(server: Target) -> int:
    """Return the most bytes of memory that a server process has ever had, 0 for an embedded one."""
    if server.process is None:
        return 0
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.mark.timeout(30)
async def test_large_refused_body(client: Client, server: Target) -> None:
    """A client that sends 100 MB without waiting can read the 409; nothing of it is stored or kept in memory.

    (CORE-BODY-12)
    """
    url = await client.create(200 * 2**20)
    before = memory_of(server)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 5, {"Content-Length": str(100 * 2**20)})
        for _ in range(100):
            wire.send(MIB)
            await wire.flush()
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.headers["Upload-Offset"]) == (409, "ERR_MISMATCHED_OFFSET", "0")
    assert memory_of(server) - before < 32 * 2**20
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
async def test_connection_goes_on(client: Client, server: Target, late: bool) -> None:
    """The connection of a refused request is good for the next one, or cleanly closed: never out of step.

    (CORE-BODY-13)
    """
    url = await client.create(2000)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 7, {"Content-Length": "1024"})
        if late:
            assert (await wire.answer()).status == 409
        # What a server out of step would take for a request.
        wire.send((b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n" * 40)[:1024])
        if not late:
            assert (await wire.answer()).status == 409
        wire.start("HEAD", url, T)
        answer = await wire.answer(head=True)
        assert (answer.status, answer.headers["Upload-Offset"]) == (200, "0")
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP", "x-unknown", "identity, gzip"])
@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_content_coding(client: Client, server: Target, method: str, coding: str) -> None:
    """A body with a content coding is refused and never unpacked. (CORE-BODY-14, reliability 5.2 row 12)."""
    packed = gzip.compress(bytes(1000))
    url = await client.create(len(packed))
    headers = {**T, **CT, "Content-Encoding": coding, "Content-Length": str(len(packed))}
    names = {"Upload-Offset": "0"} if method == "PATCH" else {"Upload-Length": str(len(packed))}
    async with await Wire.open(url) as wire:
        wire.start(method, url if method == "PATCH" else client.base, {**headers, **names})
        wire.send(packed)
        answer = await wire.answer()
        if server.mode == "process" or coding not in ("br", "zstd"):
            assert (answer.status, answer.code) == (415, "ERR_UNSUPPORTED_CONTENT_ENCODING")
        else:
            # The host's aiohttp unpacks bodies; it refuses by itself what it has no library for.
            assert answer.status in (400, 415)
        assert "Location" not in answer.headers
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_plain_body_called_gzip(client: Client, server: Target) -> None:
    """Plain bytes announced as gzip are no server error. (CORE-BODY-14)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Encoding": "gzip", "Content-Length": "11"})
        wire.send(b"hello world")
        assert (await wire.answer()).status == 415
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_identity(client: Client) -> None:
    """The identity coding is no coding. (CORE-BODY-14)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, b"hello world", {"Content-Encoding": "identity"})
    assert (answer.status, answer.offset) == (204, 11)


async def test_packed_bytes_are_bytes(client: Client) -> None:
    """Bytes that happen to be gzip are stored verbatim when nothing announces them. (CORE-BODY-14)."""
    packed = gzip.compress(bytes(1000))
    url = await client.upload(packed)
    assert (await client.get(url)).body == packed
