"""Raw sockets, for rows where framing matters: half-sent bodies, resets, pipelining, malformed requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from multidict import CIMultiDict

from tests.support.client import CT, T


@dataclass(frozen=True)
class RawAnswer:
    """One answer as it came over the wire."""

    status: int
    reason: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def code(self) -> str:
        """The ERR_* code of an error answer."""
        return self.body.decode().partition(":")[0]


class Wire:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host

    @classmethod
    async def open(cls, url: str) -> Wire:
        """Connect to the host of a URL."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
        return cls(reader, writer, parts.netloc)

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def start(self, method: str, url: str, headers: Mapping[str, str], version: str = "1.1") -> None:
        """Send a request line and headers, Host included, and nothing more."""
        path = urlsplit(url).path if "://" in url else url
        lines = [f"{method} {path} HTTP/{version}", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("utf-8"))

    def start_patch(self, url: str, offset: int, headers: Mapping[str, str]) -> None:
        """Send the head of a PATCH; `headers` add to the usual ones or replace them, and say how the body ends."""
        self.start("PATCH", url, {**T, **CT, "Upload-Offset": str(offset), **headers})

    def send_chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)

    async def flush(self) -> None:
        """Wait until everything was handed to the kernel."""
        await self.writer.drain()

    async def answer(self, *, timeout: float = 10, head: bool = False) -> RawAnswer:
        """Read one answer (not an interim one, unless it is all that comes)."""
        return await asyncio.wait_for(self._answer(head), timeout)

    async def _answer(self, head: bool) -> RawAnswer:
        block = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = block.strip().split("\r\n")
        _, status, *reason = first.split(" ", 2)
        headers: CIMultiDict[str] = CIMultiDict()
        for line in lines:
            name, _, value = line.partition(":")
            headers.add(name, value.strip())
        code = int(status)
        body = b""
        if not head and code not in (100, 204, 304):
            body = await self.reader.readexactly(int(headers.get("Content-Length", "0")))
        return RawAnswer(code, reason[0] if reason else "", headers, body)

    async def closed(self, *, timeout: float = 15) -> bytes:
        """Wait until the server closes; return what else it sent. A reset is an end too."""
        try:
            return await asyncio.wait_for(self.reader.read(), timeout)
        except ConnectionError:
            return b""

    def finish(self) -> None:
        """Send FIN: nothing more comes from us. Does nothing when the server was faster."""
        with contextlib.suppress(OSError):
            self.writer.write_eof()

    def reset(self) -> None:
        """Send RST, as a vanishing client does."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
