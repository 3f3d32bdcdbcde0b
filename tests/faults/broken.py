"""A tiny tus server in memory with faults that can be switched on: what the checker must find, each by its name."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import ClientPayloadError, web

from tests.support.servers import running

Fault = Literal[
    "none",
    "loses the last byte",
    "stores zeros",
    "goes back after HEAD",
    "lets two writers win",
    "mixes two writers",
    "acknowledges nothing",
    "lives after DELETE",
    "forgets an upload",
    "stores something else with an error",
    "stores behind an error",
    "moves bytes",
    "answers another upload's bytes",
    "cuts the download",
]

VERSION = {"Tus-Resumable": "1.0.0"}


@dataclass
class Upload:
    """One upload."""

    length: int
    data: bytearray = field(default_factory=bytearray)
    patches: int = 0
    heads: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    refused: bytes = b""
    """The body of a PATCH that was refused."""


class Server:
    """Right in everything but one fault."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.uploads: dict[str, Upload] = {}
        self.deleted: dict[str, Upload] = {}
        self._ids = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("OPTIONS", "/files/", self.options)
        app.router.add_post("/files/", self.create)
        app.router.add_route("PATCH", "/files/{id}", self.patch)
        app.router.add_get("/files/{id}", self.get, allow_head=False)
        app.router.add_head("/files/{id}", self.head)
        app.router.add_delete("/files/{id}", self.delete)
        return app

    async def options(self, request: web.Request) -> web.Response:
        return _answer(204, {"Tus-Extension": "creation,termination", "Tus-Version": "1.0.0"})

    async def create(self, request: web.Request) -> web.Response:
        name = str(next(self._ids))
        self.uploads[name] = Upload(int(request.headers["Upload-Length"]))
        return _answer(201, {"Location": f"/files/{name}"})

    async def head(self, request: web.Request) -> web.Response:
        upload = self._find(request)
        shown = len(upload.data)
        upload.heads += 1
        if self.fault == "goes back after HEAD" and upload.heads % 3 == 2:
            del upload.data[-1:]
        return _answer(200, {"Upload-Offset": str(shown), "Upload-Length": str(upload.length)})

    async def get(self, request: web.Request) -> web.Response:
        upload = self._find(request)
        if len(upload.data) < upload.length:
            raise web.HTTPNotFound(headers=VERSION)
        body = bytes(upload.data)
        if self.fault == "answers another upload's bytes":
            other = max(self.uploads.values(), key=lambda each: 0 if each is upload else len(each.data))
            body = bytes(other.data[: len(body)])
        if self.fault == "cuts the download":
            body = body[:-1]
        return web.Response(body=body, headers=VERSION)

    async def delete(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        upload = self._find(request)
        async with upload.lock:
            if self.uploads.pop(name, None) is None:
                raise web.HTTPNotFound(headers=VERSION)
            self.deleted[name] = upload
        return _answer(204, {})

    async def patch(self, request: web.Request) -> web.Response:
        upload = self._find(request)
        async with upload.lock:
            self._find(request)
            return await self._store(request, upload)

    async def _store(self, request: web.Request, upload: Upload) -> web.Response:
        at, now = int(request.headers["Upload-Offset"]), len(upload.data)
        replaces = self.fault == "lets two writers win" and now > at >= now - 1000
        if at != now and not replaces:
            body, whole = await _receive(request)
            upload.refused = body if whole else b""
            if self.fault == "stores behind an error" and len(body) <= upload.length - now:
                upload.data += body
            raise web.HTTPConflict(headers={**VERSION, "Upload-Offset": str(now)})
        body, whole = await _receive(request)
        upload.patches += 1
        if self.fault == "stores something else with an error" and upload.patches % 4 == 1:
            upload.data += body[::-1]
            raise web.HTTPInternalServerError(headers=VERSION)
        if replaces:
            del upload.data[at:]
        upload.data += self._broken(upload, body)
        end = at + len(body)
        if not whole:
            raise web.HTTPBadRequest(headers=VERSION)
        if self.fault == "loses the last byte" and upload.patches % 3 == 0:
            del upload.data[end - 1 :]
        if self.fault == "acknowledges nothing" and body:
            del upload.data[at:]
            end = at
        if self.fault == "forgets an upload" and upload.patches == 3:
            self.uploads.pop(request.match_info["id"], None)
        return _answer(204, {"Upload-Offset": str(end)})

    def _broken(self, upload: Upload, body: bytes) -> bytes:
        if self.fault == "stores zeros" and upload.patches % 3 == 0:
            return bytes(len(body))
        if self.fault == "moves bytes" and upload.patches % 3 == 0:
            return body[1:] + body[:1]
        if self.fault == "mixes two writers" and len(upload.refused) > 8:
            # Only what stood in both buffers is mixed; the refused one was for about the same place.
            half = min(len(body), len(upload.refused)) // 2
            return body[:half] + upload.refused[half : 2 * half] + body[2 * half :]
        return body

    def _find(self, request: web.Request) -> Upload:
        name = request.match_info["id"]
        found = self.uploads.get(name)
        if found is None and self.fault == "lives after DELETE":
            found = self.deleted.get(name)
        if found is None:
            raise web.HTTPNotFound(headers=VERSION)
        return found


async def _receive(request: web.Request) -> tuple[bytes, bool]:
    """Return what came of a body, and whether that is all of it."""
    body = b""
    try:
        while piece := await request.content.readany():
            body += piece
    except (ConnectionError, ClientPayloadError, web.RequestPayloadError):
        return body, False
    return body, len(body) == int(request.headers.get("Content-Length", "0"))


def _answer(status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, headers={**VERSION, **headers})


@contextlib.asynccontextmanager
async def broken(fault: Fault) -> AsyncIterator[str]:
    """Run a server with this fault; yield the URL to create uploads at."""
    async with running(Server(fault).app()) as url:
        yield f"{url}/files/"
