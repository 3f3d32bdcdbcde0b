"""Connections that are taken from aiohttp in the middle of a body and given back: these fail when a new one differs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler

from tests.support.servers import running
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.web.stream import can_detach, detach, reattach


async def test_giving_a_connection_away() -> None:
    """A body can be taken from its socket, to the byte, and the request behind it is answered. (CORE-BODY-13)."""
    seen: list[tuple[bytes, bytes]] = []

    async def handle(request: web.Request) -> web.Response:
        await until(lambda: _is(request.content.total_bytes == 5))
        parts = detach(request, 1)
        assert parts is not None
        buffers, own, count = parts
        assert count == 100_000 - 5
        assert detach(request, count + 1) is None
        await wire_sends(b"x" * (100_000 - 5) + FOLLOWING)
        with own:
            seen.append((b"".join(buffers), await _take(own, count)))
        assert request.content.total_bytes == 5
        reattach(request, complete=True)
        return web.Response(text="taken")

    async with running(_application(handle)) as url, await Wire.open(url) as wire:

        async def wire_sends(data: bytes) -> None:
            wire.send(data)
            await wire.flush()

        for _ in range(3):
            wire.start("PUT", "/", {"Content-Length": "100000"})
            wire.send(b"first")
            assert (await wire.answer()).body == b"taken"
            assert (await wire.answer()).body == b"hello"
    assert seen == [(b"first", b"x" * (100_000 - 5))] * 3


BODIES: dict[str, tuple[dict[str, str], bytes]] = {
    "chunked": ({"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n"),
    "there": ({"Content-Length": "5"}, b"hello"),
    "nearly there": ({"Content-Length": "104"}, b"hello"),
    "empty": ({"Content-Length": "0"}, b""),
}


@pytest.mark.parametrize("body", BODIES)
async def test_not_giving_a_connection_away(body: str) -> None:
    """A body that is not worth it, or whose end is not known, stays with aiohttp untouched. (CORE-BODY-01)."""
    headers, first = BODIES[body]

    async def handle(request: web.Request) -> web.Response:
        await until(lambda: _is(request.content.total_bytes == min(5, len(first))))
        assert detach(request, 100) is None
        wire.send({"chunked": b"0\r\n\r\n", "nearly there": b"x" * 99}.get(body, b""))
        return web.Response(body=await request.read())

    async with running(_application(handle)) as url, await Wire.open(url) as wire:
        wire.start("PUT", "/", headers)
        wire.send(first)
        answer = await wire.answer()
        assert (answer.status, answer.body[:5]) == (200, b"" if body == "empty" else b"hello")
        wire.send(FOLLOWING)
        assert (await wire.answer()).body == b"hello"


async def test_somebody_in_between() -> None:
    """A request that is not the one of the connection is left alone: who made it wants to read the body. (I20)."""

    async def handle(request: web.Request) -> web.Response:
        assert detach(request.clone(), 1) is None
        wire.send(b"x" * 100)
        return web.Response(body=await request.read())

    async with running(_application(handle)) as url, await Wire.open(url) as wire:
        wire.start("PUT", "/", {"Content-Length": "100"})
        assert (await wire.answer()).body == b"x" * 100


async def test_what_the_parser_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was received and not parsed yet belongs to the body, in its order, and is taken along. (CORE-BODY-05)."""
    taken: list[bytes] = []

    async def handle(request: web.Request) -> web.Response:
        held_back = [b"middle", b"last"]
        resume = RequestHandler.resume_reading

        def parse(protocol: RequestHandler, resume_parser: bool = True) -> None:
            if held_back:
                request.content.feed_data(held_back.pop(0))
            if not held_back:
                resume(protocol, resume_parser)

        await until(lambda: _is(request.content.total_bytes == 5))
        request.protocol.pause_reading()
        with monkeypatch.context() as patch:
            patch.setattr(RequestHandler, "resume_reading", parse)
            parts = detach(request, 1)
        assert parts is not None
        taken.extend(parts[0])
        parts[1].close()
        assert parts[2] == 100 - len(b"firstmiddlelast")
        reattach(request, complete=True)
        response = web.Response()
        response.force_close()
        return response

    async with running(_application(handle)) as url, await Wire.open(url) as wire:
        wire.start("PUT", "/", {"Content-Length": "100"})
        wire.send(b"first")
        assert (await wire.answer()).status == 200
    assert taken == [b"first", b"middle", b"last"]


async def test_taking_a_connection_back_early() -> None:
    """What comes of a body that nobody wants is no request, but it may come: the client gets to see its answer.

    (CORE-BODY-12)
    """
    count = 2**22 // len(FOLLOWING)

    async def handle(request: web.Request) -> web.Response:
        await until(lambda: _is(request.content.total_bytes > 0))
        parts = detach(request, 1)
        assert parts is not None
        parts[1].close()
        reattach(request, complete=False)
        response = web.Response(status=400)
        response.force_close()
        return response

    async with running(_application(handle)) as url, await Wire.open(url) as wire:
        wire.start("PUT", "/", {"Content-Length": str(count * len(FOLLOWING))})
        wire.send(FOLLOWING)
        assert (await wire.answer()).status == 400
        for _ in range(count - 1):
            wire.send(FOLLOWING)
            await wire.flush()
        assert await asyncio.wait_for(wire.reader.read(), 10) == b""


async def test_taking_a_lost_connection_back() -> None:
    """A connection that was lost meanwhile is nobody's; the server goes on. (CORE-BODY-04)."""
    lost = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        parts = detach(request, 1)
        assert parts is not None
        parts[1].close()
        assert request.transport is not None
        request.transport.abort()
        await until(lambda: _is(request.transport is None))
        for complete in (True, False):
            reattach(request, complete=complete)
        assert detach(request, 1) is None
        lost.set()
        return web.Response()

    async with running(_application(handle)) as url, await Wire.open(url) as wire, await Wire.open(url) as other:
        wire.start("PUT", "/", {"Content-Length": "10"})
        await asyncio.wait_for(lost.wait(), 10)
        assert await wire.closed() == b""
        other.send(FOLLOWING)
        assert (await other.answer()).body == b"hello"


async def test_a_socket_that_never_waits() -> None:
    """Whatever timeout the host gives its sockets, nobody waits for this one: others have their turn. (I11)."""

    async def handle(request: web.Request) -> web.Response:
        socket.setdefaulttimeout(5.0)
        try:
            parts = detach(request, 1)
        finally:
            socket.setdefaulttimeout(None)
        assert parts is not None
        with parts[1] as own:
            response = web.Response(text=str(own.gettimeout()))
        reattach(request, complete=False)
        wire.send(b"0123456789")
        response.force_close()
        return response

    async with running(_application(handle)) as url, await Wire.open(url) as wire:
        wire.start("PUT", "/", {"Content-Length": "10"})
        assert (await wire.answer()).body == b"0.0"


PRIVATE = [
    (BaseProtocol, "_parser"),
    (BaseProtocol, "_loop"),
    (BaseProtocol, "_reading_paused"),
    (RequestHandler, "_current_request"),
    (RequestHandler, "_manager"),
    (RequestHandler, "_max_msg_queue_size"),
    (RequestHandler, "_read_bufsize"),
    (RequestHandler, "max_field_size"),
    (StreamReader, "_buffer"),
    (StreamReader, "_read_nowait_chunk"),
    (StreamReader, "total_bytes"),
]


@pytest.mark.parametrize(("kind", "name"), PRIVATE, ids=[name for _, name in PRIVATE])
def test_another_aiohttp(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
    """With this aiohttp connections can be given away; with one that lacks something, nobody tries. (I20)."""
    assert can_detach()
    with monkeypatch.context() as patch:
        patch.delattr(kind, name)
        assert not can_detach()
    assert can_detach()


FOLLOWING = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _application(handle: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    async def say_hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_put("/", handle)
    app.router.add_get("/next", say_hello)
    return app


async def _take(own: socket.socket, count: int) -> bytes:
    taken = b""
    while len(taken) < count:
        data = await asyncio.get_running_loop().sock_recv(own, count - len(taken))
        assert data
        taken += data
    return taken


async def _is(value: bool) -> bool:
    return value
