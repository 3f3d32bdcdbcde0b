"""Bodies whose length nobody announced: Transfer-Encoding: chunked (protocol 2.5)."""

from __future__ import annotations

import base64
import hashlib
import os

import aiohttp
import pytest

from tests.support.client import Client, chunked
from tests.support.rig import rig
from tests.support.servers import Target
from tests.support.waiting import until
from tests.support.wire import Wire

CHUNKED = {"Transfer-Encoding": "chunked"}


def sha1_of(data: bytes) -> dict[str, str]:
    return {"Upload-Checksum": "sha1 " + base64.b64encode(hashlib.sha1(data).digest()).decode()}


async def test_exact(client: Client) -> None:
    """A chunked body with exactly the bytes that are missing completes the upload. (CORE-BODY-01)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, chunked(b"hello ", b"w", b"orld"))
    assert (answer.status, answer.offset) == (204, 11)
    assert (await client.get(url)).body == b"hello world"


async def test_several_requests(client: Client) -> None:
    """Chunked bodies add up like any other. (CORE-BODY-01)."""
    data = os.urandom(700_000)
    url = await client.create(len(data))
    assert (await client.patch(url, 0, chunked(data[:300_000], data[300_000:400_001]))).offset == 400_001
    assert (await client.patch(url, 400_001, chunked(data[400_001:]))).offset == len(data)
    assert (await client.get(url)).body == data


async def test_too_long(client: Client) -> None:
    """A body that passes the limit is refused at that moment, without waiting for its end; what fits is kept.

    (CORE-BODY-02; reliability 5.2 row 6, where protocol.md decides that the upload is complete)
    """
    data = os.urandom(15360)
    url = await client.create(10240)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, CHUNKED)
        for start in range(0, len(data), 5120):
            wire.send_chunk(data[start : start + 5120])
            await wire.flush()
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "ERR_UPLOAD_SIZE_EXCEEDED")
        assert answer.headers["Connection"].lower() == "close"
        wire.finish()
        assert await wire.closed() == b""
    head = await client.head(url)
    assert (head.offset, head.headers["Upload-Length"]) == (10240, "10240")
    assert (await client.get(url)).body == data[:10240]


async def test_one_byte_too_long(client: Client, server: Target) -> None:
    """One byte over the limit is one too many, also in the chunk that reaches it; no byte above it is stored.

    (CORE-BODY-02, reliability 5.2 row 6)
    """
    url = await client.create(10)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, CHUNKED)
        wire.send_chunk(b"0123456789X")
        assert (await wire.answer()).status == 413
    assert await client.offset(url) == 10
    assert server.data_path(url).read_bytes() == b"0123456789"


async def test_too_long_finishes_once(session: aiohttp.ClientSession) -> None:
    """An upload that is filled by a body which is too long is reported as finished once. (CORE-BODY-02)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(10)
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, CHUNKED)
            wire.send_chunk(b"0123456789")
            wire.send_chunk(b"more")
            assert (await wire.answer()).status == 413
        assert (await client.patch(url, 10)).status == 204
        assert server.finished == [url.rpartition("/")[2]]


@pytest.mark.parametrize("sent", [5120, 10240], ids=["some", "all"])
async def test_cut_before_the_end(client: Client, server: Target, sent: int) -> None:
    """A chunked body cut before its last chunk keeps its bytes; all of them make a complete upload. (CORE-BODY-06)."""
    data = os.urandom(10240)
    url = await client.create(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, CHUNKED)
        wire.send_chunk(data[:sent])
        await server.until_stored(url, sent)
        wire.finish()
        await wire.closed()
    await until(lambda: _shows(client, url, sent))
    download = await client.get(url)
    assert (download.status, download.body == data) == ((200, True) if sent == len(data) else (404, False))
    assert (await client.patch(url, sent, data[sent:])).status == 204
    assert (await client.get(url)).body == data


async def test_cut_inside_a_chunk(client: Client, server: Target) -> None:
    """The part of a chunk that arrived counts. (CORE-BODY-06)."""
    url = await client.create(100)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, CHUNKED)
        wire.send(b"32\r\nonly this")
        await server.until_stored(url, 9)
        wire.reset()
    await until(lambda: _shows(client, url, 9))
    assert server.data_path(url).read_bytes()[:9] == b"only this"


@pytest.mark.parametrize("sent", [5120, 10240], ids=["some", "all"])
async def test_cut_with_a_checksum(client: Client, server: Target, sent: int) -> None:
    """A chunked body that never ended cannot be verified: with a checksum nothing of it is kept. (CORE-BODY-06)."""
    data = os.urandom(10240)
    url = await client.create(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {**CHUNKED, **sha1_of(data[:sent])})
        wire.send_chunk(data[:sent])
        await server.until_stored(url, sent)
        wire.finish()
        await wire.closed()
    await until(lambda: _is_empty(server, url))
    assert await client.offset(url) == 0
    assert (await client.get(url)).status == 404
    assert (await client.patch(url, 0, data, sha1_of(data))).status == 204


async def _shows(client: Client, url: str, offset: int) -> bool:
    return await client.offset(url) == offset


async def _is_empty(server: Target, url: str) -> bool:
    return server.stored(url) == 0
