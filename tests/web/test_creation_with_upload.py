"""Creation with upload: POST that brings the first bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target, serve
from tests.support.state import check_refusal, holdings, nothing_created, unchanged
from tests.support.waiting import until
from tests.support.wire import Wire

LARGE = 100_000
"""Bytes of a body that is not kept in memory until all of it is there."""


@pytest.fixture(scope="module")
async def small(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that takes 10 bytes at most."""
    async with serve(mode, tmp_path_factory.mktemp(f"ten-{mode}") / "data", max_size=10) as target:
        yield target


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_first_bytes(client: Client, server: Target, framing: str) -> None:
    """POST with a body stores it and says how far it came. (CWU-01, CWU-09)"""
    answer = await client.post({"Upload-Length": "100", **CT}, b"hello" if framing == "length" else chunked(b"hello"))
    assert answer.status == 201
    assert answer.body == b""
    assert answer.headers["Upload-Offset"] == "5"
    assert "Upload-Expires" in answer.headers
    url = answer.headers["Location"]
    assert await client.offset(url) == 5
    assert server.data_path(url).read_bytes() == b"hello"
    assert (await client.patch(url, 5, b" world")).headers["Upload-Offset"] == "11"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_all_bytes(client: Client, framing: str) -> None:
    """POST with the whole body finishes the upload. (CWU-02, CWU-09)"""
    answer = await client.post({"Upload-Length": "5", **CT}, b"hello" if framing == "length" else chunked(b"hello"))
    assert answer.status == 201
    assert answer.headers["Upload-Offset"] == "5"
    assert "Upload-Expires" not in answer.headers
    assert (await client.get(answer.headers["Location"])).body == b"hello"


@pytest.mark.parametrize("body", [b"", None], ids=["length", "chunked"])
@pytest.mark.parametrize("length", [0, 5])
async def test_no_bytes(client: Client, length: int, body: bytes | None) -> None:
    """A creation with upload that brings nothing also says how far it came. (CWU-03)"""
    answer = await client.post({"Upload-Length": str(length), **CT}, chunked() if body is None else body)
    assert answer.status == 201
    assert answer.headers["Upload-Offset"] == "0"
    head = await client.head(answer.headers["Location"])
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("0", str(length))
    assert (await client.get(answer.headers["Location"])).status == (404 if length else 200)


async def test_more_bytes_than_declared(client: Client, server: Target) -> None:
    """A body that is announced longer than the upload is 413; nothing is left of it. (CWU-04)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Length": "5", **CT}, b"hello worlds")
    check_refusal(answer, 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("length", [0, 5])
async def test_more_chunked_bytes_than_declared(client: Client, server: Target, length: int) -> None:
    """A chunked body that turns out too long is 413; nothing is left of it. (CWU-04, CWU-09)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Length": str(length), **CT}, chunked(b"hel", b"lo", b" world"))
    check_refusal(answer, 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("media_type", ["application/false", "text/plain", "application/x-www-form-urlencoded", None])
async def test_body_of_another_media_type(client: Client, server: Target, media_type: str | None, framing: str) -> None:
    """A body of any other type is 415 and nothing is made: dropping it silently would lose data. (CWU-05)"""
    headers = {"Upload-Length": "300", **({} if media_type is None else {"Content-Type": media_type})}
    with nothing_created(server):
        answer = await client.post(headers, b"hello" if framing == "length" else chunked(b"hello"))
    check_refusal(answer, 415, "ERR_INVALID_CONTENT_TYPE")


async def test_empty_body_of_another_media_type(client: Client) -> None:
    """Without a body its type does not matter. (CWU-05)"""
    answer = await client.post({"Upload-Length": "300", "Content-Type": "application/false"}, b"")
    assert answer.status == 201
    assert "Upload-Offset" not in answer.headers


async def test_first_bytes_of_a_deferred_length(client: Client) -> None:
    """The first bytes may come before the length is known. (CWU-06)"""
    answer = await client.post({"Upload-Defer-Length": "1", **CT}, b"hello")
    assert answer.status == 201
    assert answer.headers["Upload-Offset"] == "5"
    head = await client.head(answer.headers["Location"])
    assert head.headers["Upload-Offset"] == "5"
    assert head.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head.headers


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_final_upload_with_a_body(client: Client, server: Target, framing: str) -> None:
    """A final upload takes no bytes of its own: 403, nothing is made, the parts stay. (CWU-07)"""
    part = await client.upload(b"hello", Upload_Concat="partial")
    async with unchanged(client, server, part):
        with nothing_created(server):
            body = b"x" if framing == "length" else chunked(b"x")
            answer = await client.post({"Upload-Concat": f"final;{part}", **CT}, body)
    check_refusal(answer, 403, "ERR_MODIFY_FINAL")


async def test_partial_upload_with_a_body(client: Client) -> None:
    """A partial upload may come with its bytes, and be joined to others. (CWU-08)"""
    parts = []
    for data in (b"hello", b"world"):
        answer = await client.post({"Upload-Concat": "partial", "Upload-Length": "5", **CT}, data)
        assert answer.status == 201
        assert answer.headers["Upload-Offset"] == "5"
        parts.append(answer.headers["Location"])
    answer = await client.post({"Upload-Concat": "final;" + " ".join(parts)})
    assert (await client.get(answer.headers["Location"])).body == b"helloworld"


@pytest.mark.parametrize("ending", ["finish", "reset"])
async def test_cut_creation(client: Client, server: Target, ending: str) -> None:
    """When the connection ends in the middle, the upload exists with what had come, and will expire. (CWU-10)"""
    before = holdings(server)
    async with await Wire.open(server.url) as wire:
        wire.start("POST", server.url, {**T, **CT, "Upload-Length": str(LARGE), "Content-Length": str(LARGE)})
        wire.send(b"x" * 40)

        async def is_written() -> bool:
            made = {name.split()[1] for name in holdings(server) - before}
            return any(server.stored(f"/{name}") == 40 for name in made)

        await until(is_written)
        wire.finish() if ending == "finish" else wire.reset()
        (name,) = (name.removeprefix("row ") for name in holdings(server) - before if name.startswith("row "))

        async def is_kept() -> bool:
            return await client.offset(client.base + name) == 40

        await until(is_kept)
    head = await client.head(client.base + name)
    assert head.headers["Upload-Length"] == str(LARGE)
    assert "Upload-Expires" in head.headers
    assert (await client.patch(client.base + name, 40, b"y" * (LARGE - 40))).status == 204
    assert (await client.get(client.base + name)).body == b"x" * 40 + b"y" * (LARGE - 40)


async def test_cut_small_creation(client: Client, server: Target) -> None:
    """A small upload is made when its bytes have come, all of them or those before the end. (CWU-10)"""
    before = holdings(server)
    async with await Wire.open(server.url) as wire:
        wire.start("POST", server.url, {**T, **CT, "Upload-Length": "100", "Content-Length": "100"})
        wire.send(b"x" * 40)
        wire.finish()

        async def is_made() -> bool:
            return any(name.startswith("row ") for name in holdings(server) - before)

        await until(is_made)
    (name,) = (name.removeprefix("row ") for name in holdings(server) - before if name.startswith("row "))
    assert await client.offset(client.base + name) == 40
    assert (await client.patch(client.base + name, 40, b"y" * 60)).status == 204
    assert (await client.get(client.base + name)).body == b"x" * 40 + b"y" * 60


async def test_early_refusal_of_a_creation(small: Target) -> None:
    """A client that waits for 100 Continue learns that its upload is too large without sending it. (CWU-11)"""
    headers = {**T, **CT, "Upload-Length": "11", "Content-Length": "11", "Expect": "100-continue"}
    with nothing_created(small):
        async with await Wire.open(small.url) as wire:
            wire.start("POST", small.url, headers)
            answer = await wire.answer()
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")


@pytest.mark.parametrize("length", ["11", "30"])
async def test_early_refusal_of_a_deferred_creation(small: Target, length: str) -> None:
    """Where the length is deferred, that of the body is enough to be too large. (CWU-11, CRE-POST-11)"""
    headers = {**T, **CT, "Upload-Defer-Length": "1", "Content-Length": length, "Expect": "100-continue"}
    with nothing_created(small):
        async with await Wire.open(small.url) as wire:
            wire.start("POST", small.url, headers)
            answer = await wire.answer()
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")


async def test_deferred_chunked_creation_beyond_the_limit(small: Target, client_of) -> None:
    """A chunked body of unknown total is held to the limit, too; nothing is left of it. (CWU-04, CRE-POST-11)"""
    with nothing_created(small):
        answer = await client_of(small).post({"Upload-Defer-Length": "1", **CT}, chunked(b"x" * 11))
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")


@pytest.mark.parametrize("offset", ["0", "3", "junk"])
async def test_offset_of_the_request_is_ignored(client: Client, offset: str) -> None:
    """Creation begins at zero whatever Upload-Offset says; an override to what it is changes nothing. (CWU-12)"""
    headers = {"Upload-Length": "100", **CT, "Upload-Offset": offset, "X-HTTP-Method-Override": "POST"}
    answer = await client.post(headers, b"hello")
    assert answer.status == 201
    assert answer.headers["Upload-Offset"] == "5"


async def test_body_where_that_is_off(start_server, client_of) -> None:
    """Without the extension a POST with a body is 501 and makes nothing; without one it is fine. (CWU-01)"""
    target = await start_server(disable_extension=["creation-with-upload"])
    client = client_of(target)
    with nothing_created(target):
        answer = await client.post({"Upload-Length": "5", **CT}, b"hello")
    check_refusal(answer, 501, "ERR_NOT_IMPLEMENTED")
    answer = await client.post({"Upload-Length": "5", **CT}, b"")
    assert answer.status == 201
    assert "Upload-Offset" not in answer.headers
