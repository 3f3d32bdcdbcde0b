"""Bodies on their way from a socket into a file store, and a disk that stands still when told to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stores.placed import located
from tusd_py.abc import Data, Rest
from tusd_py.models.pace import Pace
from tusd_py.stores import plane
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.plane import PlaneTransfer

KIB = 2**10
MIB = 2**20
KINDS = ("tcp", "unix")
PATIENCE = 10.0


def connection(kind: str = "tcp") -> tuple[socket.socket, socket.socket]:
    """Return the server's end and the client's end of a connection, both non-blocking."""
    if kind == "unix":
        own, peer = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            own, _ = listening.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own.setblocking(False)
    peer.setblocking(False)
    return own, peer


@dataclass
class Moving:
    """One transfer and both ends of its connection."""

    upload_id: str
    data: Data
    transfer: PlaneTransfer
    own: socket.socket
    """A second descriptor of the server's end: what the transfer leaves in the connection can be read here."""
    peer: socket.socket

    async def send(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.peer, data), PATIENCE)

    async def stored(self, position: int) -> None:
        """Wait until everything before `position` is stored."""
        await asyncio.wait_for(self.transfer.wait(position), PATIENCE)
        assert self.transfer.position >= position

    async def over(self) -> None:
        """Wait until nothing more is moved."""
        await asyncio.wait_for(self.transfer.wait(sys.maxsize), PATIENCE)
        assert self.transfer.is_over

    def finish(self) -> None:
        """Send FIN."""
        self.peer.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()


class Room:
    """An open file store and everything that moves into it."""

    def __init__(self, store: FileDataStore, stack: contextlib.AsyncExitStack) -> None:
        self.store = store
        self._stack = stack
        self._made = 0

    async def begin(
        self,
        count: int,
        *buffers: bytes,
        offset: int = 0,
        timeout: float = PATIENCE,
        kind: str = "tcp",
        upload_id: str | None = None,
        holds: int = 0,
        pace: Pace | None = None,
        last: bool = False,
    ) -> Moving:
        """Begin to move a body into an upload; a new one, unless it is told which."""
        self._made += 1
        if upload_id is None:
            upload_id = f"Moving_{self._made}"
            await self.store.create(upload_id, durable=False)
        own, peer = connection(kind)
        own_twice = own.dup()
        data = await self.store.write_to(upload_id, holds=holds)
        transfer = data.transfer(offset, Rest(list(buffers), own, count, timeout, pace), last=last)
        assert isinstance(transfer, PlaneTransfer)
        self._stack.push_async_callback(self._end, data, transfer, own_twice, peer)
        return Moving(upload_id, data, transfer, own_twice, peer)

    def content(self, moving: Moving) -> bytes:
        """Return the bytes of a file."""
        return located(self.store, moving.upload_id).read_bytes()

    async def _end(self, data: Data, transfer: PlaneTransfer, *ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        await asyncio.wait_for(transfer.wait(sys.maxsize), PATIENCE)
        for end in ends:
            end.close()
        await data.close()


@contextlib.asynccontextmanager
async def room(place: Path) -> AsyncIterator[Room]:
    """Yield an open store; at the end all transfers are ended and everything is closed."""
    store = FileDataStore(place, threads=2)
    await store.open()
    assert store.can_transfer
    try:
        async with contextlib.AsyncExitStack() as stack:
            yield Room(store, stack)
    finally:
        await store.close()


class Disk:
    """Stands between the plane and the kernel: `splice` from a socket and into a file, each as the test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.splice = os.splice
        self.stands = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.from_socket: Callable[..., int] = self.splice
        self.to_file: Callable[..., int] = self.splice
        monkeypatch.setattr(plane.os, "splice", self._splice)

    def hold(self) -> None:
        """Let the next write to a file wait, and all that follow, until `let_go`."""
        self.stands.clear()
        self.goes_on.clear()

    def let_go(self) -> None:
        self.goes_on.set()

    async def stood_still(self) -> None:
        """Wait until a write waits."""
        assert await asyncio.to_thread(self.stands.wait, PATIENCE)

    def fail(self, code: int, *, after: int | None = None) -> None:
        """Let every write to a file fail, when `after` so many bytes were stored."""
        left = after or 0

        def failing(source: int, target: int, count: int, **options: Any) -> int:
            nonlocal left
            if not left:
                raise OSError(code, errno.errorcode[code])
            stored = self.splice(source, target, min(count, left), **options)
            left -= stored
            return stored

        self.to_file = failing

    def _splice(self, source: int, target: int, count: int, **options: Any) -> int:
        if "offset_dst" not in options:
            return self.from_socket(source, target, count, **options)
        if not self.goes_on.is_set():
            self.stands.set()
            assert self.goes_on.wait(PATIENCE)
        return self.to_file(source, target, count, **options)


def piece(number: int, size: int) -> bytes:
    """Return bytes that tell which transfer they belong to, and where in it they belong."""
    block = b"".join(struct.pack(">HH", number, at) for at in range(min(size // 4 + 1, 0x10000)))
    return (block * (size // len(block) + 1))[:size]


def descriptors() -> list[str]:
    """Return what this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(found)


def threads() -> Sequence[str]:
    """Return the names of threads that data stores have."""
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("tusd-py"))
