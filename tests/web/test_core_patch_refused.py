"""PATCH: offsets and sizes that are refused, and that a refusal changes nothing."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target
from tests.support.state import check_refusal, unchanged
from tests.support.wire import Wire

NOT_NUMBERS = {
    "negative": "-1",
    "word": "abc",
    "fraction": "1.5",
    "plus": "+0",
    "hexadecimal": "0x0",
    "underscore": "1_0",
    "exponent": "0e0",
    "full width": "\uff10",
    "arabic": "\u0660",
    "superscript": "\u00b2",
    "no-break space": "\u00a00",
    "empty": "",
    "list": "0, 0",
    "two words": "0 0",
    "minus zero": "-0",
    "2**63": "9223372036854775808",
    "5000 digits": "9" * 5000,
    "5000 zeros": "0" * 5000,
}


@pytest.mark.parametrize("offset", [0, 4, 6, 100, 101, 2**63 - 1])
@pytest.mark.parametrize("body", [b"hello", b""], ids=["body", "no body"])
async def test_patch_at_another_offset(client: Client, server: Target, offset: int, body: bytes) -> None:
    """Any offset but the current one is 409 with the current one, and changes nothing. (CORE-PATCH-06)"""
    url = await client.create(100)
    await client.patch(url, 0, b"12345")
    async with unchanged(client, server, url):
        answer = await client.patch(url, offset, body)
    check_refusal(answer, 409, "ERR_MISMATCHED_OFFSET")
    assert answer.headers["Upload-Offset"] == "5"


async def test_patch_at_another_offset_of_a_finished_upload(client: Client, server: Target) -> None:
    """A finished upload cannot be written again from the start. (CORE-PATCH-06)"""
    url = await client.upload(b"hello")
    async with unchanged(client, server, url):
        answer = await client.patch(url, 0, b"jello")
    check_refusal(answer, 409, "ERR_MISMATCHED_OFFSET")
    assert answer.headers["Upload-Offset"] == "5"


async def test_patch_without_an_offset(client: Client, server: Target) -> None:
    """PATCH without Upload-Offset is 400 and changes nothing. (CORE-PATCH-07)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        answer = await client.send("PATCH", url, {**T, **CT}, b"hello")
    check_refusal(answer, 400, "ERR_INVALID_OFFSET")


@pytest.mark.parametrize("value", NOT_NUMBERS.values(), ids=NOT_NUMBERS)
async def test_patch_with_an_offset_that_is_no_number(client: Client, server: Target, value: str) -> None:
    """Upload-Offset must be digits of a 63-bit number, nothing that int() would also take. (CORE-PATCH-08, row 7)"""
    url = await client.create(10)
    async with unchanged(client, server, url):
        answer = await client.patch(url, value, b"hello")
    check_refusal(answer, 400, "ERR_INVALID_OFFSET")


@pytest.mark.parametrize("values", [("0", "1"), ("1", "0"), ("0", "00"), ("0", "")])
async def test_patch_with_two_offsets(client: Client, server: Target, values: tuple[str, str]) -> None:
    """Two Upload-Offset lines that differ are 400, even when one of them is right. (CORE-PATCH-08, row 7)"""
    url = await client.create(10)
    headers = CIMultiDict([*T.items(), *CT.items(), *(("Upload-Offset", value) for value in values)])
    async with unchanged(client, server, url):
        answer = await client.send("PATCH", url, headers, b"hello")
    check_refusal(answer, 400, "ERR_INVALID_OFFSET")


@pytest.mark.parametrize("size", [8, 2**31, 2**63 - 1])
async def test_patch_announcing_too_much(client: Client, server: Target, size: int) -> None:
    """A Content-Length beyond what is missing is 413 before a byte of the body came. (CORE-PATCH-10, row 5)"""
    url = await client.create(5)
    async with unchanged(client, server, url), await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "0", "Content-Length": str(size)})
        check_refusal(await wire.answer(), 413, "ERR_UPLOAD_SIZE_EXCEEDED")


async def test_patch_announcing_more_than_any_upload(client: Client, server: Target) -> None:
    """With a deferred length, offset and Content-Length must not add up beyond 63 bits. (CORE-PATCH-10, row 5)"""
    url = await client.create(None)
    await client.patch(url, 0, b"x")
    async with unchanged(client, server, url), await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "1", "Content-Length": str(2**63 - 1)})
        answer = await wire.answer()
        assert answer.status == 413
        assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_patch_with_one_byte_too_many(client: Client, server: Target) -> None:
    """A body that is sent, and is one byte too long, is refused as a whole. (CORE-PATCH-10)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        answer = await client.patch(url, 0, b"hello!")
    check_refusal(answer, 413, "ERR_UPLOAD_SIZE_EXCEEDED")


async def test_chunked_patch_with_one_byte_too_many(client: Client) -> None:
    """A chunked body one byte too long is 413; the offset is never beyond the length. (row 6, CORE-BODY-02)"""
    url = await client.create(5)
    answer = await client.patch(url, 0, chunked(b"hello!"))
    check_refusal(answer, 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert await client.offset(url) == 5
    assert (await client.get(url)).body == b"hello"


@pytest.mark.parametrize("offset", [0, 3, 10, 11])
@pytest.mark.parametrize("body", [b"", b"x", b"hello"], ids=["no body", "one byte", "body"])
async def test_patch_of_a_final_upload(client: Client, server: Target, offset: int, body: bytes) -> None:
    """A final upload cannot be written: 403, whatever the offset; it and its parts stay. (CORE-PATCH-11)"""
    parts = [await client.upload(data, Upload_Concat="partial") for data in (b"hello", b"world")]
    created = await client.post({"Upload-Concat": "final;" + " ".join(parts)})
    final = created.headers["Location"]
    async with unchanged(client, server, final, *parts):
        answer = await client.patch(final, offset, body)
    check_refusal(answer, 403, "ERR_MODIFY_FINAL")
    assert (await client.get(final)).body == b"helloworld"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("size", [1, 1000])
async def test_patch_behind_the_end(client: Client, server: Target, framing: str, size: int) -> None:
    """A finished upload takes no further byte: 413, unchanged. (CORE-PATCH-13)"""
    url = await client.upload(b"hello")
    body = b"x" * size
    async with unchanged(client, server, url):
        answer = await client.patch(url, 5, body if framing == "length" else chunked(body))
    check_refusal(answer, 413, "ERR_UPLOAD_SIZE_EXCEEDED")
