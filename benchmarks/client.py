"""The load generator: scripts of requests over kept connections, one epoll loop, bodies by sendfile.

It runs in the process of the harness, apart from every server. It parses no more of an answer than it needs and
checks each status, so that it stays cheaper than what it measures; `Load.busy` tells how close it came to its limit.
"""

from __future__ import annotations

import os
import select
import socket
import time
from array import array
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

PATIENCE = 120.0
PIECE = 2**30
READ = 65536

Address = tuple[str, int]


class Failed(Exception):
    """A server did not do what it was asked to do; the message says what happened."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: bytes, then perhaps a part of an open file."""

    data: bytes
    expect: tuple[int, ...]
    """Statuses that are right."""
    file: int = -1
    offset: int = 0
    length: int = 0
    """How many bytes of the file belong to the body."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status, and its head as it came."""

    status: int
    head: bytes

    def header(self, name: bytes) -> str:
        """Return the value of a header, or nothing."""
        _, found, rest = self.head.lower().partition(b"\r\n" + name.lower() + b":")
        start = len(self.head) - len(rest)
        return self.head[start : self.head.index(b"\r\n", start)].decode("latin-1").strip() if found else ""


Script = Generator[Request, Response, None]
"""Yields requests and is sent their answers; one connection each."""


@dataclass
class Load:
    """What sending a load was like."""

    wall: float = 0.0
    busy: float = 0.0
    """CPU seconds of the load generator."""
    times: array[float] = field(default_factory=lambda: array("d"))
    """Seconds from each request to its answer."""


class _Connection:
    def __init__(self, address: Address, script: Script) -> None:
        self.address, self.script, self.socket = address, script, self._connect(address)
        self.begun = 0.0
        self._unsent = memoryview(b"")
        self._position = self._left = 0
        self._answer = b""
        self._request: Request

    @staticmethod
    def _connect(address: Address) -> socket.socket:
        try:
            fresh = socket.create_connection(address, PATIENCE)
        except OSError as error:
            raise Failed(f"the server takes no connection: {error}") from None
        fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fresh.setblocking(False)
        return fresh

    def next(self, response: Response | None) -> bool:
        """Take the next request of the script; return whether there is one."""
        try:
            request = next(self.script) if response is None else self.script.send(response)
        except StopIteration:
            return False
        self._request = request
        self._unsent, self._position, self._left = memoryview(request.data), request.offset, request.length
        self.begun = time.perf_counter()
        return True

    def push(self) -> bool:
        """Send what can be sent; return whether all of the request is sent."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent, socket.MSG_MORE if self._left else 0) :]
            while self._left:
                sent = os.sendfile(self.socket.fileno(), self._request.file, self._position, min(self._left, PIECE))
                if not sent:
                    raise Failed("the file of the load generator is too short")
                self._position += sent
                self._left -= sent
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            # What the server said before it closed is more telling.
            self._left, self._unsent = 0, memoryview(b"")
        return True

    def pull(self) -> Response | None:
        """Read; return the answer when it is complete.

        Raises:
            Failed: It is not the right one.
        """
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data = b""
        method = self._request.data.partition(b" ")[0].decode()
        if not data:
            raise Failed(f"{method}: the connection was closed without an answer")
        self._answer += data
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        if not found:
            return None
        response = Response(int(head[9:12]), head + b"\r\n")
        if response.status not in self._request.expect:
            raise Failed(f"{method} was answered with {response.status}: {_line(rest)}")
        if method != "HEAD" and not _complete(response, rest):
            return None
        self._answer = b""
        return response

    def again(self) -> None:
        """Connect anew."""
        self.socket.close()
        self.socket = self._connect(self.address)


def _line(text: bytes) -> str:
    return " ".join(text[:100].decode("latin-1").split())


def _complete(response: Response, body: bytes) -> bool:
    if response.header(b"Transfer-Encoding").lower() == "chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(response.header(b"Content-Length") or 0)


def drive(address: Address, scripts: Sequence[Script], between: Callable[[], None] | None = None) -> Load:
    """Run scripts side by side, each on its own connection, and return what it was like.

    Args:
        address: Where the server listens.
        scripts: What to send.
        between: Called when all connections are there, before the first request.

    Raises:
        Failed: The server gave a wrong answer, or none in time.
    """
    load = Load()
    connections = [_Connection(address, script) for script in scripts]
    try:
        with select.epoll() as poll:
            if between is not None:
                between()
            began, busy = time.perf_counter(), time.process_time()
            _loop(poll, connections, load)
            load.wall, load.busy = time.perf_counter() - began, time.process_time() - busy
    except OSError as error:
        raise Failed(f"the connection failed: {error.strerror}") from error
    finally:
        for each in connections:
            each.socket.close()
    return load


def _loop(poll: select.epoll, connections: Sequence[_Connection], load: Load) -> None:
    both = select.EPOLLIN | select.EPOLLOUT
    active: dict[int, _Connection] = {}
    sending: set[int] = set()

    def begin(one: _Connection, response: Response | None, known: bool) -> None:
        number = one.socket.fileno()
        if not one.next(response):
            if known:
                poll.unregister(number)
                del active[number]
            return
        done = one.push()
        if not known:
            poll.register(number, select.EPOLLIN if done else both)
            active[number] = one
        elif not done:
            poll.modify(number, both)
        if not done:
            sending.add(number)

    for each in connections:
        begin(each, None, known=False)
    while active:
        events = poll.poll(PATIENCE)
        if not events:
            raise Failed(f"no answer for {PATIENCE:.0f} s")
        for number, event in events:
            one = active[number]
            if number in sending and event & select.EPOLLOUT and one.push():
                sending.discard(number)
                poll.modify(number, select.EPOLLIN)
            if event & ~select.EPOLLOUT and (response := one.pull()) is not None:
                load.times.append(time.perf_counter() - one.begun)
                sending.discard(number)
                closes = response.header(b"Connection").lower() == "close"
                if closes:
                    poll.unregister(number)
                    del active[number]
                    one.again()
                begin(one, response, known=not closes)
