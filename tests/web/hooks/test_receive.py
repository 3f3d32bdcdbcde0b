"""post-receive: how far an upload is, told while it comes in; and an application that has had enough of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from tests.support.client import CT, Client
from tests.support.client import T as TUS
from tests.support.hooked import Hooked, settles, state_of
from tests.support.state import holdings, unchanged
from tests.support.timed import name_of
from tests.support.wire import Wire
from tusd_py.models.hook import HookReply

STOP = HookReply(stops=True, status=418, body="enough", headers=(("X-Why", "cats"),))
SIZE = 4 * 2**20
PIECE = 8 * 1024
T = TypeVar("T")

framings = pytest.mark.parametrize("framing", ["length", "chunked"])


class Sending:
    """A request whose body comes piece by piece."""

    def __init__(self, wire: Wire, framing: str, size: int) -> None:
        self.sent = 0
        self.size = size
        self.head = {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Content-Length": str(size)}
        self._wire = wire
        self._is_chunked = framing == "chunked"

    async def until(self, happens: Awaitable[T]) -> T:
        """Send on, little by little, until something has happened; return what came of it."""
        waiting = asyncio.ensure_future(happens)
        while not waiting.done():
            assert self.sent + PIECE < self.size
            await self.send(PIECE)
            await asyncio.wait([waiting], timeout=0.01)
        return await waiting

    async def send(self, count: int) -> None:
        self.sent += count
        if self._is_chunked:
            self._wire.send_chunk(b"a" * count)
        else:
            self._wire.send(b"a" * count)
        with contextlib.suppress(ConnectionError):
            await self._wire.flush()

    async def finish(self) -> None:
        """Send all the rest."""
        await self.send(self.size - self.sent)
        if self._is_chunked:
            await self.send(0)


@framings
async def test_told_while_it_comes(server: Hooked, client: Client, framing: str) -> None:
    """Offsets rise and are true when they are told; after the last byte comes the finish, and nothing behind it."""
    url = await client.create(SIZE)
    async with await Wire.open(url) as wire:
        sending = Sending(wire, framing, SIZE)
        wire.start_patch(url, 0, sending.head)
        for count in range(1, 5):
            await sending.until(server.app.has("post-receive", count))
            told = server.app.events("post-receive")[-1]
            assert 0 < told.upload.offset <= await client.offset(url) <= sending.sent
            assert (told.upload.length, told.request.method) == (SIZE, "PATCH")
        await sending.finish()
        assert (await wire.answer()).status == 204
    await server.settle()
    offsets = [event.upload.offset for event in server.app.events("post-receive")]
    assert offsets == sorted(set(offsets))
    assert offsets[-1] < SIZE
    assert server.app.of(url)[-2:] == ["pre-finish", "post-finish"]


async def test_told_of_every_request(server: Hooked, client: Client) -> None:
    """The end of every request that brought bytes is told, but for the last, which is the finish (CORE-PATCH-12)."""
    url = await client.create(9)
    for offset in (0, 3, 6):
        assert (await client.patch(url, offset, b"abc")).status == 204
        assert (await client.patch(url, offset + 3)).status == 204
        await server.settle()
    assert [event.upload.offset for event in server.app.events("post-receive")] == [3, 6]
    assert server.app.of(url)[-1] == "post-finish"


async def test_never_behind_the_end(server: Hooked, client: Client) -> None:
    """An application that is slow with progress is told the finish when it is done with that, and no progress later."""
    door = server.app.door("post-receive")
    url = await client.create(9)
    for offset in (0, 3, 6):
        assert (await client.patch(url, offset, b"abc")).status == 204
    await server.app.has("post-receive")
    assert server.app.events("post-finish") == []
    door.open()
    await server.app.has("post-finish")
    await server.settle()
    assert server.app.of(url)[-1] == "post-finish"
    assert [event.upload.offset for event in server.app.events("post-receive")] in ([3], [3, 6])


async def test_what_was_cut_is_told(server: Hooked, client: Client) -> None:
    """Bytes of a request that was cut count, and are told."""
    url = await client.create(10)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "10"})
        wire.send(b"hello")
        await server.target.until_stored(url, 5)
        wire.reset()
    await server.app.has("post-receive")
    assert server.app.events("post-receive")[0].upload.offset == await client.offset(url) == 5


@framings
async def test_stopped(server: Hooked, client: Client, framing: str) -> None:
    """A running request ends with the words of the hook; by then the upload is gone, and that is told once."""
    url = await client.create(SIZE)
    server.app.says("post-receive", STOP)
    async with await Wire.open(url) as wire:
        sending = Sending(wire, framing, SIZE)
        wire.start_patch(url, 0, sending.head)
        answer = await sending.until(wire.answer())
        assert (answer.status, answer.body, answer.headers["X-Why"]) == (418, b"enough", "cats")
        assert answer.headers["Connection"] == "close"
        assert holdings(server.target) == set()
    assert (await client.head(url)).status == 404
    assert (await client.patch(url, 0)).status == 404
    assert not server.target.data_path(url).exists()
    await server.settle()
    assert server.app.of(url)[-2:] == ["post-receive", "post-terminate"]
    assert "pre-finish" not in server.app.of(url)
    (told,) = server.app.events("post-terminate")
    assert told.request.method == "PATCH"


@framings
async def test_creation_stopped(server: Hooked, client: Client, framing: str) -> None:
    """A creation that brings its bytes is stopped as any other request; its client never learns a URL (CWU-04)."""
    server.app.says("post-receive", STOP)
    async with await Wire.open(client.base) as wire:
        sending = Sending(wire, framing, SIZE)
        wire.start("POST", client.base, {**TUS, **CT, "Upload-Length": str(SIZE), **sending.head})
        answer = await sending.until(wire.answer())
        assert (answer.status, answer.body, "Location" in answer.headers) == (418, b"enough", False)
        assert holdings(server.target) == set()
    await server.settle()
    assert [event.moment for event in server.app.seen][-1] == "post-terminate"


async def test_stopped_between_requests(server: Hooked, client: Client) -> None:
    """An upload that nobody fills at the moment is gone as well."""
    server.app.says("post-receive", STOP)
    url = await client.create(10)
    assert (await client.patch(url, 0, b"hello")).status == 204
    await settles(lambda: client.head(url), 404)
    await server.settle()
    assert holdings(server.target) == set()
    assert server.app.of(url)[-1] == "post-terminate"


async def test_stopped_at_the_last_byte(server: Hooked, client: Client) -> None:
    """A request that is stopped before its end was read does not finish the upload on the way, and answers so."""
    server.app.says("post-receive", STOP)
    door = server.app.door("post-receive")
    url = await client.create(SIZE)
    async with await Wire.open(url) as wire:
        sending = Sending(wire, "chunked", SIZE)
        wire.start_patch(url, 0, sending.head)
        await sending.until(server.app.has("post-receive"))
        await sending.send(SIZE - sending.sent)
        await server.target.until_stored(url, SIZE)
        door.open()
        assert (await wire.answer()).status == 418
    await server.settle()
    assert holdings(server.target) == set()
    assert "pre-finish" not in server.app.of(url)


async def test_stopped_too_late(server: Hooked, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """An upload that has all its bytes when the hook has had enough stays: its client was told so."""
    server.app.says("post-receive", STOP)
    door = server.app.door("post-receive")
    url = await client.create(10)
    assert (await client.patch(url, 0, b"hello")).status == 204
    await server.app.has("post-receive")
    assert (await client.patch(url, 5, b"world")).status == 204
    async with unchanged(client, server.target, url):
        door.open()
        await server.settle()
    assert [record.__dict__.get("action") for record in caplog.records].count("hook_stop_too_late") == 1
    assert server.app.of(url)[-1] == "post-finish"


async def test_stopped_while_the_server_goes_down(
    server: Hooked, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that has had enough of an upload when the server is going down is too late for this time."""
    server.app.says("post-receive", STOP)
    door = server.app.door("post-receive")
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    await server.app.has("post-receive")
    tus = server.target.tus
    assert tus is not None
    tus.drain()
    door.open()
    await server.settle()
    assert state_of(server.target, url) == "open"
    assert [record.__dict__.get("action") for record in caplog.records].count("hook_stop_failed") == 1


async def test_stopped_while_the_finish_is_asked(server: Hooked, client: Client) -> None:
    """A hook that has had enough while another one is asked about the end is too late, too."""
    server.app.says("post-receive", STOP)
    progress, finish = server.app.door("post-receive"), server.app.door("pre-finish")
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    await server.app.has("post-receive")
    asking = asyncio.create_task(client.patch(url, 5, b"world"))
    await server.app.has("pre-finish")
    progress.open()
    await asyncio.sleep(0)
    finish.open()
    assert (await asking).status == 204
    await server.settle()
    assert (await client.get(url)).body == b"helloworld"
    assert server.app.of(url)[-1] == "post-finish"


async def test_only_progress_can_be_stopped(server: Hooked, client: Client) -> None:
    """Asking for a stop at another moment means nothing."""
    for moment in ("post-create", "pre-finish", "post-finish"):
        server.app.says(moment, HookReply(stops=True))
    url = await client.upload(b"hello")
    await server.settle()
    assert await client.offset(url) == 5
    assert name_of(url) in {event.upload.id for event in server.app.events("post-finish")}
