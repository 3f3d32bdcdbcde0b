"""The proxy does to requests what it was told, and no more; what it counts is what it did."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.faults.uploader.proxy import AWAY, Answered, Asked, HarmfulProxy, Severed, Silent, Slowed, Swallowed
from tests.faults.uploader.weather import Weather
from tests.support.proxy import Cut
from tests.support.waiting import until
from tests.support.wire import RawAnswer, Wire

BODY = random.Random(1).randbytes(5000)


@dataclass
class Listener:
    """A server that answers 204 to every request, and 413 before the body to one that it does not want."""

    url: str = ""
    got: list[bytes] = field(default_factory=list)
    """Bodies, or as much of them as came."""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b" /large " in head:
                    writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    break
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.got.append(b"")
                while len(self.got[-1]) < length and (data := await reader.read(length - len(self.got[-1]))):
                    self.got[-1] += data
                writer.write(b"HTTP/1.1 204 No Content\r\nUpload-Offset: %d\r\n\r\n" % length)
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """What the proxy leads to."""
    listener = Listener()
    server = await asyncio.start_server(listener.accept, "127.0.0.1", 0)
    listener.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/files/"
    yield listener
    server.close()


@pytest.fixture
async def proxy(listener: Listener) -> AsyncIterator[HarmfulProxy]:
    """A proxy that harms what is planned."""
    async with HarmfulProxy.open(listener.url) as proxy:
        yield proxy


@pytest.fixture
async def wire(proxy: HarmfulProxy) -> AsyncIterator[Wire]:
    """A connection to it."""
    async with await Wire.open(proxy.url) as wire:
        yield wire


async def patch(wire: Wire, path: str = "/files/1") -> RawAnswer:
    """Send a body and return the answer."""
    wire.start("PATCH", path, {"Content-Length": str(len(BODY))})
    wire.send(BODY)
    return await wire.answer()


async def test_unharmed(proxy: HarmfulProxy, listener: Listener, wire: Wire) -> None:
    """Requests of one connection get through one after the other, and are counted."""
    assert [(await patch(wire)).status for _ in range(3)] == [204] * 3
    assert listener.got == [BODY] * 3
    assert (proxy.asked, proxy.harmed, proxy.received) == ({"PATCH": 3}, {}, 3 * len(BODY))


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
@pytest.mark.parametrize("after", [0, 1234, len(BODY)])
async def test_cut(proxy: HarmfulProxy, listener: Listener, wire: Wire, how: Cut, after: int) -> None:
    """The server gets so many bytes of the body, the client its end or a reset, and no answer."""
    proxy.plan("PATCH", Severed(after, how))
    with pytest.raises(asyncio.IncompleteReadError if how is Cut.FIN else ConnectionResetError):
        await patch(wire)
    await until(lambda: _is(listener.got == [BODY[:after]]))
    assert proxy.harmed == {f"cut {how.name}": 1}


@pytest.mark.parametrize("early", [False, True])
async def test_answered(proxy: HarmfulProxy, listener: Listener, wire: Wire, *, early: bool) -> None:
    """The proxy answers itself, with Retry-After where that is wanted; only an early answer ends the connection."""
    proxy.plan("PATCH", Answered(429, retry_after=7, early=early), Answered(502, early=early))
    answer = await patch(wire)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    if early:
        assert await wire.closed() == b""
    async with await Wire.open(proxy.url) as another:
        answer = await patch(another)
        assert (answer.status, "Retry-After" in answer.headers) == (502, False)
    assert listener.got == []
    if not early:
        assert (await patch(wire)).status == 204
    assert proxy.harmed == {"429 with Retry-After": 1, "502": 1}


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_swallowed(proxy: HarmfulProxy, listener: Listener, wire: Wire, how: Cut) -> None:
    """The server has all of it and has answered; the client hears nothing."""
    proxy.plan("PATCH", Swallowed(how))
    with pytest.raises(asyncio.IncompleteReadError if how is Cut.FIN else ConnectionResetError):
        await patch(wire)
    assert listener.got == [BODY]
    assert proxy.harmed == {f"answer swallowed {how.name}": 1}


async def test_kept(proxy: HarmfulProxy, listener: Listener, wire: Wire) -> None:
    """An answer may stay away while the connections stay."""
    proxy.plan("PATCH", Swallowed(None))
    patching = asyncio.create_task(patch(wire))
    await until(lambda: _is(proxy.harmed == {"answer kept": 1}))
    assert (listener.got, patching.done()) == ([BODY], False)
    patching.cancel()
    await asyncio.wait([patching])


async def test_silent(proxy: HarmfulProxy, listener: Listener, wire: Wire) -> None:
    """Nothing moves any more, and the connection stays."""
    proxy.plan("PATCH", Silent(100))
    patching = asyncio.create_task(patch(wire))
    await until(lambda: _is(proxy.harmed == {"silence": 1}))
    await until(lambda: _is(listener.got == [BODY[:100]]))
    assert not patching.done()
    patching.cancel()
    await asyncio.wait([patching])


@pytest.mark.parametrize(
    ("harm", "name"),
    [(Slowed(seconds=0.01), "late"), (Slowed(rate=2**20), "throttled"), (Slowed(rate=2**20, piece=99), "drip")],
    ids=str,
)
async def test_slowed(proxy: HarmfulProxy, listener: Listener, wire: Wire, harm: Slowed, name: str) -> None:
    """What is slow arrives."""
    proxy.plan("PATCH", harm)
    answer = await patch(wire)
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "5000")
    assert (listener.got, proxy.harmed) == ([BODY], {name: 1})


async def test_plan(proxy: HarmfulProxy, wire: Wire) -> None:
    """A harm waits for a request of its kind; a concatenation is another kind than a creation."""
    proxy.plan("POST final", Answered(503))
    assert (await patch(wire)).status == 204
    for concat, status in (("partial", 204), ("final;/a /b", 503), ("final;/a /b", 204)):
        wire.start("POST", "/files/", {"Content-Length": "0", "Upload-Concat": concat})
        assert (await wire.answer()).status == status
    assert (proxy.planned, proxy.asked) == (0, {"PATCH": 1, "POST": 1, "POST final": 2})


async def test_early_answer(proxy: HarmfulProxy, wire: Wire) -> None:
    """What a server says before it has the whole body reaches the client."""
    assert (await patch(wire, "/large")).status == 413


async def test_no_server(proxy: HarmfulProxy, listener: Listener) -> None:
    """Where there is no server, the proxy says so as proxies do."""
    async with HarmfulProxy.open("http://127.0.0.1:1/files/") as nowhere, await Wire.open(nowhere.url) as wire:
        assert (await patch(wire)).status == 502
        assert nowhere.harmed == {AWAY: 1}


def test_weather() -> None:
    """The same seed means the same harms; all kinds of them come."""
    asked = Asked(b"", "PATCH", "/files/1", {"content-length": "1000000"})

    def some(seed: int) -> list[str]:
        weather = Weather(random.Random(seed), 1.0)
        return [str(weather(asked)) for _ in range(2000)]

    assert some(7) == some(7) != some(8)
    assert set(some(7)) == {
        "cut FIN", "cut RST", "answer swallowed FIN", "answer swallowed RST", "423", "429", "502", "503",
        "429 with Retry-After", "503 with Retry-After", "late", "throttled", "drip", "silence",
    }  # fmt: skip


async def _is(condition: bool) -> bool:
    return condition
