"""A file from any server, resumed after whatever happened, also by another run."""

from __future__ import annotations

import re
import time
from pathlib import Path

import aiohttp

from tusd_py.client.destination import Destination, FileDestination, StreamDestination
from tusd_py.client.errors import GaveUp
from tusd_py.client.gate import Gate
from tusd_py.client.naming import choose_name
from tusd_py.client.pace import Bucket
from tusd_py.client.patience import Patience
from tusd_py.client.progress import telling
from tusd_py.client.records import Downloaded, Finished, OnEvent, Options, Progress, Restarted, Resumed, tell_nobody
from tusd_py.client.wire import Wire
from tusd_py.protocol.tus1_client import TryAgain, Verdict

PIECE = 1024 * 1024
"""Most bytes that are written at once."""
MOST_RESTARTS = 5
"""So often it begins anew without reaching further than before."""

_UNKNOWN = "the server does not tell whether it is still the same file (no strong ETag)"
# RFC 9110 8.8.3. A weak one, W/"...", does not promise the same bytes.
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


async def download(
    url: str,
    destination: Path | int | None = None,
    *,
    options: Options | None = None,
    on_event: OnEvent | None = None,
    overwrite: bool = False,
) -> Downloaded:
    """Bring what a URL leads to.

    A file is there when all of it is. Until then there is `<name>.<which>.part` beside it, and the next call for the
    same URL and destination goes on with it, if the server can tell that it still has the same file (a strong ETag)
    and can send a part of it. Cancelling leaves it there. Bytes arrive as the server has them: nothing is unpacked.

    Args:
        url: where it is.
        destination: a file; a directory, or None = the current one, for a file named by the server; or an open
            descriptor, into which bytes go in order. Of what went into a descriptor another call cannot go on.
        options: how; those about uploads do not count.
        on_event: is told what happens.
        overwrite: whether a file that is there is replaced, when the new one is whole.

    Raises:
        TransferFailed: `Refused`, `NotATusServer` (a redirection: it is not followed), `Untrusted`, `GaveUp`,
            `DestinationUnusable`, and `CannotResume`, of a descriptor.
        ValueError: the URL is none of http or https.
    """
    options = options or Options()
    async with Wire(url, options) as wire:
        where = (
            StreamDestination(destination)
            if isinstance(destination, int)
            else FileDestination(destination, wire.endpoint, overwrite=overwrite)
        )
        try:
            return await _Download(url, where, wire, options, on_event=on_event or tell_nobody).run()
        finally:
            await where.close()


class _Download:
    def __init__(self, url: str, where: Destination, wire: Wire, options: Options, *, on_event: OnEvent) -> None:
        self._url = url
        self._where = where
        self._wire = wire
        self._tell = on_event
        self._bucket = Bucket(options.limit_rate)
        self._patience = Patience(options, Gate(), on_event)
        self._begun = False
        self._etag: str | None = None
        """Of the file whose bytes are here; None = nobody can tell whether another answer is about the same."""
        self._total: int | None = None
        """Bytes of it; None = the server does not say."""
        self._sends_parts = True
        """Whether the server, as far as is known, sends the part that it is asked for."""
        self._received = 0
        self._furthest = 0
        self._restarts = 0

    async def run(self) -> Downloaded:
        began = time.monotonic()
        await self._where.check()
        with telling(self._look, self._tell):
            while not await self._go_on():
                pass
        path, size, seconds = await self._where.finish(), self._where.offset, time.monotonic() - began
        self._tell(Finished(url=self._wire.endpoint, size=size, sent=self._received, seconds=seconds, verified=False))
        return Downloaded(path=path, size=size, received=self._received, seconds=seconds)

    async def _go_on(self) -> bool:
        """Make one request, and wait when it has failed. Return whether all is there."""
        try:
            return await self._attempt()
        except Verdict as verdict:
            await self._patience.after(verdict)
            return False

    async def _attempt(self) -> bool:
        """Make one request. Return whether all is there; False = another request is to be made at once."""
        start = self._where.offset if self._etag and self._sends_parts else 0
        head = {"Range": f"bytes={start}-", "If-Range": self._etag} if start and self._etag else {}
        async with self._wire.stream("GET", self._url, head) as response:
            if response.status == 206 and start:
                if not self._continues(response, start):
                    self._sends_parts = False
                    await self._restart("the server sends another part of the file than it was asked for")
                    return False
            elif response.status == 416 and start:
                self._sends_parts = False
                await self._restart("the server has no such part of the file")
                return False
            elif response.status in (200, 204):
                if not await self._begin(response):
                    return self._where.offset == self._total
            else:
                raise await self._wire.verdict_on(response)
            await self._receive(response)
        return True

    def _continues(self, response: aiohttp.ClientResponse, start: int) -> bool:
        """Whether what comes belongs behind what is here."""
        said = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if said is None or int(said[1]) != start or _etag_of(response) not in (None, self._etag):
            return False
        total = None if said[3] == "*" else int(said[3])
        self._total = total if self._total is None else self._total
        return self._total is not None and total in (None, self._total)

    async def _begin(self, response: aiohttp.ClientResponse) -> bool:
        """Make ready for a whole file. Return whether to read it; False = a part of it, or all, is here already."""
        etag, lost = _etag_of(response), self._begun and self._where.offset > 0
        if self._begun and etag is not None and etag == self._etag:
            self._sends_parts = self._sends_parts and not lost
            await self._where.restart()
            reason = "the server sends all of the file again"
        else:
            name = choose_name(response.headers.get("Content-Disposition", ""), self._url)
            await self._where.begin(name, etag)
            reason = "the file on the server is another one now" if self._etag and etag else _UNKNOWN
        self._begun, self._etag = True, etag
        if lost:
            self._note_restart(reason)
        self._total = 0 if response.status == 204 else response.content_length
        here = self._where.offset
        if self._total is not None and here > self._total:
            await self._where.restart()
            return True
        if here:
            self._furthest = max(self._furthest, here)
            self._tell(Resumed(url=self._wire.endpoint, size=self._total, offset=here, parts=1))
        return not here

    async def _receive(self, response: aiohttp.ClientResponse) -> None:
        """Read a body to its end. Raises `TryAgain` when that is not the end of the file."""
        most = min(PIECE, self._bucket.piece or PIECE)
        while data := await self._wire.read(response, most):
            if self._total is not None and self._where.offset + len(data) > self._total:
                self._sends_parts = False
                await self._restart("more came than the file has")
                raise TryAgain("the server sent more than it had announced", status=response.status)
            await self._bucket.take(len(data))
            await self._where.write(data)
            self._received += len(data)
            if self._where.offset > self._furthest:
                self._furthest, self._restarts = self._where.offset, 0
                self._patience.progressed()
        if self._total is not None and self._where.offset < self._total:
            raise TryAgain("the server closed the connection", status=response.status)

    async def _restart(self, reason: str) -> None:
        await self._where.restart()
        self._note_restart(reason)

    def _note_restart(self, reason: str) -> None:
        self._restarts += 1
        if self._restarts > MOST_RESTARTS:
            raise GaveUp(f"began anew {MOST_RESTARTS} times and came no further; the last reason: {reason}")
        self._tell(Restarted(reason=reason))

    def _look(self) -> Progress:
        return Progress(offset=self._where.offset, size=self._total, sent=self._received)


def _etag_of(response: aiohttp.ClientResponse) -> str | None:
    """Return what names the bytes of a file exactly; None = the server does not say."""
    etag = response.headers.get("ETag", "")
    return etag if _STRONG_ETAG.fullmatch(etag) else None
