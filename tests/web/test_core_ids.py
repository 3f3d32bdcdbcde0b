"""Ids: only those that the server gave out name anything, and none can be guessed."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target, embedded
from tests.support.state import check_refusal, holdings, nothing_created

UNKNOWN = "0123456789abcdef0123456789abcdef"
BAD = {
    "parent": "../x",
    "encoded parent": "%2e%2e%2f",
    "encoded parent of data": "..%2f..%2fuploads.sqlite3",
    "backslash": "..%5c",
    "backslash plain": "..\\x",
    "nul": "%00",
    "nul behind": "a%00b",
    "slash inside": "a%2fb",
    "overlong": "%c0%ae",
    "dot": "%2e",
    "dots": "%2e%2e",
    "info": "x.info",
    "tmp": "x.tmp",
    "hidden": ".x",
    "long": "a" * 256,
    "very long": "a" * 4000,
    "segments": "a/b",
    "absolute": "%2fetc%2fpasswd",
    "double slash": "/etc/passwd",
    "line break": "a%0d%0aSet-Cookie:x",
    "space": "a%20b",
    "semicolon": "a;b",
    "full width": "%ef%bc%91",
    "not utf-8": "%ff",
    "bad escape": "%zz",
}


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
async def test_what_cannot_be_an_id(client: Client, server: Target, name: str) -> None:
    """What is no id is answered as an unknown one, in the same words, and touches nothing. (row 16)"""
    expected = await client.patch(client.base + UNKNOWN, 0, b"hello")
    with nothing_created(server):
        for method in ("PATCH", "DELETE", "GET", "HEAD"):
            answer = await client.send(method, client.base + name, {**T, **CT, "Upload-Offset": "0"}, b"")
            assert answer.status == 404, method
            assert "Upload-Offset" not in answer.headers
            assert answer.body == (b"" if method == "HEAD" else expected.body)
    check_refusal(expected, 404, "ERR_UPLOAD_NOT_FOUND")


async def test_neighbours_of_an_id(client: Client, server: Target) -> None:
    """Nothing but the exact id names an upload: no other case, suffix, prefix or part of it. (row 16)"""
    url = await client.create(5)
    base, _, name = url.rpartition("/")
    before = holdings(server)
    for other in (name.upper(), name.title(), name + ".info", name[:-1], name[:2], name + "0", f"{name[:2]}/{name}"):
        if other == name:
            continue
        assert (await client.head(f"{base}/{other}")).status == 404, other
        assert (await client.patch(f"{base}/{other}", 0, b"hello")).status == 404, other
        assert (await client.delete(f"{base}/{other}")).status == 404, other
    assert holdings(server) == before
    assert await client.offset(url) == 0


async def test_ids_are_long_and_different(client: Client) -> None:
    """Ids hold at least 128 bits and share nothing with each other. (row 21, CRE-POST-06)"""
    names = [(await client.create(1)).rsplit("/", 1)[1] for _ in range(32)]
    assert all(re.fullmatch(r"[0-9a-f]{32,}", name) for name in names)
    assert len({name[:12] for name in names}) == len(names)
    assert len({name[-12:] for name in names}) == len(names)
    # Bits that never change would carry no secret: 32 random ones leave a bit alike once in 2 ** 31.
    numbers = [int(name, 16) for name in names]
    stuck = sum(len({number >> bit & 1 for number in numbers}) == 1 for bit in range(len(names[0]) * 4))
    assert stuck == 0


async def test_clients_do_not_choose_ids(client: Client, server: Target) -> None:
    """No header and no path of a creation makes an upload under a chosen name. (row 22)"""
    for method in ("POST", "PUT"):
        with nothing_created(server):
            answer = await client.send(method, client.base + "chosen", {**T, "Upload-Length": "5"})
            assert answer.status == 405
    headers = {"Upload-Length": "5", "Upload-Key": "chosen", "Upload-Id": "chosen", "Slug": "chosen"}
    answer = await client.post({**headers, "Upload-Metadata": "id Y2hvc2Vu,filename Li4vLi4veA=="})
    assert answer.status == 201
    assert re.fullmatch(r"[0-9a-f]{32,}", answer.headers["Location"].rsplit("/", 1)[1])


async def test_ids_are_not_logged(tmp_path: Path, client_of, caplog: pytest.LogCaptureFixture) -> None:
    """Who reads the log of a quiet life learns no id: an id is the right to an upload. (row 21)"""
    caplog.set_level(logging.INFO)
    async with embedded(tmp_path / "data") as target:
        client = client_of(target)
        url = await client.upload(b"hello")
        await client.get(url)
        await client.head(url)
        await client.patch(url, 1, b"x")
        await client.delete(url)
        await client.head(url)
    name = url.rsplit("/", 1)[1]
    # The access log is aiohttp's and belongs to the host; ours is what counts here.
    ours = [record for record in caplog.records if record.name.startswith("tusd_py")]
    assert not [record for record in ours if name in record.getMessage() or name in str(record.__dict__)]
