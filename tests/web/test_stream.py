"""The private parts of aiohttp that `tusd_py.web.stream` relies on: these fail when a new aiohttp differs."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol

from tests.support.servers import running
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.web.stream import MANY, TINY, is_malformed, revive, take_buffered


class Protocol(BaseProtocol):
    """A connection that only notes whether it has to stop."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.paused = False

    connected = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        self.paused = False


@pytest.fixture
async def protocol() -> Protocol:
    return Protocol()


@pytest.fixture
async def content(protocol: Protocol) -> StreamReader:
    """A reader that stops its connection at more than 20 bytes and lets it go on below 10."""
    return StreamReader(protocol, 10, loop=asyncio.get_running_loop())


async def test_buffers(content: StreamReader) -> None:
    """What was fed is there, in order, as the very objects; nothing is joined or copied. (CORE-BODY-05)."""
    first, second = b"first", b"second"
    content.feed_data(first)
    content.feed_data(second)
    assert isinstance(content._buffer, deque)
    taken = take_buffered(content)
    assert taken == [first, second]
    assert taken[0] is first
    assert taken[1] is second
    assert take_buffered(content) == []


async def test_crumbs(content: StreamReader) -> None:
    """Many tiny buffers are joined, many others are not. (CORE-BODY-01, I19)."""
    for _ in range(MANY):
        content.feed_data(b"x" * (TINY - 1))
    assert take_buffered(content) == [b"x" * (TINY - 1) * MANY]
    for _ in range(MANY):
        content.feed_data(b"x" * TINY)
    assert take_buffered(content) == [b"x" * TINY] * MANY


async def test_partly_read(content: StreamReader) -> None:
    """What aiohttp has handed out already does not come again. (CORE-BODY-05)."""
    content.feed_data(b"0123456789")
    assert await content.read(4) == b"0123"
    assert take_buffered(content) == [b"456789"]


async def test_chunked(content: StreamReader) -> None:
    """The marks of chunks do not get into the way, and do not pile up. (CORE-BODY-01)."""
    for chunk in (b"a", b"b", b"c"):
        content.begin_http_chunk_receiving()
        content.feed_data(chunk)
        content.end_http_chunk_receiving()
    assert take_buffered(content) == [b"a", b"b", b"c"]
    assert content._http_chunk_splits is not None
    assert len(content._http_chunk_splits) <= 1


async def test_end(content: StreamReader) -> None:
    """A body that was taken to its end is at its end for aiohttp, too. (CORE-BODY-13)."""
    content.feed_data(b"all")
    content.feed_eof()
    assert take_buffered(content) == [b"all"]
    assert content.at_eof()
    assert await content.readany() == b""


async def test_connection_goes_on(content: StreamReader, protocol: Protocol) -> None:
    """Taking what is buffered lets a connection go on that had to stop. (CORE-BODY-21)."""
    content.feed_data(b"x" * 21)
    assert protocol.paused
    take_buffered(content)
    assert not protocol.paused


async def test_bounded(content: StreamReader, protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that goes on and brings more while we take does not keep us here for ever. (CORE-BODY-21)."""

    def refill(resume_parser: bool = True) -> None:
        content.feed_data(b"more")

    monkeypatch.setattr(protocol, "resume_reading", refill)
    content.feed_data(b"one")
    content.feed_data(b"two")
    assert take_buffered(content) == [b"one", b"two"]
    assert take_buffered(content) != []


async def test_after_a_reset(content: StreamReader) -> None:
    """A reset makes aiohttp keep back what had arrived; we get it all the same. (CORE-BODY-05)."""
    content.feed_data(b"delivered")
    content.set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await content.readany()
    assert take_buffered(content) == [b"delivered"]


async def test_woken_by_an_exception(content: StreamReader) -> None:
    """A reader that waits is woken by an exception, with this very exception. (CONC-02)."""
    reason = RuntimeError("somebody else")
    reading = asyncio.create_task(content.readany())
    await until(lambda: _is(content._waiter is not None))
    content.set_exception(reason)
    with pytest.raises(RuntimeError) as raised:
        await reading
    assert raised.value is reason


async def test_revive(content: StreamReader) -> None:
    """After `revive` the rest of a body can be read away. (CORE-BODY-12)."""
    reason = RuntimeError("somebody else")
    content.set_exception(reason)
    revive(content, reason)
    assert content.exception() is None
    content.feed_data(b"rest")
    assert await content.readany() == b"rest"


async def test_revive_nothing_else(content: StreamReader) -> None:
    """`revive` leaves any other exception alone: a connection that is gone stays gone. (CORE-BODY-04)."""
    lost = ConnectionResetError()
    content.set_exception(lost)
    revive(content, RuntimeError("somebody else"))
    assert content.exception() is lost


async def test_malformed() -> None:
    """A body whose framing breaks is noticed, one that is merely slow or complete is not. (CORE-BODY-16)."""
    requests: list[web.Request] = []
    done = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        requests.append(request)
        await done.wait()
        return web.Response()

    app = web.Application()
    app.router.add_put("/", handle)
    async with running(app, shutdown_timeout=0.1) as url, await Wire.open(url) as broken, await Wire.open(url) as slow:
        for wire in (broken, slow):
            wire.start("PUT", "/", {"Transfer-Encoding": "chunked"})
            wire.send_chunk(b"hello")
            await until(lambda at=wire: _is(any(_peer(one) == _port(at) for one in requests)))  # type: ignore[misc]
        of_broken, of_slow = requests
        assert not is_malformed(of_broken)
        broken.send(b"nonsense\r\n")
        await until(lambda: _is(is_malformed(of_broken)))
        assert not is_malformed(of_slow)
        slow.send_chunk(b"")
        # The next request of the same connection is no sign of a broken body.
        slow.send(b"nonsense\r\n\r\n")
        await until(lambda: _is(of_slow.content.is_eof()))
        assert not is_malformed(of_slow)
        done.set()
        assert (await slow.answer()).status == 200


def _peer(request: web.Request) -> int:
    assert request.transport is not None
    return int(request.transport.get_extra_info("peername")[1])


def _port(wire: Wire) -> int:
    return int(wire.writer.get_extra_info("sockname")[1])


async def _is(value: bool) -> bool:
    return value
