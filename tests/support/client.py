"""A tus client that hides nothing: one call, one request, every header as given."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

T = {"Tus-Resumable": "1.0.0"}
CT = {"Content-Type": "application/offset+octet-stream"}


@dataclass(frozen=True)
class Answer:
    """An answer, read to its end."""

    status: int
    reason: str | None
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def offset(self) -> int:
        """Upload-Offset as a number."""
        return int(self.headers["Upload-Offset"])

    @property
    def code(self) -> str:
        """The ERR_* code of an error answer."""
        return self.body.decode().partition(":")[0]


class Client:
    """Speaks tus 1.0.0 to one base URL."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base

    async def send(
        self, method: str, url: str | None = None, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> Answer:
        """Send one request with exactly these headers (and what HTTP itself needs)."""
        target = URL(url or self.base, encoded=True)
        if isinstance(data, bytes) and len(data) > 2**20:
            # aiohttp warns of more: writing it would block the loop.
            data = io.BytesIO(data)
        skip = {"Content-Type", "User-Agent", "Accept", "Accept-Encoding"} - set(headers or {})
        async with self.session.request(
            method, target, headers=headers, data=data, allow_redirects=False, skip_auto_headers=skip
        ) as response:
            return Answer(response.status, response.reason, response.headers, await response.read())

    async def post(self, headers: Mapping[str, str], data: Any = None) -> Answer:
        """POST to the base URL with Tus-Resumable."""
        return await self.send("POST", None, {**T, **headers}, data)

    async def create(self, length: int | None, **headers: str) -> str:
        """Create an upload (None = deferred length) and return its URL; `Upload_Metadata="..."` adds a header."""
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        extra = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.post({**size, **extra})
        assert answer.status == 201, (answer.status, answer.body)
        return answer.headers["Location"]

    async def upload(self, data: bytes, **headers: str) -> str:
        """Create an upload, fill it in one request and return its URL."""
        url = await self.create(len(data), **headers)
        if data:
            answer = await self.patch(url, 0, data)
            assert answer.status == 204, (answer.status, answer.body)
        return url

    async def patch(
        self, url: str, offset: int | str, data: Any = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """PATCH with the usual headers; `headers` adds to them or replaces them."""
        return await self.send("PATCH", url, {**T, **CT, "Upload-Offset": str(offset), **(headers or {})}, data)

    async def head(self, url: str) -> Answer:
        """HEAD with Tus-Resumable."""
        return await self.send("HEAD", url, T)

    async def offset(self, url: str) -> int:
        """Return the offset that HEAD shows."""
        answer = await self.head(url)
        assert answer.status == 200, answer.status
        return answer.offset

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET without Tus-Resumable, as a browser does."""
        return await self.send("GET", url, headers)

    async def delete(self, url: str) -> Answer:
        """DELETE with Tus-Resumable."""
        return await self.send("DELETE", url, T)


async def chunked(*pieces: bytes) -> Any:
    """Yield pieces: a body that aiohttp sends with Transfer-Encoding: chunked."""
    for piece in pieces:
        yield piece
