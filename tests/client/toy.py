"""A small tus server that can be told to do what no healthy server does."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from multidict import CIMultiDict

ALL = "creation,creation-with-upload,creation-defer-length,termination,concatenation,checksum"


@dataclass
class Request:
    """What came."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class Reply:
    """What goes back."""

    status: int
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: bytes = b""

    def encode(self, method: str) -> bytes:
        lines = [
            f"HTTP/1.1 {self.status} Whatever",
            *(f"{name}: {value}" for name, value in self.headers.items() if value),
        ]
        if self.status != 204 and "Content-Length" not in self.headers:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else self.body)


Rule = Callable[["Toy", Request], Reply | None]
"""Answers a request in place of the server; None = the connection is cut."""


def says(status: int, body: str = "", **headers: str) -> Rule:
    """Answer so, and do nothing else."""
    fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return lambda toy, request: Reply(status, fields, body.encode())


def cuts(toy: Toy, request: Request) -> Reply | None:
    """Do nothing and answer nothing."""
    return None


def swallows(toy: Toy, request: Request) -> Reply | None:
    """Do what is asked; the answer gets lost."""
    toy.answer(request)
    return None


def telling(**headers: str | None) -> Rule:
    """Do what is asked, and answer with other headers; None = without."""

    def rule(toy: Toy, request: Request) -> Reply:
        reply = toy.answer(request)
        for name, value in headers.items():
            reply.headers.pop(name.replace("_", "-"), None)
            if value is not None:
                reply.headers[name.replace("_", "-")] = value
        return reply

    return rule


def taking(count: int) -> Rule:
    """Take only the first bytes of a body, and cut the connection."""

    def rule(toy: Toy, request: Request) -> None:
        toy.uploads[request.path] += request.body[:count]

    return rule


def losing(rule: Rule | None = None) -> Rule:
    """Lose all uploads first."""

    def lose(toy: Toy, request: Request) -> Reply | None:
        toy.uploads.clear()
        return (rule or Toy.answer)(toy, request)

    return lose


def normal(toy: Toy, request: Request) -> Reply:
    """Do what is asked."""
    return toy.answer(request)


class Toy:
    """Keeps uploads in memory, and does what `on` and `always` tell it instead of what it should."""

    def __init__(self, *, extensions: str | None = ALL, **options: str) -> None:
        self.extensions = extensions
        self.options = options
        self.uploads: dict[str, bytearray] = {}
        self.lengths: dict[str, int | None] = {}
        self.keys: dict[str, str] = {}
        """Locations by idempotency key; only used when `knows_keys`."""
        self.knows_keys = False
        self.requests: list[Request] = []
        self.broken_off = 0
        """How many bodies ended before their end."""
        self.url = ""
        self._rules: dict[str, Iterator[Rule]] = {}
        self._numbers = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, method: str, *rules: Rule) -> None:
        """Answer the next requests of a method by these rules, one after the other."""
        self._rules[method] = iter(rules)

    def always(self, method: str, rule: Rule) -> None:
        """Answer all requests of a method by a rule."""
        self._rules[method] = itertools.repeat(rule)

    def asked(self, *methods: str) -> list[Request]:
        """Return the requests of some methods, or all."""
        return [each for each in self.requests if not methods or each.method in methods]

    @property
    def methods(self) -> str:
        """The methods of all requests, in order."""
        return " ".join(each.method for each in self.requests)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, *, ssl: Any = None, **options: Any) -> AsyncIterator[Self]:
        """Run one on a free port until the block ends."""
        toy = cls(**options)
        server = await asyncio.start_server(toy._accept, "127.0.0.1", 0, ssl=ssl, limit=2**20)
        scheme = "https" if ssl else "http"
        toy.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/files/"
        try:
            yield toy
        finally:
            server.close()
            for task in toy._tasks:
                task.cancel()
            if toy._tasks:
                await asyncio.wait(toy._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Cancelled only by the end of the server.
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers: CIMultiDict[str] = CIMultiDict()
        for line in lines:
            name, _, value = line.partition(":")
            headers.add(name, value.strip())
        try:
            body = await reader.readexactly(int(headers.get("Content-Length", "0")))
        except asyncio.IncompleteReadError:
            self.broken_off += 1
            raise
        request = Request(method, path, headers, body)
        self.requests.append(request)
        rule = next(self._rules.get(method, iter(())), None)
        reply = rule(self, request) if rule else self.answer(request)
        if reply is None:
            return False
        writer.write(reply.encode(method))
        await writer.drain()
        if "Content-Length" in reply.headers:
            # It announces more than there is, or nothing: it ends with the connection.
            writer.close()
            await writer.wait_closed()
            return False
        return True

    def answer(self, request: Request) -> Reply:
        """Do what is asked."""
        reply = getattr(self, "_" + request.method.lower())(request)
        reply.headers["Tus-Resumable"] = "1.0.0"
        return reply

    def _options(self, request: Request) -> Reply:
        headers = CIMultiDict({"Tus-Version": "1.0.0", "Tus-Checksum-Algorithm": "md5,sha1,sha256"})
        if self.extensions is not None:
            headers["Tus-Extension"] = self.extensions
        headers.update({name.replace("_", "-"): value for name, value in self.options.items()})
        return Reply(204, headers)

    def _post(self, request: Request) -> Reply:
        key = request.headers.get("Idempotency-Key")
        if self.knows_keys and key in self.keys:
            path = self.keys[key]
            return Reply(201, CIMultiDict({"Location": path, "Upload-Offset": str(len(self.uploads[path]))}))
        path = f"/files/{next(self._numbers)}"
        concat = request.headers.get("Upload-Concat", "")
        if concat.startswith("final;"):
            parts = ["/files/" + url.rsplit("/", 1)[1] for url in concat.removeprefix("final;").split(" ")]
            if not all(part in self.uploads for part in parts):
                return Reply(404)
            self.uploads[path] = bytearray(b"".join(self.uploads[part] for part in parts))
            self.lengths[path] = len(self.uploads[path])
        else:
            length = request.headers.get("Upload-Length")
            self.lengths[path] = None if length is None else int(length)
            self.uploads[path] = bytearray(request.body)
        if key is not None:
            self.keys[key] = path
        reply = Reply(201, CIMultiDict({"Location": path}))
        if request.body:
            reply.headers["Upload-Offset"] = str(len(request.body))
        return reply

    def _head(self, request: Request) -> Reply:
        if request.path not in self.uploads:
            return Reply(404)
        length = self.lengths[request.path]
        said = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        return Reply(200, CIMultiDict({"Upload-Offset": str(len(self.uploads[request.path])), **said}))

    def _patch(self, request: Request) -> Reply:
        data = self.uploads.get(request.path)
        if data is None:
            return Reply(404)
        if int(request.headers["Upload-Offset"]) != len(data):
            return Reply(409, body=b"ERR_MISMATCHED_OFFSET: not there\n")
        if (said := request.headers.get("Upload-Checksum")) is not None:
            algorithm, digest = said.split(" ")
            if b64encode(hashlib.new(algorithm, request.body).digest()).decode() != digest:
                return Reply(460)
        if (length := request.headers.get("Upload-Length")) is not None:
            if self.lengths[request.path] is not None:
                return Reply(400, body=b"ERR_INVALID_UPLOAD_LENGTH: it is known\n")
            self.lengths[request.path] = int(length)
        data += request.body
        return Reply(204, CIMultiDict({"Upload-Offset": str(len(data))}))

    def _delete(self, request: Request) -> Reply:
        return Reply(404 if self.uploads.pop(request.path, None) is None else 204)

    def _get(self, request: Request) -> Reply:
        data = self.uploads.get(request.path)
        if data is None:
            return Reply(404)
        match = re.fullmatch(r"bytes=([0-9]+)-", request.headers.get("Range", ""))
        if match is None:
            return Reply(200, body=bytes(data))
        start = int(match[1])
        return Reply(
            206, CIMultiDict({"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}), bytes(data[start:])
        )
