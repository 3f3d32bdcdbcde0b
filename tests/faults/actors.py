"""Clients over real sockets that send bytes with a name on them and write down every request before it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urljoin

from tests.faults.oracle.history import Begun, Event, History
from tests.faults.oracle.payload import payload
from tests.support.client import T
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

    async def create(self, key: str, length: int | None, headers: Mapping[str, str] | None = None) -> Event:
        """Create an upload; its URL is in `urls` if it came."""
        size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        begun = self.log.begin("create", key, length=length)
        answer = await self._ask("POST", self.url, {**size, "Content-Length": "0", **(headers or {})})
        if answer is None:
            return begun.end(None)
        if answer.status == 201:
            self.urls[key] = urljoin(self.url, answer.headers["Location"])
        return begun.end(answer.status, note=answer.headers.get("Location", "") or _code(answer))

    async def patch(
        self,
        key: str,
        at: int,
        size: int,
        *,
        cut: Cut | None = None,
        after: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> Event:
        """Send a body of its own writer; with `cut`, break off after so many bytes of it."""
        writer = next(self._writers)
        sent = min(after, size) if cut else size
        begun = self.log.begin("patch", key, writer=writer, at=at, size=size, sent=sent if cut else None)
        body = payload(key, writer, at, at + sent)
        answer: RawAnswer | None = None
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(self._timeout), await Wire.open(self.urls[key]) as wire:
                wire.start_patch(self.urls[key], at, {"Content-Length": str(size), **(headers or {})})
                answer = await _deliver(wire, body, cut, self._linger)
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

    async def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> RawAnswer | None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(self._timeout), await Wire.open(url) as wire:
                wire.start(method, url, {**T, **headers})
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


def _ended(begun: Begun, answer: RawAnswer | None, *, sent: int | None = None) -> Event:
    if answer is None:
        return begun.end(None, sent=sent)
    offset = answer.headers.get("Upload-Offset", "")
    shown = int(offset) if offset.isascii() and offset.isdigit() else None
    return begun.end(answer.status, shown, sent=sent, note=_code(answer))


def _code(answer: RawAnswer) -> str:
    """The ERR_* code of an error answer, for whoever reads the log."""
    return answer.body[:60].decode("latin-1").partition(":")[0] if answer.status >= 400 else ""
