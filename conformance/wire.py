"""HTTP/1.1 over one socket, as small as it can be: what is sent is what the caller wrote, byte for byte."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.rows import Deviation, expect

LARGEST_HEAD = 256 * 1024
LARGEST_BODY = 16 * 2**20
STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-9]\d\d)(?: (.*))?")


class Unanswered(Deviation):
    """No answer that could be read: too late, cut off, or not HTTP."""


class Silence(Unanswered):
    """Nobody is there: no connection, or no answer in time."""


@dataclass(frozen=True)
class Answer:
    """One final answer, read to its end."""

    asked: str
    """The request line without the version, to name it in sentences."""
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes = b""
    interim: tuple[int, ...] = field(default=())
    """Statuses of the interim answers that came before."""

    def get(self, name: str) -> str | None:
        """Return a header; several lines of it are joined with a comma."""
        values = [value for each, value in self.fields if each.lower() == name.lower()]
        return ", ".join(values) if values else None

    def words(self, name: str) -> list[str]:
        """Return the members of a header that is a list."""
        return [word.strip() for word in (self.get(name) or "").split(",") if word.strip()]

    def number(self, name: str) -> int:
        """Return a header as a number; a header that is missing or is none lets the row fail."""
        value = self.get(name)
        expect(value is not None, f"{self.asked} answered {self.status} without {name}")
        expect(re.fullmatch(r"\d{1,19}", value or ""), f"{self.asked} answered {name}: {(value or '')[:40]!r}")
        return int(value or 0)

    def one_of(self, *statuses: int) -> Answer:
        """Let the row fail unless this is one of the statuses."""
        wanted = " or ".join(str(status) for status in statuses)
        expect(self.status in statuses, f"{self.asked} answered {self.status} instead of {wanted}")
        return self

    def refused(self) -> Answer:
        """Let the row fail unless this is an error of the client's making (4xx)."""
        expect(400 <= self.status < 500, f"{self.asked} answered {self.status} instead of an error 4xx")
        return self

    def is_(self, name: str, value: str | None) -> Answer:
        """Let the row fail unless a header has this value; None: unless it is absent."""
        seen = self.get(name)
        shown = f"without {name}" if seen is None else f"with {name}: {seen[:200]}"
        wanted = "" if value is None else f" instead of {value}"
        expect(seen == value, f"{self.asked} answered {self.status} {shown}{wanted}")
        return self

    @property
    def fine(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


class Connection:
    """One TCP connection to the server under test."""

    def __init__(self, host: str, port: int, authority: str, timeout: float) -> None:
        self.authority = authority
        self.timeout = timeout
        self._asked = "nothing"
        self._buffer = b""
        self._deadline = 0.0
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except TimeoutError:
            raise Silence(f"nothing accepted a connection within {timeout:g} s") from None
        except OSError as error:
            raise Silence(f"there was no connection: {error.strerror or error}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def start(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Send a request line and headers, Host included, and nothing more."""
        self._asked = f"{method} {path}" if len(path) < 80 else f"{method} {path[:77]}..."
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send bytes. That the server closed meanwhile is no error: its answer may be waiting."""
        self._socket.settimeout(self.timeout)
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._socket.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def finish(self) -> None:
        """Close our direction: nothing more comes from us."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection by RST, as a vanishing client does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def interim(self) -> Answer:
        """Read the next answer, whether it is a final one or an interim one."""
        self._deadline = time.monotonic() + self.timeout
        return self._head()

    def answer(self) -> Answer:
        """Read one final answer to its end."""
        self._deadline = time.monotonic() + self.timeout
        before: list[int] = []
        while (head := self._head()).status < 200:
            before.append(head.status)
            expect(len(before) < 100, f"{self._asked} answered nothing but interim answers")
        return Answer(head.asked, head.status, head.reason, head.fields, self._body(head), tuple(before))

    def _head(self) -> Answer:
        while b"\r\n\r\n" not in self._buffer:
            expect(len(self._buffer) < LARGEST_HEAD, f"{self._asked} answered headers without an end")
            if not self._more():
                said = "what is not HTTP" if self._buffer else "nothing: the connection was closed"
                raise Unanswered(f"{self._asked} was answered with {said}")
        block, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = block.decode("latin-1").split("\r\n")
        if (status := STATUS_LINE.fullmatch(first)) is None:
            raise Unanswered(f"{self._asked} was answered with what is not HTTP")
        pairs = [line.partition(":") for line in lines]
        fields = tuple((name.strip(), value.strip()) for name, _, value in pairs)
        return Answer(self._asked, int(status[1]), status[2] or "", fields)

    def _body(self, head: Answer) -> bytes:
        if self._asked.startswith("HEAD ") or head.status in (204, 304):
            return b""
        if "chunked" in (head.get("Transfer-Encoding") or "").lower():
            return self._chunks()
        if (length := head.get("Content-Length")) is not None:
            return self._exactly(int(length) if re.fullmatch(r"\d{1,18}", length) else 0)
        while self._more():
            expect(len(self._buffer) < LARGEST_BODY, f"{self._asked} answered a body without an end")
        body, self._buffer = self._buffer, b""
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            text = self._line().partition(b";")[0].strip()
            expect(re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text), f"{self._asked} was answered with a chunk without a size")
            size = int(text, 16)
            if size == 0:
                while self._line():
                    pass
                return body
            body += self._exactly(size)
            self._line()

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if not self._more():
                raise Unanswered(f"{self._asked} was answered with a body that was cut off")
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> bytes:
        expect(size < LARGEST_BODY, f"{self._asked} answered a body of {size} bytes")
        while len(self._buffer) < size:
            if not self._more():
                raise Unanswered(f"{self._asked} was answered with a body that was cut off")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _more(self) -> bool:
        left = self._deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            data = self._socket.recv(65536)
        except TimeoutError:
            raise Silence(f"{self._asked} was not answered within {self.timeout:g} s") from None
        except OSError:
            # What came before a reset counts.
            return False
        self._buffer += data
        return bool(data)
