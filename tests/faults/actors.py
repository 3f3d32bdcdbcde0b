"""Clients over real sockets that send bytes with a name on them and write down every request before it is sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal
from urllib.parse import urljoin, urlsplit

from tests.faults.oracle.history import Begun, Event, History
from tests.faults.oracle.payload import payload
from tests.support.client import CT, T
from tests.support.wire import RawAnswer, Wire

Cut = Literal["fin", "rst"]
PIECE = 64 * 1024


class Actor:
    """One client; several of them may share a log, and then the numbers of their requests as well.

    An answer that did not come as a whole, for whatever reason, is an unknown outcome and no error.
    """

    def __init__(
        self, url: str, log: History, *, writers: itertools.count[int], timeout: float = 20, linger: float = 0.5
    ) -> None:
        self.url = url
        self.log = log
        self.bodies: dict[str, bytes] = {}
        """By upload, the body of the last download."""
        self.urls: dict[str, str] = {}
        self._writers = writers
        self._timeout = timeout
        self._linger = linger
        """Seconds in which a server may still answer a body that was cut by FIN."""

    async def create(
        self, key: str, length: int | None, headers: Mapping[str, str] | None = None, *, size: int = 0
    ) -> Event:
        """Create an upload, with so many bytes of it; its URL is in `urls` if it came."""
        declared = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        writer = next(self._writers) if size else 0
        begun = self.log.begin("create", key, length=length, writer=writer, size=size)
        asked = {**declared, **(CT if size else {}), "Content-Length": str(size), **(headers or {})}
        return self._created(begun, await self._ask("POST", self.url, asked, payload(key, writer, 0, size)))

    async def concat(self, key: str, parts: Sequence[str], length: int) -> Event:
        """Join finished partial uploads, which have so many bytes together; the URL is in `urls` if it came."""
        joined = " ".join(urlsplit(self.urls[part]).path for part in parts)
        begun = self.log.begin("create", key, length=length, size=length)
        asked = {"Upload-Concat": f"final;{joined}", "Content-Length": "0"}
        return self._created(begun, await self._ask("POST", self.url, asked))

    async def patch(
        self,
        key: str,
        at: int,
        size: int,
        *,
        cut: Cut | None = None,
        after: int = 0,
        checksum: bool = False,
        pause: float = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Event:
        """Send a body of its own writer, with its right checksum; with `cut`, break off after so many bytes of it.

        With a `pause` its second half comes so many seconds after the first one.
        """
        writer = next(self._writers)
        sent = min(after, size) if cut else size
        begun = self.log.begin("patch", key, writer=writer, at=at, size=size, sent=sent if cut else None)
        whole = payload(key, writer, at, at + size)
        asked = {"Content-Length": str(size), **(_checksum(whole) if checksum else {}), **(headers or {})}
        answer: RawAnswer | None = None
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(self._timeout), await Wire.open(self.urls[key]) as wire:
                wire.start_patch(self.urls[key], at, asked)
                first = sent // 2 if pause else 0
                wire.send(whole[:first])
                await asyncio.sleep(pause)
                answer = await _deliver(wire, whole[first:sent], cut, self._linger)
        return _ended(begun, answer, sent=sent if cut else None)

    async def head(self, key: str) -> Event:
        """Ask for the offset."""
        begun = self.log.begin("head", key)
        return _ended(begun, await self._ask("HEAD", self.urls[key], {}))

    async def get(self, key: str) -> Event:
        """Download; the offset of the event is the size of the body, its note names it."""
        begun = self.log.begin("get", key)
        answer = await self._ask("GET", self.urls[key], {})
        if answer is None or answer.headers.get("Transfer-Encoding"):
            return begun.end(None)
        if answer.status != 200:
            return begun.end(answer.status, note=_code(answer))
        self.bodies[key] = answer.body
        return begun.end(200, len(answer.body), note=hashlib.sha256(answer.body).hexdigest()[:16])

    async def delete(self, key: str) -> Event:
        """Delete an upload."""
        begun = self.log.begin("delete", key)
        answer = await self._ask("DELETE", self.urls[key], {"Content-Length": "0"})
        return _ended(begun, answer)

    def _created(self, begun: Begun, answer: RawAnswer | None) -> Event:
        if answer is None:
            return begun.end(None)
        if answer.status == 201:
            self.urls[begun.event.upload] = urljoin(self.url, answer.headers["Location"])
        stored = answer.headers.get("Upload-Offset") if begun.event.size else None
        note = answer.headers.get("Location", "") or _code(answer)
        return begun.end(answer.status, int(stored) if stored else None, note=note)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> RawAnswer | None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(self._timeout), await Wire.open(url) as wire:
                wire.start(method, url, {**T, **headers})
                wire.send(body)
                return await wire.answer(timeout=self._timeout, head=method == "HEAD")
        return None


async def _deliver(wire: Wire, body: bytes, cut: Cut | None, linger: float) -> RawAnswer | None:
    """Send a body while listening: a server may refuse it before it has all come."""
    answering = asyncio.ensure_future(wire.answer(timeout=3600))
    try:
        with contextlib.suppress(OSError):
            for start in range(0, len(body), PIECE):
                wire.send(body[start : start + PIECE])
                await wire.flush()
        if cut == "rst":
            wire.reset()
            return None
        if cut == "fin":
            wire.finish()
            await asyncio.wait([answering], timeout=linger)
            return answering.result() if answering.done() else None
        return await answering
    finally:
        if answering.done() and not answering.cancelled():
            answering.exception()  # seen, so that nobody warns of it
        answering.cancel()


def _checksum(body: bytes) -> dict[str, str]:
    return {"Upload-Checksum": f"sha1 {base64.b64encode(hashlib.sha1(body).digest()).decode()}"}


def _ended(begun: Begun, answer: RawAnswer | None, *, sent: int | None = None) -> Event:
    if answer is None:
        return begun.end(None, sent=sent)
    offset = answer.headers.get("Upload-Offset", "")
    shown = int(offset) if offset.isascii() and offset.isdigit() else None
    return begun.end(answer.status, shown, sent=sent, note=_code(answer))


def _code(answer: RawAnswer) -> str:
    """The ERR_* code of an error answer, for whoever reads the log."""
    return answer.body[:60].decode("latin-1").partition(":")[0] if answer.status >= 400 else ""
