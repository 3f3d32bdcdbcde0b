"""Idempotency-Key on POST: a creation whose answer was lost is found again, and nothing is made a second time."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target, embedded
from tests.support.state import check_refusal, holdings, nothing_created, unchanged
from tests.support.timed import STORES, Timed, name_of, timed
from tests.support.waiting import until
from tests.support.wire import Wire

LARGE = 100_000
"""Bytes of a body that is not kept in memory until all of it is there."""
PART = {"Upload-Concat": "partial"}
WAYS: dict[str, tuple[dict[str, str], bytes | None]] = {
    "empty": ({"Upload-Length": "0"}, None),
    "open": ({"Upload-Length": "9"}, None),
    "deferred": ({"Upload-Defer-Length": "1"}, None),
    "partial": ({"Upload-Length": "9", **PART}, None),
    "metadata": ({"Upload-Length": "9", "Upload-Metadata": "filename YS50eHQ="}, None),
    "with none": ({"Upload-Length": "9", **CT}, b""),
    "with some": ({"Upload-Length": "9", **CT}, b"hello"),
    "with all": ({"Upload-Length": "5", **CT}, b"hello"),
    "with some of much": ({"Upload-Length": "1000000", **CT}, b"a" * LARGE),
    "with much": ({"Upload-Length": str(LARGE), **CT}, b"a" * LARGE),
}


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def made_since(target: Target, before: set[str]) -> set[str]:
    """Return the ids of the uploads that are new; nothing else is."""
    new = holdings(target) - before
    rows = {name.removeprefix("row ") for name in new if name.startswith("row ")}
    assert {name.removeprefix("file ") for name in new if name.startswith("file ")} <= rows
    return rows


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_upload(client: Client, server: Target, way: str) -> None:
    """The second request has the URL and the offset of the first, and makes nothing; what the key is written in
    does not matter.
    """
    fields, body = WAYS[way]
    key = new_key()
    first = await client.post({**fields, **key}, body)
    url = first.headers["Location"]
    async with unchanged(client, server, url):
        with nothing_created(server):
            for again in (key, {"Idempotency-Key": key["Idempotency-Key"].strip('"')}):
                answer = await client.post({**fields, **again}, body)
                assert (answer.status, answer.headers["Location"], answer.body) == (201, url, b"")
                assert answer.headers.get("Upload-Offset") == first.headers.get("Upload-Offset")
                assert answer.headers.get("Upload-Expires") == first.headers.get("Upload-Expires")
                assert answer.headers.get("Link") == first.headers.get("Link")


async def test_without_a_key(client: Client, server: Target) -> None:
    """Without a key the same request makes another upload each time, with the key of another creation too."""
    before = holdings(server)
    for headers in ({}, {}, new_key(), new_key()):
        assert (await client.post({"Upload-Length": "5", **headers})).status == 201
    assert len(made_since(server, before)) == 4


@pytest.mark.parametrize(
    "key",
    ["", "x", "a" * 15, "a" * 129, '"order 1234567890"', '"' + "a" * 20, "a" * 16 + ";v=1", "é" * 20, "a" * 8000],
    ids=["empty", "letter", "short", "long", "space", "quote", "parameter", "letters", "huge"],
)
async def test_keys_of_others(client: Client, server: Target, key: str) -> None:
    """What is no key of ours breaks nothing, and finds nothing: each request makes an upload."""
    before = holdings(server)
    for _ in range(2):
        answer = await client.post({"Upload-Length": "5", "Idempotency-Key": key, **CT}, b"hello")
        assert (answer.status, answer.offset) == (201, 5)
    assert len(made_since(server, before)) == 2


async def test_goes_on(client: Client) -> None:
    """The answer says how far the upload has come meanwhile, also to a request without bytes."""
    headers = {"Upload-Length": "10", **new_key()}
    url = (await client.post(headers)).headers["Location"]
    assert "Upload-Offset" not in (await client.post(headers)).headers
    await client.patch(url, 0, b"hello")
    assert (await client.post(headers)).offset == 5
    await client.patch(url, 5, b"world")
    answer = await client.post(headers)
    assert (answer.offset, answer.headers["Location"]) == (10, url)
    assert 'rel="describedby"' in answer.headers["Link"]
    assert (await client.get(url)).body == b"helloworld"


async def test_a_length_that_came_later(client: Client) -> None:
    """The request counts as it was, whatever the upload has become: a deferred length stays deferred in it."""
    headers = {"Upload-Defer-Length": "1", **new_key()}
    url = (await client.post(headers)).headers["Location"]
    await client.patch(url, 0, b"hello", {"Upload-Length": "5"})
    answer = await client.post(headers)
    assert (answer.status, answer.headers["Location"], answer.offset) == (201, url, 5)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_bytes_of_the_second(client: Client, server: Target, framing: str) -> None:
    """Bytes of the second request are not stored, even where the upload has none yet."""
    for first in (b"", b"hello"):
        headers = {"Upload-Length": "10", **CT, **new_key()}
        url = (await client.post(headers, first)).headers["Location"]
        async with unchanged(client, server, url):
            answer = await client.post(headers, b"HELLO" if framing == "length" else chunked(b"HELLO"))
            assert (answer.status, answer.offset, answer.headers["Location"]) == (201, len(first), url)


@pytest.mark.timeout(30)
async def test_large_body_of_the_second(client: Client, server: Target) -> None:
    """A client that sends much without waiting can read the answer; nothing of it is stored. (CORE-BODY-12)"""
    size = 20 * 2**20
    headers = {**T, **CT, "Upload-Length": str(size), **new_key()}
    url = (await client.post({**headers, "Content-Length": "0"})).headers["Location"]
    async with await Wire.open(url) as wire:
        wire.start("POST", client.base, {**headers, "Content-Length": str(size)})
        for _ in range(20):
            wire.send(bytes(2**20))
            await wire.flush()
        answer = await wire.answer()
        assert (answer.status, answer.headers["Location"], answer.headers["Upload-Offset"]) == (201, url, "0")
    assert server.stored(url) == 0


async def test_connection_goes_on(client: Client) -> None:
    """The connection of the second request is in step for the next one. (CORE-BODY-13)"""
    headers = {**T, **CT, "Upload-Length": "2000", **new_key()}
    url = (await client.post(headers)).headers["Location"]
    async with await Wire.open(url) as wire:
        wire.start("POST", client.base, {**headers, "Content-Length": "1024"})
        wire.send((b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n" * 40)[:1024])
        assert (await wire.answer()).headers["Location"] == url
        wire.start("HEAD", url, T)
        assert (await wire.answer(head=True)).headers["Upload-Offset"] == "0"


async def test_who_waits_to_be_asked(client: Client) -> None:
    """A client that waits for 100 Continue gets the answer instead, and need not send its bytes."""
    headers = {**T, **CT, "Upload-Length": "10", **new_key()}
    url = (await client.post(headers)).headers["Location"]
    async with await Wire.open(url) as wire:
        wire.start("POST", client.base, {**headers, "Content-Length": "10", "Expect": "100-continue"})
        answer = await wire.answer()
        assert (answer.status, answer.headers["Location"]) == (201, url)
        assert await wire.closed() == b""


@pytest.mark.parametrize(
    "other",
    [
        {"Upload-Length": "11"},
        {"Upload-Defer-Length": "1"},
        {"Upload-Length": "10", **PART},
        {"Upload-Length": "10", "Upload-Metadata": "a YQ=="},
        {"Upload-Concat": "final;{part}"},
    ],
    ids=["length", "deferred", "partial", "metadata", "final"],
)
async def test_another_request(client: Client, server: Target, other: dict[str, str]) -> None:
    """The same key with another request is 422; the upload is as it was, and nothing else is made."""
    part = await client.upload(b"hello", Upload_Concat="partial")
    key = new_key()
    url = (await client.post({"Upload-Length": "10", **key})).headers["Location"]
    async with unchanged(client, server, url):
        with nothing_created(server):
            headers = {name: value.format(part=part) for name, value in other.items()}
            answer = await client.post({**headers, **key})
    check_refusal(answer, 422, "ERR_IDEMPOTENCY_KEY_REUSED")
    assert "Location" not in answer.headers


async def test_removed(client: Client, server: Target) -> None:
    """When the upload was removed, the key is free, for another request too."""
    before = holdings(server)
    key = new_key()
    first = (await client.post({"Upload-Length": "10", **key})).headers["Location"]
    assert (await client.delete(first)).status == 204
    second = (await client.post({"Upload-Length": "11", **key})).headers["Location"]
    assert second != first
    assert made_since(server, before) == {name_of(second)}


async def test_final(client: Client, server: Target) -> None:
    """A final upload is found, too, and also when its parts are gone."""
    parts = [await client.upload(data, Upload_Concat="partial") for data in (b"hello", b"world")]
    headers = {"Upload-Concat": "final;" + " ".join(parts), **new_key()}
    first = await client.post(headers)
    url = first.headers["Location"]
    with nothing_created(server):
        assert (await client.post(headers)).headers["Location"] == url
    for part in parts:
        assert (await client.delete(part)).status == 204
    again = await client.post(headers)
    assert (again.status, again.headers["Location"]) == (201, url)
    assert again.headers.keys() == first.headers.keys()
    assert (await client.get(url)).body == b"helloworld"


@pytest.mark.parametrize("size", [1000, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("ending", ["finish", "reset"])
async def test_cut_creation(client: Client, server: Target, ending: str, size: int) -> None:
    """An upload whose first request was cut in the middle is found with the bytes that came. (CWU-10)"""
    before = holdings(server)
    headers = {**T, **CT, "Upload-Length": str(size), **new_key()}
    async with await Wire.open(server.url) as wire:
        wire.start("POST", server.url, {**headers, "Content-Length": str(size)})
        wire.send(b"x" * 40)
        await until(lambda: _has_written(server, before, 40))
        wire.finish() if ending == "finish" else wire.reset()

        async def is_kept() -> bool:
            return (await client.post(headers)).offset == 40

        await until(is_kept)
    url = (await client.post(headers)).headers["Location"]
    assert made_since(server, before) == {name_of(url)}
    assert (await client.patch(url, 40, b"y" * (size - 40))).status == 204
    assert (await client.get(url)).body == b"x" * 40 + b"y" * (size - 40)


@pytest.mark.parametrize("size", [1000, LARGE], ids=["small", "large"])
async def test_while_the_first_receives(client: Client, server: Target, size: int) -> None:
    """The second has its answer while the first is still sending, and the first goes on to its end."""
    before = holdings(server)
    headers = {**T, **CT, "Upload-Length": str(size), **new_key()}
    async with await Wire.open(server.url) as wire:
        url = await _begin(wire, client, server, headers, size)
        wire.send(b"x" * (size - 40))
        answer = await wire.answer()
        assert (answer.status, answer.headers["Location"], answer.headers["Upload-Offset"]) == (201, url, str(size))
    assert made_since(server, before) == {name_of(url)}
    assert (await client.get(url)).body == b"x" * size


@pytest.mark.parametrize("size", [1000, LARGE], ids=["small", "large"])
async def test_taking_over_from_the_first(client: Client, server: Target, size: int) -> None:
    """A PATCH to the URL that the second was told takes over from the first; what that has sent counts."""
    headers = {**T, **CT, "Upload-Length": str(size), **new_key()}
    async with await Wire.open(server.url) as wire:
        url = await _begin(wire, client, server, headers, size)
        refused = await client.patch(url, 5, b"y")
        assert (refused.status, refused.headers["Upload-Offset"]) == (409, "40")
        answer = await wire.answer()
        assert (answer.status, answer.code) == (400, "ERR_UPLOAD_INTERRUPTED")
        assert await wire.closed() == b""
    assert (await client.patch(url, 40, b"y" * (size - 40))).status == 204
    assert (await client.get(url)).body == b"x" * 40 + b"y" * (size - 40)


async def _begin(wire: Wire, client: Client, server: Target, headers: dict[str, str], size: int) -> str:
    """Send 40 bytes of a creation, wait until they are stored and ask for the creation again; return the URL."""
    before = holdings(server)
    wire.start("POST", server.url, {**headers, "Content-Length": str(size)})
    wire.send(b"x" * 40)
    await until(lambda: _has_written(server, before, 40))
    answer = await client.post(headers)
    assert (answer.status, answer.offset in (0, 40)) == (201, True)
    assert {name_of(answer.headers["Location"])} == made_since(server, before)
    return answer.headers["Location"]


async def _has_written(server: Target, before: set[str], size: int) -> bool:
    return any(server.stored(f"/{name.split()[1]}") == size for name in holdings(server) - before)


@pytest.mark.parametrize("way", ["open", "with all", "with much", "final"])
async def test_many_at_once(client: Client, server: Target, way: str) -> None:
    """Of twenty equal requests at once one makes an upload, and all are told of it."""
    if way == "final":
        part = await client.upload(b"hello", Upload_Concat="partial")
        fields, body, size = {"Upload-Concat": f"final;{part} {part}"}, None, 10
    else:
        fields, body = WAYS[way]
        size = len(body or b"")
    before = holdings(server)
    headers = {**fields, **new_key()}
    answers = await asyncio.gather(*(client.post(headers, body) for _ in range(20)))
    assert [answer.status for answer in answers] == [201] * 20
    (url,) = {answer.headers["Location"] for answer in answers}
    assert made_since(server, before) == {name_of(url)}
    assert await client.offset(url) == size


async def test_in_no_log(tmp_path: Path, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    """A key is a secret: no record of ours shows it, whatever happens."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "aiosqlite")
    async with embedded(tmp_path / "data") as target:
        client = Client(session, target.url)
        key = new_key()
        answers = [await client.post({"Upload-Length": length, **key}) for length in ("5", "5", "6")]
        assert [answer.status for answer in answers] == [201, 201, 422]
        await client.patch(answers[0].headers["Location"], 0, b"hello")
        await client.delete(answers[0].headers["Location"])
    secret = key["Idempotency-Key"].strip('"')
    assert not [record for record in caplog.records if secret in repr(record.__dict__)]


@pytest.fixture(params=STORES)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Timed]:
    """A server whose time stands still, with uploads that live for an hour."""
    async with timed(request.param, tmp_path, expire_after=3600.0) as house:
        yield house


async def test_expired(house: Timed, session: aiohttp.ClientSession) -> None:
    """When the time of the upload ran out, the key is for a new one, whether or not it was removed already."""
    guest = Client(session, house.url)
    headers = {"Upload-Length": "10", **CT, **new_key()}
    urls = []
    for swept in (False, True, False):
        answer = await guest.post(headers, b"hello")
        assert (answer.status, answer.offset) == (201, 5)
        urls.append(answer.headers["Location"])
        assert await house.rows() == await house.stored() == {name_of(urls[-1])}
        house.clock.advance(3601)
        assert (await guest.head(urls[-1])).status == 410
        if swept:
            assert await house.sweeper.sweep() == 1
    assert len(set(urls)) == 3


async def test_while_it_is_copied(house: Timed, session: aiohttp.ClientSession) -> None:
    """Who asks again for a final upload that is being copied waits for it; one is made. (CAT-20)"""
    guest = Client(session, house.url)
    part = await guest.upload(b"abc", Upload_Concat="partial")
    headers = {"Upload-Concat": f"final;{part}", **new_key()}
    house.data.copying.shut()
    asking = [asyncio.create_task(guest.post(headers)) for _ in range(3)]
    await house.data.copying.knocked.wait()
    house.data.copying.open()
    answers = await asyncio.gather(*asking)
    (url,) = {answer.headers["Location"] for answer in answers}
    assert [answer.status for answer in answers] == [201] * 3
    assert await house.rows() == {name_of(part), name_of(url)}
