"""The requests of tus 1.0.0 that a load is made of, and nginx's PUT, as scripts for the load generator."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.client import Address, Failed, Request, Response, Script

CREATED, STORED, SHOWN = (201,), (200, 201, 204), (200, 204)


@dataclass(frozen=True)
class Source:
    """The bytes that are uploaded: a file of random bytes, held open, and its beginning in memory."""

    file: int
    size: int
    start: bytes
    name: str
    """Its path, for programs that upload it by themselves."""

    def digest(self, size: int) -> str:
        """Return the value of `Upload-Checksum` for the first bytes."""
        total, position = hashlib.sha256(), 0
        while position < size:
            piece = os.pread(self.file, min(2**20, size - position), position)
            total.update(piece)
            position += len(piece)
        return f"sha256 {base64.b64encode(total.digest()).decode()}"


@dataclass(frozen=True)
class Speaker:
    """How one server is spoken to."""

    address: Address
    path: str
    source: Source
    metadata: str = ""
    extensions: frozenset[str] = frozenset()

    def _head(self, method: str, path: str, length: int | None, *lines: str) -> bytes:
        said = [f"{method} {path} HTTP/1.1", f"Host: {self.address[0]}:{self.address[1]}", "Tus-Resumable: 1.0.0"]
        if length is not None:
            said.append(f"Content-Length: {length}")
        return ("\r\n".join([*said, *lines]) + "\r\n\r\n").encode()

    def post(self, length: int, body: int = 0, *more: str) -> Request:
        """Announce an upload, perhaps with its first bytes."""
        lines = [f"Upload-Length: {length}", *more]
        if self.metadata:
            lines.append(f"Upload-Metadata: {self.metadata}")
        if body:
            lines.append("Content-Type: application/offset+octet-stream")
        return Request(self._head("POST", self.path, body, *lines) + self.source.start[:body], CREATED)

    def patch(self, path: str, offset: int, length: int, *more: str) -> Request:
        """Send a piece: a small one from memory, a large one from the file."""
        kind = "Content-Type: application/offset+octet-stream"
        head = self._head("PATCH", path, length, kind, f"Upload-Offset: {offset}", *more)
        if length <= len(self.source.start):
            return Request(head + self.source.start[:length], (204,))
        return Request(head, (204,), self.source.file, 0, length)

    def put(self, path: str, length: int) -> Request:
        """Send a whole file the way of WebDAV."""
        return Request(self._head("PUT", path, length), STORED, self.source.file, 0, length)

    def head(self, path: str) -> Request:
        """Ask how far an upload is."""
        return Request(self._head("HEAD", path, None), SHOWN)

    def join(self, parts: Sequence[str]) -> Request:
        """Make a final upload of partial ones."""
        urls = [f"http://{self.address[0]}:{self.address[1]}{part}" for part in parts]
        lines = ["Upload-Concat: final;" + " ".join(urls)]
        if self.metadata:
            lines.append(f"Upload-Metadata: {self.metadata}")
        return Request(self._head("POST", self.path, 0, *lines), CREATED)

    def create(self, numbers: Iterator[int], length: int, made: list[str], *more: str) -> Script:
        """Make uploads as long as there are numbers, and note where they are."""
        for _ in numbers:
            response = yield self.post(length, 0, *more)
            made.append(place_of(response))

    def fill(self, path: str, size: int, piece: int, *more: str) -> Script:
        """Send an upload piece by piece."""
        for offset in range(0, size, piece):
            yield self.patch(path, offset, min(piece, size - offset), *more)

    def files(self, numbers: Iterator[int], size: int, made: list[str]) -> Script:
        """Upload small files as long as there are numbers, each in one request where the server can do that."""
        for _ in numbers:
            if "creation-with-upload" in self.extensions:
                response = yield self.post(size, size)
                made.append(place_of(response))
                if response.header(b"Upload-Offset") != str(size):
                    raise Failed("the body of a POST was not taken")
            else:
                made.append(place_of((yield self.post(size))))
                yield self.patch(made[-1], 0, size)

    def heads(self, numbers: Iterator[int], path: str) -> Script:
        """Ask as long as there are numbers."""
        for _ in numbers:
            yield self.head(path)

    def check(self, paths: Sequence[str], size: int) -> Script:
        """Look whether uploads have the size that they should have."""
        for path in paths:
            shown = (yield self.head(path)).header(b"Upload-Offset")
            if shown != str(size):
                raise Failed(f"an upload of {size} bytes is shown with Upload-Offset {shown or 'missing'}")

    def remove(self, paths: Sequence[str]) -> Script:
        """Terminate uploads."""
        for path in paths:
            yield Request(self._head("DELETE", path, None), (200, 204))


def one(request: Request, answers: list[Response]) -> Script:
    """Send one request and keep its answer."""
    answers.append((yield request))


def place_of(response: Response) -> str:
    """Return the path of a new upload."""
    location = urlsplit(response.header(b"Location"))
    if not location.path:
        raise Failed("POST was answered without Location")
    return location.path + (f"?{location.query}" if location.query else "")
