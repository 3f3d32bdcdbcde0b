"""Clients that ask before they send: Expect: 100-continue (protocol 2.5)."""

from __future__ import annotations

import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target
from tests.support.wire import Wire

ASKING = {"Expect": "100-continue", "Content-Length": "11"}


async def test_continue(client: Client) -> None:
    """A valid PATCH is told to go on, then takes the body. (CORE-BODY-09)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, ASKING)
        assert (await wire.answer()).status == 100
        wire.send(b"hello world")
        answer = await wire.answer()
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, "11")
        wire.start("HEAD", url, T)
        assert (await wire.answer(head=True)).headers["Upload-Offset"] == "11"
    assert (await client.get(url)).body == b"hello world"


async def test_continue_as_java_clients_do(client: Client) -> None:
    """POST with a method override, chunked and asking works as PATCH. (CORE-BODY-09)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        headers = {"X-HTTP-Method-Override": "PATCH", "Transfer-Encoding": "chunked", "Expect": "100-continue"}
        wire.start("POST", url, {**T, **CT, "Upload-Offset": "0", **headers})
        assert (await wire.answer()).status == 100
        wire.send_chunk(b"hello world")
        wire.send_chunk(b"")
        assert (await wire.answer()).status == 204
    assert (await client.get(url)).body == b"hello world"


async def test_continue_for_creation_with_upload(client: Client) -> None:
    """A POST that brings bytes is told to go on. (CORE-BODY-09)."""
    async with await Wire.open(client.base) as wire:
        wire.start("POST", client.base, {**T, **CT, "Upload-Length": "11", **ASKING})
        assert (await wire.answer()).status == 100
        wire.send(b"hello world")
        answer = await wire.answer()
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "11")
    assert (await client.get(answer.headers["Location"])).body == b"hello world"


async def test_not_waiting(client: Client) -> None:
    """A client that asks but sends without waiting gets both answers. (CORE-BODY-09)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, ASKING)
        wire.send(b"hello world")
        assert [(await wire.answer()).status, (await wire.answer()).status] == [100, 204]


REFUSED = {
    "wrong offset": ({"Upload-Offset": "7"}, 409, "ERR_MISMATCHED_OFFSET"),
    "bad offset": ({"Upload-Offset": "x"}, 400, "ERR_INVALID_OFFSET"),
    "wrong media type": ({"Content-Type": "text/plain"}, 415, "ERR_INVALID_CONTENT_TYPE"),
    "too large": ({"Content-Length": "12"}, 413, "ERR_UPLOAD_SIZE_EXCEEDED"),
    "far too large": ({"Content-Length": "9223372036854775807"}, 413, "ERR_UPLOAD_SIZE_EXCEEDED"),
    "bad checksum": ({"Upload-Checksum": "nope AAAA"}, 400, "ERR_UNSUPPORTED_CHECKSUM_ALGORITHM"),
    "wrong version": ({"Tus-Resumable": "0.2.2"}, 412, "ERR_UNSUPPORTED_VERSION"),
    "content coding": ({"Content-Encoding": "gzip"}, 415, "ERR_UNSUPPORTED_CONTENT_ENCODING"),
}


@pytest.mark.parametrize(("headers", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_refused(client: Client, server: Target, headers: dict[str, str], status: int, code: str) -> None:
    """A request that fails its checks gets its final answer with no `100 Continue` before it; nothing is stored.

    (CORE-BODY-10, reliability 5.2 rows 5 and 15)
    """
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {**ASKING, **headers})
        answer = await wire.answer()
        assert (answer.status, answer.code) == (status, code)
        assert await wire.closed() == b""
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_refused_unknown(client: Client) -> None:
    """An unknown upload takes no body. (CORE-BODY-10)."""
    async with await Wire.open(client.base) as wire:
        wire.start_patch(client.base + "0" * 32, 0, ASKING)
        assert (await wire.answer()).status == 404
        assert await wire.closed() == b""


async def test_refused_creation(client: Client) -> None:
    """A POST that fails its checks takes no body. (CORE-BODY-10)."""
    async with await Wire.open(client.base) as wire:
        wire.start("POST", client.base, {**T, **CT, "Upload-Length": "5", **ASKING})
        assert (await wire.answer()).status == 413
        assert await wire.closed() == b""


async def test_without_a_body(client: Client) -> None:
    """A client that expects nothing but sends no body either gets its answer at once. (CORE-BODY-09)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Expect": "100-continue", "Content-Length": "0"})
        assert (await wire.answer()).status == 204


async def test_other_expectation(client: Client, server: Target) -> None:
    """Whatever else is expected cannot be met: 417, and nothing is stored. (CORE-BODY-11)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Expect": "something-else", "Content-Length": "11"})
        wire.send(b"hello world")
        answer = await wire.answer()
        assert (answer.status, answer.code) == (417, "ERR_EXPECTATION_FAILED")
    assert await client.offset(url) == 0
    assert server.stored(url) == 0
