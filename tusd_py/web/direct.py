"""A body straight from its connection into one buffer: past aiohttp's parser, which would copy it in many pieces.

For bodies that are too long for that to cost nothing, and too short to be worth a data plane. Where asyncio lets a
protocol bring its own buffer, the connection's protocol is exchanged until the body has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from aiohttp import web

from tusd_py.abc import Buffer
from tusd_py.web.stream import reattach, take_over

BUFFER = 512 * 1024
"""Bytes that are collected at most before they are stored."""
BUFFERS = 6
"""Bodies at a time that are received so: bounds the memory; all others take the usual way."""
TICK = 0.25
"""Seconds after which what has come is stored, although it is not much."""
SLOW = 32 * 1024
"""A client that brings less than this in a tick must make do with a buffer as small as this."""


class DirectReader(asyncio.BufferedProtocol):
    """Takes aiohttp's place at a connection from within a body to its end."""

    _free: ClassVar[list[bytearray]] = []
    _lent: ClassVar[int] = 0

    def __init__(self, request: web.Request, buffers: list[bytes], left: int) -> None:
        """Go on behind `buffers`, which have arrived; `left` bytes are to come. Use `begin`."""
        assert request.transport is not None
        DirectReader._lent += 1
        self._request = request
        self._handler = request.protocol
        self._transport = request.transport
        self._loop = asyncio.get_running_loop()
        self._owned = DirectReader._free.pop() if DirectReader._free else bytearray(BUFFER)
        self._is_lent = True
        self._buffer = memoryview(self._owned)
        self._before = buffers
        """What has arrived before it, to be returned first."""
        self._given = 0
        """How much of the buffer was returned by `receive`: it may be in use until the next call."""
        self._filled = 0
        self._left = left
        self._paused = False
        self._eager = False
        self._is_slow = False
        self._over = False
        self._waiter: asyncio.Future[None] | None = None
        self.arrived_at = self._loop.time()
        """When the last byte came, in the loop's time."""
        if left:
            self._transport.set_protocol(self)

    @classmethod
    def begin(cls, request: web.Request, least: int) -> DirectReader | None:
        """Receive the rest of a request's body, if it can be had, is `least` bytes or more, and there is a buffer."""
        if DirectReader._lent >= BUFFERS or (parts := take_over(request, least)) is None:
            return None
        return cls(request, *parts)

    @property
    def is_complete(self) -> bool:
        """Whether every byte has arrived."""
        return not self._left

    @property
    def is_over(self) -> bool:
        """Whether no more bytes will come."""
        return self._over or not self._left

    async def receive(self) -> Sequence[Buffer]:
        """Return what has come, as soon as there is enough, or it is all; empty = no more will come.

        What an earlier call returned is overwritten from now on. Cancelling loses nothing.
        """
        if self._given == self._filled and not self._before:
            self._given = self._filled = 0
            if self.is_complete:
                self._give_back()
            if self.is_over:
                # One that was ended early keeps its buffer: its client may still be sending.
                return ()
            self._go_on()
        if not (self.is_over or self._filled == len(self._buffer)):
            timer = self._loop.call_later(TICK, self._tick)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._eager = False
                timer.cancel()
        before, self._before = self._before, []
        start, self._given = self._given, self._filled
        return [*before, self._buffer[start : self._filled]] if start < self._filled else before

    def end(self) -> None:
        """Wait for no more bytes. `receive` returns what has come, once."""
        self._over = True
        self._wake()

    def close(self) -> None:
        """Give the connection back, also in the middle of the body. The buffer is left to whoever still has it."""
        self.end()
        if self._left and self._transport.get_protocol() is self:
            self._transport.set_protocol(self._handler)
            reattach(self._request, complete=False)
        if self._is_lent:
            # It may still be on its way to the disk, so nobody else can have it.
            self._is_lent = False
            DirectReader._lent -= 1

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes belong, and not one byte more than belongs to this body."""
        del sizehint
        return self._buffer[self._filled : self._filled + self._left]

    def buffer_updated(self, nbytes: int) -> None:
        """Note that some came; behind the last one the connection is aiohttp's again."""
        self._filled += nbytes
        self._left -= nbytes
        self.arrived_at = self._loop.time()
        if not self._left:
            self._transport.set_protocol(self._handler)
            reattach(self._request, complete=True)
        elif self._filled == len(self._buffer):
            self._paused = True
            self._transport.pause_reading()
        elif not self._eager:
            return
        self._wake()

    def eof_received(self) -> None:
        """Note that the client will send no more."""
        self.end()
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client is gone."""
        self.end()
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """Leave what is on its way out to aiohttp."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Leave what is on its way out to aiohttp."""
        self._handler.resume_writing()

    def _go_on(self) -> None:
        """Take bytes again, now that the buffer is free."""
        if self._is_slow and self._is_lent:
            self._give_back()
            self._buffer = memoryview(bytearray(SLOW))
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _give_back(self) -> None:
        """Let another body have the buffer: all of it is stored, and nothing more is received into it."""
        if self._is_lent:
            self._is_lent = False
            DirectReader._lent -= 1
            DirectReader._free.append(self._owned)

    def _tick(self) -> None:
        self._is_slow = self._filled - self._given < SLOW
        self._eager = True
        if self._filled > self._given or self._before:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
