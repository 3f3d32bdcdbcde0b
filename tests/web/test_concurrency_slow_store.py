"""Locks while a store hangs: waiters get an answer in time and none is left behind (protocol 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from tests.support.client import Answer, Client
from tests.support.rig import Rig, rig
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.engine.context import Policy

IMPATIENT = Policy(lock_timeout=0.05, silent_after=0.05)


def assert_locked(answer: Answer) -> None:
    assert answer.status == 423
    assert int(answer.headers["Retry-After"]) > 0
    assert "Upload-Offset" not in answer.headers


async def begin(server: Rig, client: Client, url: str) -> asyncio.Task[Answer]:
    """Begin a PATCH of five bytes that hangs in the store."""
    gate = server.data.hold("write")
    task = asyncio.create_task(client.patch(url, 0, b"01234"))
    await gate.wait_entered()
    return task


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_locked(session: aiohttp.ClientSession, method: str) -> None:
    """A holder that does not let go in time: 423 with Retry-After and no offset, for PATCH and DELETE. (CONC-05)."""
    async with rig(IMPATIENT) as server:
        client = Client(session, server.url)
        url = await client.create(10)
        holder = await begin(server, client, url)
        answer = await (client.patch(url, 0, b"abc") if method == "PATCH" else client.delete(url))
        assert_locked(answer)
        assert answer.code == "ERR_UPLOAD_LOCKED"
        # HEAD does not need the lock while the holder's client is not to blame.
        assert await client.offset(url) == 0
        server.data.gates["write"].opened.set()
        assert (await holder).status in (204, 400)
        assert await client.offset(url) == 5
        assert server.bytes_of(url)[:5] == b"01234"
        assert server.locker._lines == {}


async def test_head_is_locked_out(session: aiohttp.ClientSession) -> None:
    """HEAD of an upload whose silent PATCH cannot be ended in time: 423, no offset, no body. (CONC-05)."""
    async with rig(IMPATIENT) as server:
        client = Client(session, server.url)
        url = await client.create(10)
        gate = server.data.hold("sync")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": "10"})
            wire.send(b"01234")
            await until(lambda: _is(len(server.bytes_of(url)) == 5))
            answers: list[Answer] = []

            async def is_locked() -> bool:
                answers.append(await client.head(url))
                return answers[-1].status == 423

            await until(is_locked)
            assert_locked(answers[-1])
            assert answers[-1].body == b""
            gate.opened.set()
            assert (await wire.answer()).code == "ERR_UPLOAD_INTERRUPTED"
        assert await client.offset(url) == 5


async def test_empty_body_is_taken_over(session: aiohttp.ClientSession) -> None:
    """A PATCH without a byte that waits for its turn gives way to the next like any other (CONC-02, I20)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(10)
        holder = await begin(server, client, url)
        empty = asyncio.create_task(client.patch(url, 0, b""))
        await until(lambda: _is(_waiting(server) == 1))
        last = asyncio.create_task(client.patch(url, 5, b"56789"))
        await until(lambda: _is(_waiting(server) == 2))
        server.data.gates["write"].opened.set()
        assert (await last).offset == 10
        assert (await empty).code in ("ERR_UPLOAD_INTERRUPTED", "ERR_MISMATCHED_OFFSET")
        assert (await holder).status in (204, 400)


async def test_removed_while_it_is_opened(session: aiohttp.ClientSession) -> None:
    """A download that begins while its upload is removed finds it, or does not; its data is not lost (I12, GET-16)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.upload(b"hello")
        gate = server.data.hold("read_from")
        download = asyncio.create_task(client.get(url))
        await gate.wait_entered()
        assert (await client.delete(url)).status == 204
        gate.opened.set()
        assert (await download).code == "ERR_UPLOAD_NOT_FOUND"


@pytest.mark.parametrize("end", [Wire.finish, Wire.reset], ids=["fin", "rst"])
async def test_head_after_a_lost_connection(session: aiohttp.ClientSession, end: Callable[[Wire], None]) -> None:
    """A client that lost its connection and asks at once is told what is committed a moment later. (CORE-HEAD-10)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(10)
        gate = server.data.hold("sync")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": "10"})
            wire.send(b"01234")
            await until(lambda: _is(len(server.bytes_of(url)) == 5))
            end(wire)
            await gate.wait_entered()
            asked = asyncio.create_task(client.offset(url))
            await until(lambda: _is(any(line.waiters for line in server.locker._lines.values())))
            gate.opened.set()
            assert await asked == 5


async def test_interrupted_while_the_store_is_slow(session: aiohttp.ClientSession) -> None:
    """What had arrived when a PATCH was ended by another one counts, also if the store had no time for it yet.

    (CONC-02, CONC-04)
    """
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(20)
        gate = server.data.hold("write")
        async with await Wire.open(url) as wire:
            wire.start_patch(url, 0, {"Content-Length": "20"})
            wire.send(b"01234")
            await gate.wait_entered()
            content = server.requests[-1].content
            wire.send(b"56789")
            await until(lambda: _is(content.total_bytes == 10))
            next_one = asyncio.create_task(client.patch(url, 10, b"abcdefghij"))
            await until(lambda: _is(content.exception() is not None))
            gate.opened.set()
            assert (await wire.answer()).code == "ERR_UPLOAD_INTERRUPTED"
        assert (await next_one).status == 204
        assert (await client.get(url)).body == b"0123456789abcdefghij"


@pytest.mark.parametrize("sent", [0, 3], ids=["head only", "whole request"])
async def test_waiter_vanishes(session: aiohttp.ClientSession, sent: int) -> None:
    """A client that disconnects while it waits for the lock leaves no lock and no half-done change. (CONC-12)."""
    async with rig() as server:
        client = Client(session, server.url)
        url = await client.create(10)
        holder = await begin(server, client, url)
        async with await Wire.open(url) as waiter:
            waiter.start_patch(url, 5, {"Content-Length": "3"})
            waiter.send(b"567"[:sent])
            await until(lambda: _is(_waiters(server, url) == 1))
            waiter.reset()
        async with await Wire.open(url) as next_one:
            next_one.start_patch(url, 5, {"Content-Length": "5"})
            next_one.send(b"56789")
            await until(lambda: _is(_waiters(server, url) == 2))
            server.data.gates["write"].opened.set()
            assert (await holder).status in (204, 400)
            answer = await next_one.answer()
        # A request that had arrived as a whole may count although nobody hears the answer.
        assert answer.status == 204 if sent == 0 else answer.status in (204, 409)
        offset = await client.offset(url)
        assert (await client.patch(url, offset, b"0123456789"[offset:])).status == 204
        assert (await client.get(url)).body == b"0123456789"
        await until(lambda: _is(server.locker._lines == {}))


async def test_part_is_pinned_while_it_is_copied(session: aiohttp.ClientSession) -> None:
    """A part that is being copied into a final upload cannot be deleted; afterwards it can. (CONC-11)."""
    async with rig(IMPATIENT) as server:
        client = Client(session, server.url)
        parts = [await client.upload(letter * 5, Upload_Concat="partial") for letter in (b"a", b"b")]
        gate = server.data.hold("copy")
        creating = asyncio.create_task(client.post({"Upload-Concat": "final;" + " ".join(parts)}))
        await gate.wait_entered()
        assert_locked(await client.delete(parts[1]))
        gate.opened.set()
        final = await creating
        assert final.status == 201
        assert (await client.get(final.headers["Location"])).body == b"aaaaabbbbb"
        assert (await client.delete(parts[1])).status == 204
        assert (await client.get(final.headers["Location"])).body == b"aaaaabbbbb"


async def test_finishes_once(session: aiohttp.ClientSession) -> None:
    """Racing last PATCHes finish an upload once. (CONC-14)."""
    async with rig() as server:
        client = Client(session, server.url)
        for _ in range(10):
            url = await client.create(1000)
            await client.patch(url, 0, b"x" * 990)
            answers = await asyncio.gather(*(client.patch(url, 990, b"y" * 10) for _ in range(6)))
            assert [answer.status for answer in answers].count(204) <= 1
            offset = await client.offset(url)
            assert (await client.patch(url, offset, b"y" * (1000 - offset))).status == 204
            assert (await client.patch(url, 1000)).status == 204
            assert server.finished.count(url.rpartition("/")[2]) == 1


async def test_store_that_hangs_holds_up_one_upload(session: aiohttp.ClientSession) -> None:
    """A store that does not answer for one upload leaves all others alone. (CONC-13)."""
    async with rig() as server:
        client = Client(session, server.url)
        url, other = await client.create(10), await client.create(10)
        holder = await begin(server, client, url)
        # Whoever comes now does not meet the gate.
        gate = server.data.gates.pop("write")
        assert (await client.patch(other, 0, b"0123456789")).status == 204
        assert not holder.done()
        gate.opened.set()
        assert (await holder).status == 204


def _waiters(server: Rig, url: str) -> int:
    line = server.locker._lines.get(url.rpartition("/")[2])
    return len(line.waiters) if line else 0


async def _is(value: bool) -> bool:
    return value


def _waiting(server: Rig) -> int:
    """How many requests wait for a lock."""
    return sum(len(line.waiters) for line in server.locker._lines.values())
