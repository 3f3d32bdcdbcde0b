"""POST: how the length is declared, and what is no length."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.support.client import Client, T
from tests.support.servers import Target
from tests.support.state import check_refusal, nothing_created
from tests.web.test_core_patch_refused import NOT_NUMBERS

NOT_LENGTHS = {
    **NOT_NUMBERS,
    "minus five": "-5",
    "plus five": "+5",
    "exponent": "1e3",
    "one and nothing": "1.0",
    "hexadecimal": "0x10",
    "thousands": "1_000",
    "thousands with comma": "1,000",
    "two": "1,1",
    "full width five": "\uff15",
    "arabic three": "\u0663",
    "no number": "NaN",
    "infinite": "Infinity",
    "unit": "10GiB",
}


@pytest.mark.parametrize("value", NOT_LENGTHS.values(), ids=NOT_LENGTHS)
async def test_creation_with_a_length_that_is_no_number(client: Client, server: Target, value: str) -> None:
    """Upload-Length must be digits of a 63-bit number; anything else makes nothing. (CRE-POST-08, row 1)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Length": value})
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")
    assert "Location" not in answer.headers


@pytest.mark.parametrize("values", [("5", "6"), ("5", ""), ("5", "05")])
async def test_creation_with_two_lengths(client: Client, server: Target, values: tuple[str, str]) -> None:
    """Two Upload-Length lines that differ are 400. (CRE-POST-08)"""
    headers = CIMultiDict([*T.items(), *(("Upload-Length", value) for value in values)])
    with nothing_created(server):
        answer = await client.send("POST", None, headers)
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")


async def test_creation_just_beyond_all_numbers(client: Client, server: Target) -> None:
    """Without a limit, 2**63 is no length that can be stored: 400. (CRE-POST-09, row 1)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Length": str(2**63)})
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")


async def test_creation_of_the_largest_upload(client: Client, server: Target) -> None:
    """2**63 - 1 bytes can be declared; no space is taken for them. (CRE-POST-10, row 2)"""
    url = await client.create(2**63 - 1)
    try:
        head = await client.head(url)
        assert head.headers["Upload-Length"] == "9223372036854775807"
        answer = await client.patch(url, 0, b"hello")
        assert answer.headers["Upload-Offset"] == "5"
        stat = server.data_path(url).stat()
        assert stat.st_size == 5
        assert stat.st_blocks * 512 <= 64 * 1024
    finally:
        await client.delete(url)


@pytest.mark.parametrize("defer", ["1", "0"])
async def test_creation_with_both(client: Client, server: Target, defer: str) -> None:
    """A length and the promise of one cannot come together. (CRE-POST-12, row 4)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Length": "5", "Upload-Defer-Length": defer})
    check_refusal(answer, 400, "ERR_AMBIGUOUS_UPLOAD_LENGTH")


@pytest.mark.parametrize("headers", [{}, {"Upload-Metadata": "a YQ=="}, {"Upload-Concat": "partial"}])
async def test_creation_with_neither(client: Client, server: Target, headers: dict[str, str]) -> None:
    """Without a length, and without the promise of one, nothing is made. (CRE-POST-13, row 4)"""
    with nothing_created(server):
        answer = await client.post(headers)
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH")


@pytest.mark.parametrize("value", ["0", "2", "true", "", "1, 1", "01", "+1", "-1", "\uff11"])
async def test_creation_with_a_bad_promise(client: Client, server: Target, value: str) -> None:
    """Upload-Defer-Length is 1 or wrong. (CRE-POST-14, row 4)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Defer-Length": value})
    check_refusal(answer, 400, "ERR_INVALID_UPLOAD_LENGTH_DEFER")


async def test_creation_with_a_promise(client: Client) -> None:
    """Upload-Defer-Length: 1 makes an upload whose length comes later. (CRE-POST-13, CRE-POST-14)"""
    answer = await client.post({"Upload-Defer-Length": "1"})
    assert answer.status == 201
    assert (await client.head(answer.headers["Location"])).headers["Upload-Defer-Length"] == "1"


async def test_creation_with_a_promise_where_that_is_off(start_server, client_of) -> None:
    """Without the extension a deferred length is 501, and nothing is made. (CRE-POST-15)"""
    target = await start_server(disable_extension=["creation-defer-length"])
    client = client_of(target)
    with nothing_created(target):
        answer = await client.post({"Upload-Defer-Length": "1"})
    check_refusal(answer, 501, "ERR_NOT_IMPLEMENTED")
    assert await client.offset(await client.create(5)) == 0
