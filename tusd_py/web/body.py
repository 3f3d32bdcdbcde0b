"""A request's body as the engine reads it: whatever is at hand, until it ends, is interrupted or falls silent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from aiohttp import ClientError, web
from aiohttp.web_protocol import RequestPayloadError

from tusd_py.abc import Body, Buffer, Rest, Transfer
from tusd_py.errors import ConnectionReset, InvalidFraming, ReadTimeout, TusError
from tusd_py.models.pace import Pace
from tusd_py.web.direct import DirectReader
from tusd_py.web.stream import (
    FIRST_READ,
    detach,
    is_crumbs,
    is_malformed,
    read_at_once,
    read_crumbs,
    reattach,
    revive,
    take_buffered,
)

READ_AHEAD = 256 * 1024
"""Bytes that may wait in memory while the store writes; aiohttp stops the socket at twice this."""
GENEROUS = 2
"""Bodies at a time that are read so far ahead, and in pieces as large; beyond, memory counts for more than speed."""
WATCH_INTERVAL = 1.0
"""Seconds between two looks at a body for what aiohttp does not tell its reader."""


class RequestBody(Body):
    """The body of one aiohttp request. Use as a context manager: leaving it hands the rest back to aiohttp."""

    _reading: ClassVar[int] = 0
    """Bodies that are being read with generosity."""

    def __init__(
        self,
        request: web.Request,
        *,
        timeout: float,
        detach_from: int | None = None,
        direct_from: int | None = None,
        rate: int | None = None,
    ) -> None:
        """Read the body of `request`.

        Args:
            timeout: seconds without a byte after which it ends.
            detach_from: bytes that must be left for giving the socket away; None = never do.
            direct_from: bytes that must be left for taking them without the parser; None = never do.
            rate: bytes a second that are taken at most; None = as they come.
        """
        self._request = request
        self._content = request.content
        self._timeout = timeout
        self._detach_from = detach_from
        self._direct_from = None if rate is not None else direct_from
        self._direct: DirectReader | None = None
        self._pace = None if rate is None else Pace(rate)
        self._pausing: asyncio.Future[None] | None = None
        self._rest: Rest | None = None
        self._transfer: Transfer | None = None
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._greeted = False
        self._is_generous = False
        self._is_crumbs = False
        self._waiting_since: float | None = None
        self._reason: TusError | None = None
        self._drained = False
        self._watchdog: asyncio.TimerHandle | None = None

    def __enter__(self) -> RequestBody:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._is_generous:
            RequestBody._reading -= 1
        if self._is_generous or self._is_crumbs:
            read_at_once(self._request, FIRST_READ)
        if self._direct is not None:
            self._direct.close()
        if self._rest is not None:
            self._take_back(self._rest)
        if self._reason is not None:
            revive(self._content, self._reason)

    @property
    def is_withheld(self) -> bool:
        """Whether the rest will not come: the client waits for `100 Continue`, fell silent, or the framing broke."""
        ended = self._reason if self._transfer is None else self._transfer.error
        return (
            isinstance(ended, ReadTimeout)
            or is_malformed(self._request)
            or (not self._greeted and expects_continue(self._request))
        )

    @property
    def is_cut(self) -> bool:
        """Whether reading began and ended early, so that what follows on the connection is not wanted."""
        if self._transfer is not None:
            return not self._transfer.is_complete
        return self._begun and not self._content.is_eof()

    async def detach(self) -> Rest | None:
        """Give the socket away if the body can be had there; see `tusd_py.abc.Body.detach`."""
        if self._detach_from is None or (self._request.content_length or 0) < self._detach_from:
            return None
        await self._greet()
        if self._reason is not None or (parts := detach(self._request, self._detach_from)) is None:
            return None
        self._rest = Rest(*parts, self._timeout, self._pace)
        return self._rest

    def attach(self, transfer: Transfer) -> None:
        """Know who moves the body; see `tusd_py.abc.Body.attach`."""
        self._transfer = transfer
        if self._reason is not None:
            transfer.interrupt(self._reason)

    async def receive(self) -> Sequence[Buffer]:
        """Return bytes at hand, not faster than allowed; see `tusd_py.abc.Body.receive`."""
        if self._pace is None:
            return await self._receive()
        if (seconds := self._pace.pause(self._loop.time())) and self._reason is None:
            await self._rest_for(seconds)
        buffers = await self._receive()
        self._pace.spend(sum(map(len, buffers)))
        return buffers

    async def _receive(self) -> Sequence[Buffer]:
        if not self._is_crumbs and is_crumbs(self._content):
            self._is_crumbs = True
            read_crumbs(self._request)
        if not self._begun:
            await self._begin()
        if self._direct is not None:
            return await self._receive_direct(self._direct)
        return await self._receive_parsed()

    async def _receive_parsed(self) -> Sequence[bytes]:
        if self._reason is not None:
            return self._last_buffers(self._reason)
        if (buffers := take_buffered(self._content)) or self._content.at_eof():
            return buffers
        self._waiting_since = self._loop.time()
        if self._watchdog is None:
            self._watch()
        try:
            chunk = await self._content.readany()
        except TusError as reason:
            return self._last_buffers(reason)
        except RequestPayloadError:
            return self._last_buffers(InvalidFraming("The body is not well formed"))
        except (ConnectionError, ClientError, RuntimeError):
            # What aiohttp raises for a lost connection depends on the moment in which it was lost.
            return self._last_buffers(ConnectionReset())
        finally:
            self._waiting_since = None
        return (chunk,) if chunk else ()

    async def _receive_direct(self, direct: DirectReader) -> Sequence[Buffer]:
        self._waiting_since = self._loop.time()
        if self._watchdog is None:
            self._watch()
        try:
            buffers = await direct.receive()
        finally:
            self._waiting_since = None
        if not buffers and not direct.is_complete:
            raise self._reason or ConnectionReset()
        return buffers

    def interrupt(self, reason: TusError) -> None:
        """Make `receive` end with `reason`; see `tusd_py.abc.Body.interrupt`."""
        if self._reason is None:
            self._reason = reason
            if self._transfer is not None:
                self._transfer.interrupt(reason)
            elif self._direct is not None:
                self._direct.end()
            elif self._content.exception() is None:
                self._content.set_exception(reason)
            if self._pausing is not None and not self._pausing.done():
                self._pausing.set_result(None)

    def idle(self) -> float:
        """Return the seconds for which we have been waiting for a byte; 0 while the store is busy."""
        if self._transfer is not None:
            return self._transfer.idle()
        if self._waiting_since is None:
            return 0.0
        since = self._waiting_since if self._direct is None else max(self._waiting_since, self._direct.arrived_at)
        return self._loop.time() - since

    def is_over(self) -> bool:
        """Return whether nothing more will arrive; see `tusd_py.abc.Body.is_over`."""
        if self._transfer is not None:
            return self._transfer.is_ending()
        if self._direct is not None:
            return self._direct.is_over
        return self._content.is_eof() or self._content.exception() is not None

    def _last_buffers(self, reason: TusError) -> Sequence[bytes]:
        """Return what had arrived when the body ended early, once; then raise why, unless it had all arrived."""
        self._reason = self._reason or reason
        if not self._drained:
            self._drained = True
            if buffers := take_buffered(self._content):
                return buffers
        if self._content.at_eof():
            return ()
        raise self._reason

    async def _rest_for(self, seconds: float) -> None:
        """Take nothing for some seconds, or until it is interrupted."""
        self._pausing = self._loop.create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pausing
        self._pausing = None

    async def _begin(self) -> None:
        await self._greet()
        self._begun = True
        least = self._direct_from
        if least is not None and self._reason is None and (self._request.content_length or 0) >= least:
            self._direct = DirectReader.begin(self._request, least)
            # Without a buffer for it there are many bodies at a time.
            return
        # A body that is there, or nearly so, is not worth a setting.
        if not self._content.is_eof() and RequestBody._reading < GENEROUS and not self._is_crumbs:
            RequestBody._reading += 1
            self._is_generous = True
            self._content.set_read_chunk_size(READ_AHEAD)
            read_at_once(self._request, READ_AHEAD)

    async def _greet(self) -> None:
        """Tell a client to go on that waits for it, once."""
        if not self._greeted and expects_continue(self._request):
            writer = self._request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # What was written so far is not part of the response (aiohttp's own handler does the same).
            writer.output_size = 0
        self._greeted = True

    def _take_back(self, rest: Rest) -> None:
        """Give aiohttp its connection back, unless somebody still takes bytes from it."""
        if self._transfer is None:
            rest.socket.close()
            reattach(self._request, complete=False)
        elif self._transfer.is_over:
            reattach(self._request, complete=self._transfer.is_complete)
        else:
            # aiohttp cancelled the request and is about to close the connection.
            self._transfer.interrupt(ConnectionReset())

    def _watch(self) -> None:
        """End the body when it broke or nothing came for the timeout. One timer per body, not one per read."""
        silent = self.idle()
        if is_malformed(self._request):
            self.interrupt(InvalidFraming("The body is not well formed"))
        elif silent >= self._timeout:
            self.interrupt(ReadTimeout())
        else:
            self._watchdog = self._loop.call_later(min(self._timeout - silent, WATCH_INTERVAL), self._watch)


def expects_continue(request: web.Request) -> bool:
    """Return whether the client waits for `100 Continue` before it sends its body (RFC 9110, 10.1.1)."""
    return request.version >= (1, 1) and request.headers.get("Expect", "").lower() == "100-continue"
