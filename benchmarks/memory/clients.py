"""Many clients at once that each send one upload: as fast as they are let, or some bytes and then a trickle."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.client import Address, Failed

CHUNK = 64 * 1024
"""Bytes of a chunk of a chunked body: what browsers and programs send."""
READ = 65536
PATIENCE = 120.0
PROBLEM = select.EPOLLHUP | select.EPOLLERR


@dataclass(frozen=True)
class Body:
    """How a body is sent."""

    size: int
    chunked: bool
    content: memoryview
    """Bytes to send, again and again."""

    def head(self, address: Address, path: str) -> bytes:
        """Return the head of a PATCH that sends it."""
        framing = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {self.size}"
        lines = [
            f"PATCH {path} HTTP/1.1", f"Host: {address[0]}:{address[1]}", "Tus-Resumable: 1.0.0", "Upload-Offset: 0",
            "Content-Type: application/offset+octet-stream", framing,
        ]  # fmt: skip
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def pieces(self, size: int, *, ends: bool) -> Iterator[memoryview]:
        """Return so many bytes of it as they go over the wire, perhaps its end, too."""
        step = CHUNK if self.chunked else len(self.content)
        for begun in range(0, size, step):
            piece = self.content[: min(step, size - begun)]
            if self.chunked:
                yield memoryview(b"%x\r\n" % len(piece))
            yield piece
            if self.chunked:
                yield memoryview(b"\r\n")
        if ends and self.chunked:
            yield memoryview(b"0\r\n\r\n")


class _Client:
    def __init__(self, address: Address, path: str, body: Body, first: int) -> None:
        self._body = body
        self._pieces = body.pieces(first, ends=first == body.size)
        self._unsent = memoryview(body.head(address, path))
        self.finished = False
        self.socket = socket.create_connection(address, PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def push(self) -> bool:
        """Send what can be sent; return whether there is nothing left for now."""
        try:
            while True:
                while self._unsent:
                    self._unsent = self._unsent[self.socket.send(self._unsent) :]
                piece = next(self._pieces, None)
                if piece is None:
                    return True
                self._unsent = piece
        except BlockingIOError:
            return False
        except OSError as error:
            raise Failed(f"PATCH: the connection failed: {error.strerror}") from error

    def more(self, size: int) -> None:
        """Have some more bytes to send."""
        self._pieces = self._body.pieces(size, ends=False)

    def pull(self) -> None:
        """Take the answer."""
        try:
            answer = self.socket.recv(READ)
        except BlockingIOError:
            return
        except OSError as error:
            raise Failed(f"PATCH: the connection failed: {error.strerror}") from error
        if not answer.startswith(b"HTTP/1.1 204"):
            raise Failed(f"PATCH was answered with {answer[9:12].decode() or 'nothing'}")
        self.finished = True


class Crowd:
    """Clients that are all connected; nothing is sent before they are told to."""

    def __init__(self, address: Address, paths: Sequence[str], body: Body, first: int) -> None:
        """Connect.

        Args:
            address: Where the server listens.
            paths: Uploads, one for each client.
            body: What each sends.
            first: How many bytes of it at once; all of it, or some, to be followed by a trickle.
        """
        self._clients: dict[int, _Client] = {}
        self._poll = select.epoll()
        try:
            for path in paths:
                one = _Client(address, path, body, first)
                self._clients[one.socket.fileno()] = one
                self._poll.register(one.socket, select.EPOLLIN | select.EPOLLOUT)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Break off whatever is under way."""
        for each in self._clients.values():
            each.socket.close()
        self._poll.close()

    def finish(self) -> None:
        """Send everything and wait for every answer.

        Raises:
            Failed: One was wrong, or none came in time.
        """
        self._go_on(PATIENCE, lambda: all(each.finished for each in self._clients.values()))
        if not all(each.finished for each in self._clients.values()):
            raise Failed(f"no answer for {PATIENCE:.0f} s")

    def push_for(self, seconds: float) -> None:
        """Send as fast as the server takes it, for some time; nobody expects an answer."""
        self._go_on(seconds, lambda: False)

    def trickle(self, seconds: float, size: int) -> None:
        """Send what comes first, then so many bytes each second, for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._go_on(min(1.0, left), lambda: False)
            for number, each in self._clients.items():
                if each.push():
                    each.more(size)
                    self._poll.modify(number, select.EPOLLIN | select.EPOLLOUT)

    def _go_on(self, seconds: float, over: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not over():
            for number, event in self._poll.poll(left):
                one = self._clients[number]
                if event & select.EPOLLOUT and one.push():
                    self._poll.modify(number, select.EPOLLIN)
                if event & (select.EPOLLIN | PROBLEM):
                    one.pull()
                    if one.finished:
                        self._poll.unregister(number)


@contextlib.contextmanager
def crowd(address: Address, paths: Sequence[str], body: Body, first: int) -> Iterator[Crowd]:
    """Have clients until the block ends; see `Crowd`."""
    clients = Crowd(address, paths, body, first)
    try:
        yield clients
    finally:
        clients.close()


@contextlib.contextmanager
def idlers(address: Address, count: int, path: str) -> Iterator[None]:
    """Have connections until the block ends that each asked for one upload and are kept open."""
    question = f"HEAD {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(address, PATIENCE))
            one.sendall(question)
            if not one.recv(READ).startswith(b"HTTP/1.1 200"):
                raise Failed("HEAD was not answered with 200")
        yield
