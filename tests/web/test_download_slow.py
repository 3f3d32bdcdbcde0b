"""Clients that read a download slowly, or not at all: they cost little and end (reliability 5.2 row 30, I19)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.servers import Target, serve
from tests.support.waiting import until

MIB = 2**20


class Reader:
    """A client with a small window that reads only when told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Reader]:
        """Ask for a download and read nothing of it."""
        host, port = url.split("/")[2].split(":")
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            sock.setblocking(False)
            reader = cls(sock)
            await reader.loop.sock_connect(sock, (host, int(port)))
            request = f"GET /{url.split('/', 3)[3]} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
            await reader.loop.sock_sendall(sock, request.encode())
            yield reader

    async def read(self, count: int) -> bytes:
        """Read at most so many bytes; none when the server has closed or reset."""
        try:
            return await asyncio.wait_for(self.loop.sock_recv(self.sock, count), 10)
        except ConnectionResetError:
            return b""

    async def rest(self) -> int:
        """Read to the end; return how many bytes there were."""
        total = 0
        while piece := await self.read(MIB):
            total += len(piece)
        return total


@pytest.fixture(scope="module")
async def impatient(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that waits 700 ms for a client."""
    async with serve(mode, tmp_path_factory.mktemp("slow") / "data", network_timeout="700ms") as target:
        yield target


def pid_of(target: Target) -> int:
    return target.process.pid if target.process else os.getpid()


def readers_of(target: Target, url: str) -> int:
    """Return how many descriptors of the server have the data of an upload open."""
    path, found = str(target.data_path(url)), 0
    for link in Path(f"/proc/{pid_of(target)}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(link.readlink()) == path
    return found


def resident(target: Target) -> int:
    """Return the memory of the server in bytes."""
    status = Path(f"/proc/{pid_of(target)}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


async def test_client_that_stops_reading(impatient: Target, client_of: Callable[[Target], Client]) -> None:
    """A client that takes nothing for the network timeout is cut off, and the file is closed. (row 30)"""
    client, size = client_of(impatient), 32 * MIB
    url = await client.upload(bytes(size))
    async with Reader.open(url) as reader:
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 200 OK\r\n")

        async def is_closed() -> bool:
            return readers_of(impatient, url) == 0

        assert readers_of(impatient, url) > 0
        await until(is_closed)
        assert await reader.rest() < size, "what the client has must not look like the whole file"
    assert len((await client.get(url)).body) == size


async def test_client_that_reads_slowly(impatient: Target, client_of: Callable[[Target], Client]) -> None:
    """A client that goes on reading gets everything, even if that takes longer than the network timeout. (row 30)"""
    client, size = client_of(impatient), 16 * MIB
    url = await client.upload(bytes(size))
    loop = asyncio.get_running_loop()
    async with Reader.open(url) as reader:
        begun, total = loop.time(), 0
        while loop.time() - begun < 1.2:
            # Being slow is the behaviour here; 20 ms is far from 700 ms.
            await asyncio.sleep(0.02)
            total += len(await reader.read(64 * 1024))
        reader.sock.shutdown(socket.SHUT_WR)
        while total < size:
            piece = await reader.read(MIB)
            assert piece, "cut off although it was reading"
            total += len(piece)


async def test_many_stalled_clients(impatient: Target, client_of: Callable[[Target], Client]) -> None:
    """Clients that do not read cost next to no memory, do not disturb uploads, and are all gone in the end.

    (row 30, I19: 300 KiB each)
    """
    client, count = client_of(impatient), 40
    url = await client.upload(os.urandom(MIB) * 32)
    other = await client.create(MIB)
    before = resident(impatient)
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(Reader.open(url)) for _ in range(count)]
        for reader in readers:
            assert (await reader.read(100)).startswith(b"HTTP/1.1 200 OK\r\n")
        grown = resident(impatient) - before
        assert (await client.patch(other, 0, bytes(MIB))).status == 204
        assert grown < count * 300 * 1024

        async def are_closed() -> bool:
            return readers_of(impatient, url) == 0

        await until(are_closed)


async def test_client_that_vanishes(server: Target, client: Client) -> None:
    """A client that resets the connection in the middle leaves no open file behind. (row 30)"""
    url = await client.upload(bytes(32 * MIB))
    for _ in range(3):
        async with Reader.open(url) as reader:
            await reader.read(4096)
            assert readers_of(server, url) > 0

    async def is_closed() -> bool:
        return readers_of(server, url) == 0

    await until(is_closed)
    assert (await client.get(url, {"Range": "bytes=0-3"})).body == bytes(4)
