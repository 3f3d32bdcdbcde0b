"""A small TCP proxy that cuts connections, as bad networks do."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.listening import at_port, listening


class Cut(Enum):
    """How a connection ends."""

    FIN = auto()
    """Both sides see the end of the stream."""
    RST = auto()
    """Both sides see a reset."""


class CuttingProxy:
    """Forwards connections to one server; each next one may be cut after so many bytes from the client."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._cuts: list[tuple[int, Cut]] = []
        self._asked = 0
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self.connections = 0
        """How many there were."""
        self.cut = 0
        """How many were cut."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, target: str) -> AsyncIterator[Self]:
        """Run a proxy on a free port until the block ends."""
        proxy = cls(target)
        async with listening(proxy._serve) as proxy._port:
            yield proxy

    @property
    def url(self) -> str:
        """The target's URL through the proxy."""
        return self.through(urlunsplit(self._target))

    def through(self, url: str) -> str:
        """Return the URL through the proxy of one that leads to the target directly."""
        return at_port(url, self._port)

    def cut_after(self, count: int, how: Cut = Cut.RST) -> None:
        """Cut the next connection that brings so many bytes; called several times, one connection after the other.

        Connections that are there already count from now on.
        """
        self._cuts.append((count, how))
        self._asked += 1

    def cut_now(self, how: Cut = Cut.RST) -> None:
        """Cut every connection, whatever it is about: what the server says from now on is lost."""
        for each in self._open:
            end(each, how)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there: asyncio.StreamWriter | None = None
        try:
            answers, there = await asyncio.open_connection(self._target.hostname, self._target.port)
            self._open |= {writer, there}
            back = asyncio.create_task(_forward(answers, writer))
            try:
                how = await self._forward_request(reader, there)
                if how is None:
                    await back
            finally:
                back.cancel()
                await asyncio.wait([back])
            if how is not None:
                for each in (writer, there):
                    end(each, how)
        finally:
            for each in (writer, there):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort() if each.transport.get_write_buffer_size() else each.close()

    async def _forward_request(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> Cut | None:
        """Forward until the client has nothing more; return how to cut when its number of bytes is reached."""
        count, asked = 0, self._asked
        while data := await reader.read(65536):
            if asked != self._asked:
                count, asked = 0, self._asked
            if self._cuts and count + len(data) >= self._cuts[0][0]:
                limit, how = self._cuts.pop(0)
                self.cut += 1
                there.write(data[: limit - count])
                # What was let through arrives before the reset does.
                with contextlib.suppress(ConnectionError):
                    await there.drain()
                    await delivered(there)
                return how
            count += len(data)
            there.write(data)
            await there.drain()
        there.write_eof()
        return None


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward what the server says, its end and its resets, too."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        end(writer, Cut.RST)


async def delivered(writer: asyncio.StreamWriter) -> None:
    """Wait until the kernel has delivered everything (SIOCOUTQ is 0), for at most a second."""
    sock = writer.get_extra_info("socket")
    for _ in range(1000):
        if writer.transport.is_closing():
            return
        waiting = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
        if not waiting and not writer.transport.get_write_buffer_size():
            return
        await asyncio.sleep(0.001)


def end(writer: asyncio.StreamWriter, how: Cut) -> None:
    """End one side of a connection, unless it has ended; with RST what is still to be written is dropped."""
    if writer.transport.is_closing():
        return
    if how is Cut.RST:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()
