"""Limits on what unfinished uploads may take up together (reliability 5.2, rows 50 and 51)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.conftest import StartServer
from tests.support.client import CT, Client
from tests.support.servers import Target
from tests.support.state import check_refusal, nothing_created


async def test_too_many(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """One more than `max_open_uploads` is 429 with Retry-After; finishing or removing one makes room. (row 50)"""
    target = await start_server(max_open_uploads=2)
    client = client_of(target)
    first, second = await client.create(3), await client.create(None)
    with nothing_created(target):
        answer = await client.post({"Upload-Length": "3"})
    check_refusal(answer, 429, "ERR_TOO_MANY_UPLOADS")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await client.patch(first, 0, b"abc")).status == 204
    third = await client.create(3)
    assert (await client.post({"Upload-Length": "3"})).status == 429
    assert (await client.delete(second)).status == 204
    assert (await client.patch(await client.create(3), 0, b"abc")).status == 204
    assert (await client.patch(third, 0, b"abc")).status == 204


async def test_too_many_at_once(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """However many ask at the same moment, no more than `max_open_uploads` get one. (row 50)"""
    client = client_of(await start_server(max_open_uploads=5))
    answers = await asyncio.gather(*(client.post({"Upload-Length": "3"}) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [201] * 5 + [429] * 15


async def test_too_much_announced(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """What was announced counts, not what was sent: beyond `max_open_size` creating is 507. (row 51)"""
    target = await start_server(max_open_size="1MiB")
    client = client_of(target)
    big = await client.create(2**20 - 10)
    with nothing_created(target):
        answer = await client.post({"Upload-Length": "11"})
    check_refusal(answer, 507, "ERR_INSUFFICIENT_STORAGE")
    with nothing_created(target):
        answer = await client.post({"Upload-Length": "11", **CT}, b"hello world")
    check_refusal(answer, 507, "ERR_INSUFFICIENT_STORAGE")
    assert (await client.post({"Upload-Length": "10"})).status == 201
    assert (await client.delete(big)).status == 204
    assert (await client.post({"Upload-Length": "11"})).status == 201


async def test_announced_late(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A length that was deferred is announced by a PATCH: too much is 507, and the length stays open. (row 51)"""
    client = client_of(await start_server(max_open_size=100))
    url = await client.create(None)
    assert (await client.patch(url, 0, b"abc")).offset == 3
    answer = await client.patch(url, 3, b"", {"Upload-Length": "101"})
    check_refusal(answer, 507, "ERR_INSUFFICIENT_STORAGE")
    head = await client.head(url)
    assert (head.headers["Upload-Defer-Length"], head.offset) == ("1", 3)
    assert (await client.patch(url, 3, b"defg", {"Upload-Length": "7"})).status == 204
