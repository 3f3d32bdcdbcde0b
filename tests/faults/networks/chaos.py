"""A TCP proxy with bad weather: slow, narrow, in crumbs, buffering, or without a way back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.listening import at_port, listening

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Weather:
    """What one connection has to endure."""

    delay: float = 0.0
    """Seconds that every piece is late."""
    rate: int | None = None
    """Bytes a second."""
    piece: int = 65536
    """Bytes that are passed on at once."""
    whole: bool = False
    """A request is passed on when its body is there, as proxies do that buffer."""
    answers: int | None = None
    """So many bytes of the answers come through; then the client sees a reset, and the server, too."""


class ChaosProxy:
    """Forwards connections to one server, each in a weather of its own."""

    def __init__(self, target: str, weather: Callable[[], Weather]) -> None:
        self._target = urlsplit(target)
        self._weather = weather
        self.url = ""
        """The target's URL through the proxy."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        weather, ends = self._weather(), [writer]
        try:
            first = await _request(reader) if weather.whole else b""
            answers, there = await asyncio.open_connection(self._target.hostname, self._target.port)
            ends.append(there)
            there.write(first)
            forth = asyncio.create_task(_forward(reader, there, weather, None))
            back = asyncio.create_task(_forward(answers, writer, weather, weather.answers))
            try:
                await asyncio.wait([forth, back], return_when=asyncio.ALL_COMPLETED)
            finally:
                for each in (forth, back):
                    each.cancel()
                await asyncio.wait([forth, back])
        except asyncio.IncompleteReadError:
            pass
        finally:
            for end in ends:
                end.transport.abort()


@contextlib.asynccontextmanager
async def chaos(target: str, weather: Callable[[], Weather]) -> AsyncIterator[ChaosProxy]:
    """Run a proxy on a free port until the block ends."""
    proxy = ChaosProxy(target, weather)
    async with listening(proxy.serve) as port:
        proxy.url = at_port(target, port)
        yield proxy


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, weather: Weather, most: int | None
) -> None:
    """Pass on what comes, and its end; after `most` bytes, reset."""
    try:
        while data := await reader.read(weather.piece):
            if weather.delay or weather.rate:
                await asyncio.sleep(weather.delay + (len(data) / weather.rate if weather.rate else 0))
            if most is not None:
                most -= len(data)
                if most < 0:
                    writer.write(data[:most])
                    raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (ConnectionError, RuntimeError):
        reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Send RST, after what was written."""
    if not writer.transport.is_closing():
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
