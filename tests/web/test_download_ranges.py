"""GET of a part of an upload: one range, correctly, or the whole (protocol GET-02, reliability 5.2 row 29)."""

from __future__ import annotations

import itertools
import os

import pytest

from tests.support.client import Client
from tests.support.servers import Target
from tests.support.wire import Wire

DATA = b"0123456789"


@pytest.mark.parametrize(
    ("value", "start", "end"),
    [
        ("bytes=2-4", 2, 4),
        ("bytes=0-0", 0, 0),
        ("bytes=9-9", 9, 9),
        ("bytes=5-", 5, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-1", 9, 9),
        ("bytes=0-8", 0, 8),
        ("bytes=8-1000", 8, 9),
        ("bytes=8-9999999999999999999", 8, 9),
        ("bytes=0002-0004", 2, 4),
    ],
)
async def test_one_range(client: Client, value: str, start: int, end: int) -> None:
    """One range is answered with exactly these bytes, and says which they are. (GET-02)"""
    answer = await client.get(await client.upload(DATA), {"Range": value})
    assert (answer.status, answer.body) == (206, DATA[start : end + 1])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end}/10"
    assert answer.headers["Content-Length"] == str(end - start + 1)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-9", "bytes=-10", "bytes=-11", "bytes=-9999999999999999999"])
async def test_range_of_everything(client: Client, value: str) -> None:
    """A range that is the whole upload has all its bytes, as 206: players then know they may seek. (GET-02, row 29)"""
    answer = await client.get(await client.upload(DATA), {"Range": value})
    assert answer.body == DATA
    assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes 0-{len(DATA) - 1}/{len(DATA)}")


@pytest.mark.parametrize(
    "value", ["bytes=10-", "bytes=10-12", "bytes=1000-2000", "bytes=9999999999999999999-", "bytes=-0"]
)
async def test_past_the_end(client: Client, value: str) -> None:
    """A range behind the last byte is refused with the real size, and brings no bytes. (GET-02)"""
    answer = await client.get(await client.upload(DATA), {"Range": value})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")
    assert DATA not in answer.body


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1"])
async def test_empty_upload_has_no_range(client: Client, value: str) -> None:
    """Of no bytes there is no part: 416, or the whole nothing. (GET-02, GET-04)"""
    answer = await client.get(await client.create(0), {"Range": value})
    assert answer.status in (200, 416)
    if answer.status == 416:
        assert answer.headers["Content-Range"] == "bytes */0"
    else:
        assert answer.body == b""


@pytest.mark.parametrize(
    "value",
    [
        "bytes=0-1,3-4", "bytes=0-0,-1", "bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), "bytes=0-,0-,0-",
        "bytes=4-2", "bytes=", "bytes=-", "bytes", "", "bytes=a-b", "bytes=1-b", "bytes=--1", "bytes=1", "bytes=1-2-3",
        "lines=1-2", "bytes=0x1-2", "bytes=+1-2", "bytes=1_0-20", "bytes=1.0-2", "bytes=\u0660-", "bytes=\u00b2-",
        "bytes=99999999999999999999999-", "bytes = 1-2",
    ],
    ids=lambda value: ascii(value)[1:20],
)  # fmt: skip
async def test_other_ranges_are_ignored(client: Client, server: Target, value: str) -> None:
    """Several ranges, and what is no range at all, bring the whole upload once. (GET-02, row 29)"""
    url = await client.upload(DATA)
    async with await Wire.open(server.url) as wire:
        wire.start("GET", url, {"Range": value})
        answer = await wire.answer()
    if answer.status == 416:
        assert answer.headers["Content-Range"] == "bytes */10"
    else:
        assert (answer.status, answer.body) == (200, DATA)
        assert "Content-Range" not in answer.headers


@pytest.mark.parametrize("field", ["ETag", "Last-Modified"])
async def test_if_range_holds(client: Client, field: str) -> None:
    """Who knows the file as it is gets the part. (GET-02)"""
    url = await client.upload(DATA)
    validator = (await client.get(url)).headers[field]
    answer = await client.get(url, {"Range": "bytes=2-4", "If-Range": validator})
    assert (answer.status, answer.body) == (206, b"234")


@pytest.mark.parametrize(
    "validator", ['"stale"', "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2037 00:00:00 GMT", "garbage", 'W/"x"', ""]
)
async def test_if_range_is_stale(client: Client, validator: str) -> None:
    """Who knows another file gets the whole one: parts of two files must not be joined. (GET-02)"""
    answer = await client.get(await client.upload(DATA), {"Range": "bytes=2-4", "If-Range": validator})
    assert (answer.status, answer.body) == (200, DATA)


async def test_weak_tag_is_no_reason_for_a_part(client: Client) -> None:
    """If-Range needs a strong validator (RFC 9110, 13.1.5). (GET-02)"""
    url = await client.upload(DATA)
    tag = (await client.get(url)).headers["ETag"]
    answer = await client.get(url, {"Range": "bytes=2-4", "If-Range": f"W/{tag}"})
    assert (answer.status, answer.body) == (200, DATA)


async def test_parts_of_a_large_upload_join(client: Client) -> None:
    """A file that is fetched in parts, across the steps of a transfer, is the file. (GET-02)"""
    data = os.urandom(700_000)
    url = await client.upload(data)
    edges = [0, 1, 262_143, 262_145, 524_288, 700_000]
    parts = [await client.get(url, {"Range": f"bytes={start}-{end - 1}"}) for start, end in itertools.pairwise(edges)]
    assert [part.status for part in parts] == [206] * 5
    assert b"".join(part.body for part in parts) == data
