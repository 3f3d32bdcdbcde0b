"""Creation-defer-length: the length comes with a later PATCH."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target, serve
from tests.support.state import check_refusal, nothing_created, unchanged
from tests.support.waiting import until
from tests.support.wire import Wire
from tests.web.test_creation_lengths import NOT_LENGTHS


@pytest.fixture(scope="module")
async def small(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that takes 10 bytes at most."""
    async with serve(mode, tmp_path_factory.mktemp(f"ten-{mode}") / "data", max_size=10) as target:
        yield target


async def begun(client: Client) -> str:
    """Create an upload of unknown length with five bytes in it."""
    url = await client.create(None)
    assert (await client.patch(url, 0, b"hello")).status == 204
    return url


async def test_length_with_all_bytes(client: Client) -> None:
    """Length and bytes may come together; that finishes the upload. (DEF-01)"""
    url = await client.create(None)
    answer = await client.patch(url, 0, b"hello worlds", {"Upload-Length": "12"})
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "12"
    head = await client.head(url)
    assert head.headers["Upload-Length"] == "12"
    assert "Upload-Defer-Length" not in head.headers
    assert (await client.get(url)).body == b"hello worlds"


async def test_bytes_without_a_length(client: Client) -> None:
    """Bytes may come before the length; the upload stays unfinished. (DEF-02)"""
    url = await client.create(None)
    answer = await client.patch(url, 0, b"hello")
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"
    head = await client.head(url)
    assert head.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head.headers
    assert (await client.get(url)).status == 404


async def test_length_alone_at_the_end(client: Client) -> None:
    """The length may come with no byte, when all are there already; that finishes the upload. (DEF-03)"""
    url = await begun(client)
    answer = await client.patch(url, 5, b"", {"Upload-Length": "5"})
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"
    assert (await client.head(url)).headers["Upload-Length"] == "5"
    assert (await client.get(url)).body == b"hello"


async def test_length_of_nothing(client: Client) -> None:
    """A deferred length may turn out to be zero. (DEF-03)"""
    url = await client.create(None)
    assert (await client.patch(url, 0, b"", {"Upload-Length": "0"})).status == 204
    answer = await client.get(url)
    assert (answer.status, answer.body) == (200, b"")


async def test_length_before_the_bytes(client: Client) -> None:
    """The length may be declared alone, in advance. (DEF-01)"""
    url = await client.create(None)
    assert (await client.patch(url, 0, b"", {"Upload-Length": "5"})).status == 204
    head = await client.head(url)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("0", "5")
    check_refusal(await client.patch(url, 0, b"hello!"), 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert (await client.patch(url, 0, b"hello")).status == 204


@pytest.mark.parametrize("known", ["by creation", "by patch"])
@pytest.mark.parametrize("length", ["9", "11", "5", "0"])
async def test_another_length(client: Client, server: Target, length: str, known: str) -> None:
    """A length that is known cannot change. (DEF-04)"""
    url = await client.create(10 if known == "by creation" else None)
    await client.patch(url, 0, b"hello", {} if known == "by creation" else {"Upload-Length": "10"})
    async with unchanged(client, server, url):
        for body in (b"", b"x"):
            answer = await client.patch(url, 5, body, {"Upload-Length": length})
            check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")


@pytest.mark.parametrize("known", ["by creation", "by patch"])
async def test_same_length_again(client: Client, known: str) -> None:
    """To repeat a length is no change: clients do after a lost answer. (DEF-05)"""
    url = await client.create(10 if known == "by creation" else None)
    for offset, body in ((0, b"hello"), (5, b""), (5, b"world"), (10, b"")):
        answer = await client.patch(url, offset, body, {"Upload-Length": "10"})
        assert answer.status == 204
        assert answer.offset == offset + len(body)
    assert (await client.get(url)).body == b"helloworld"


@pytest.mark.parametrize("length", ["0", "4"])
@pytest.mark.parametrize("body", [b"", b"x"], ids=["no body", "body"])
async def test_length_below_the_offset(client: Client, server: Target, length: str, body: bytes) -> None:
    """A length below what has arrived is refused and stays unknown. (DEF-06)"""
    url = await begun(client)
    async with unchanged(client, server, url):
        answer = await client.patch(url, 5, body, {"Upload-Length": length})
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")
    assert (await client.head(url)).headers["Upload-Defer-Length"] == "1"


@pytest.mark.parametrize("length", ["11", "9223372036854775807", "9223372036854775808"])
@pytest.mark.parametrize("body", [b"", b"x"], ids=["no body", "body"])
async def test_length_beyond_the_limit(small: Target, client_of, length: str, body: bytes) -> None:
    """A length beyond the limit is refused and stays unknown. (DEF-07)"""
    client = client_of(small)
    url = await begun(client)
    async with unchanged(client, small, url):
        answer = await client.patch(url, 5, body, {"Upload-Length": length})
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")
    assert answer.headers["Tus-Max-Size"] == "10"
    assert (await client.patch(url, 5, b"world", {"Upload-Length": "10"})).status == 204


async def test_length_below_the_body(client: Client, server: Target) -> None:
    """A length that the announced body exceeds is refused as a whole, before the body came. (DEF-08)"""
    url = await begun(client)
    async with unchanged(client, server, url), await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "5", "Upload-Length": "8", "Content-Length": "4"})
        check_refusal(await wire.answer(), 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert (await client.head(url)).headers["Upload-Defer-Length"] == "1"


@pytest.mark.parametrize("value", NOT_LENGTHS.values(), ids=NOT_LENGTHS)
async def test_length_that_is_no_number(client: Client, server: Target, value: str) -> None:
    """What is no length on POST is none on PATCH. (DEF-09)"""
    url = await begun(client)
    async with unchanged(client, server, url):
        answer = await client.patch(url, 5, b"world", {"Upload-Length": value})
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")


async def test_chunked_body_beyond_the_limit(small: Target, client_of) -> None:
    """A chunked body of unknown total ends at the limit; nothing beyond it is kept. (DEF-10)"""
    client = client_of(small)
    url = await begun(client)
    check_refusal(await client.patch(url, 5, chunked(b"wor", b"ld!", b"?")), 413, "ERR_MAX_SIZE_EXCEEDED")
    head = await client.head(url)
    assert head.offset <= 10
    assert head.headers["Upload-Defer-Length"] == "1"
    data = small.data_path(url).read_bytes()
    assert data == b"helloworld"[: len(data)]
    assert len(data) >= head.offset
    rest = b"helloworld"[head.offset :]
    assert (await client.patch(url, head.offset, rest, {"Upload-Length": "10"})).status == 204
    assert (await client.get(url)).body == b"helloworld"


async def test_announced_body_beyond_the_limit(small: Target, client_of) -> None:
    """A body announced to go beyond the limit is refused before it came. (DEF-11)"""
    client = client_of(small)
    url = await begun(client)
    async with unchanged(client, small, url), await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "5", "Content-Length": "6"})
        check_refusal(await wire.answer(), 413, "ERR_MAX_SIZE_EXCEEDED")


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_cut_patch_with_a_length(client: Client, framing: str) -> None:
    """When the connection ends in the middle, the length that came with it stays declared. (DEF-12)"""
    url = await begun(client)
    size = {"Content-Length": "7"} if framing == "length" else {"Transfer-Encoding": "chunked"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "5", "Upload-Length": "12", **size})
        wire.send(b" wor" if framing == "length" else b"4\r\n wor\r\n")
        await wire.flush()
        wire.finish()

        async def is_kept() -> bool:
            return await client.offset(url) == 9

        await until(is_kept)
    head = await client.head(url)
    assert head.headers["Upload-Length"] == "12"
    assert "Upload-Defer-Length" not in head.headers
    assert (await client.patch(url, 9, b"lds")).status == 204
    assert (await client.get(url)).body == b"hello worlds"


@pytest.mark.parametrize("offset", [0, 4, 6])
async def test_length_at_another_offset(client: Client, server: Target, offset: int) -> None:
    """A PATCH at the wrong offset declares nothing. (DEF-13)"""
    url = await begun(client)
    async with unchanged(client, server, url):
        answer = await client.patch(url, offset, b"x", {"Upload-Length": "10"})
    check_refusal(answer, 409, "ERR_MISMATCHED_OFFSET")
    assert answer.headers["Upload-Offset"] == "5"


async def test_deferred_part(client: Client, server: Target) -> None:
    """A partial upload of unknown length cannot be joined, however many bytes it has. (DEF-14)"""
    part = await client.create(None, Upload_Concat="partial")
    await client.patch(part, 0, b"hello")
    async with unchanged(client, server, part):
        with nothing_created(server):
            answer = await client.post({"Upload-Concat": f"final;{part}"})
    check_refusal(answer, 400, "ERR_UPLOAD_NOT_FINISHED")
    assert (await client.patch(part, 5, b"", {"Upload-Length": "5"})).status == 204
    assert (await client.post({"Upload-Concat": f"final;{part}"})).status == 201
