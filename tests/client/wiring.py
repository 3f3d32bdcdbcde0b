"""Servers on raw sockets, which do what no good server does, and certificates."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from multidict import CIMultiDict

from tusd_py.client.body import BytesBody, FileBody
from tusd_py.client.pace import Bucket, Meter
from tusd_py.client.source import FileSource

KIB, MIB = 2**10, 2**20
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nUpload-Offset: 5\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n%s\r\ntoo large"
TOO_LARGE_CLOSING = TOO_LARGE % b"Connection: close\r\n"
TOO_LARGE_KEEPING = TOO_LARGE % b""
PIECE = 64 * KIB


@dataclass
class Asked:
    """The head of a request."""

    method: str
    target: str
    headers: CIMultiDict[str]

    @property
    def length(self) -> int:
        return int(self.headers.get("Content-Length", 0))


@dataclass
class Caller:
    """A connection, as its server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: list[Asked] = field(default_factory=list)
    """By this connection."""

    async def head(self) -> Asked:
        """Read the next head. Raises `IncompleteReadError` when the connection ends before."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = CIMultiDict(line.split(": ", 1) for line in lines[1:] if line)
        self.asked.append(Asked(method, target, headers))
        return self.asked[-1]

    async def body(self, count: int) -> bytes:
        """Read so many bytes."""
        return await self.reader.readexactly(count)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> None:
        """Wait for the end of the connection, whichever kind, and read what comes until then."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(MIB):
                pass

    def reset(self) -> None:
        """End the connection with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Caller], Awaitable[None]]


@dataclass
class Peer:
    """A server that behaves as a function says: once for each connection, which ends with it."""

    url: str
    callers: list[Caller] = field(default_factory=list)

    @property
    def asked(self) -> list[Asked]:
        """All requests so far."""
        return [each for caller in self.callers for each in caller.asked]


@contextlib.asynccontextmanager
async def peer(behave: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Run a server with small buffers until the block ends."""
    sock = socket.create_server(("127.0.0.1", 0))
    # Of the connections, too. It has to be done before they are there.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    there = Peer(f"{'https' if tls else 'http'}://127.0.0.1:{sock.getsockname()[1]}/files/")
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        there.callers.append(Caller(reader, writer))
        try:
            await behave(there.callers[-1])
            writer.close()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            running.discard(task)

    server = await asyncio.start_server(accept, sock=sock, ssl=tls, limit=PIECE)
    try:
        yield there
    finally:
        server.close()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        # Connections over TLS take a moment to end.
        for caller in there.callers:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await caller.writer.wait_closed()


async def hashing(caller: Caller) -> None:
    """Answer every request with the SHA-256 of its body."""
    while True:
        asked = await caller.head()
        digest, left = hashlib.sha256(), asked.length
        while left:
            piece = await caller.reader.read(min(left, MIB))
            if not piece:
                return
            digest.update(piece)
            left -= len(piece)
        await caller.say(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest.hexdigest().encode())


def answering(*answers: bytes) -> Behaviour:
    """Answer the requests of each connection with these, one after the other, and then close it."""

    async def behave(caller: Caller) -> None:
        for answer in answers:
            await caller.body((await caller.head()).length)
            await caller.say(answer)

    return behave


def ok(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """Return an answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(head).encode() + body


@dataclass
class Certificate:
    """Of 127.0.0.1 and localhost, signed by nobody but itself."""

    path: Path
    server: ssl.SSLContext
    client: ssl.SSLContext
    """Trusts it."""


def make_certificate(place: Path) -> Certificate:
    """Make a certificate; skip the test where that cannot be done."""
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        " -addext subjectAltName=IP:127.0.0.1,DNS:localhost -keyout key.pem -out certificate.pem"
    )
    try:
        subprocess.run(command.split(), cwd=place, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("NOT RUN: needs openssl")
    path = place / "certificate.pem"
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path, place / "key.pem")
    return Certificate(path, server, ssl.create_default_context(cafile=str(path)))


def make_file(path: Path, size: int) -> Path:
    """Write a file of random bytes."""
    with path.open("wb") as file:
        for done in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - done)))
    return path


def of_file(source: FileSource, start: int = 0, end: int | None = None, *, rate: int | None = None) -> FileBody:
    """Return a body from a file, with a meter of its own."""
    return FileBody(source, start, source.size if end is None else end, Meter(), Bucket(rate))


def of_bytes(*views: bytes | memoryview, bucket: Bucket | None = None) -> BytesBody:
    """Return a body from memory, with a meter of its own."""
    return BytesBody(views, Meter(), bucket or Bucket(None))


def patch_head() -> dict[str, str]:
    return {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
