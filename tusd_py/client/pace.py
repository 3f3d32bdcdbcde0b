"""How far the body of a request has got, and how fast it may go."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SMALLEST_PIECE = 4096
"""Bytes; less at once would cost more than it smooths."""
_PIECES_A_SECOND = 10


class Meter:
    """How much of the body of one request has gone out. One for each request; reading it costs a system call."""

    def __init__(self) -> None:
        self.handed = 0
        """Bytes of the body that were given to the system."""
        self.is_held = False
        """Whether the body waits for something of ours, the disk or the limit of the rate, and not for the network."""
        self._transport: asyncio.WriteTransport | None = None
        self._acknowledged = 0

    @property
    def is_connected(self) -> bool:
        """Whether there was a connection for the body."""
        return self._transport is not None

    @property
    def acknowledged(self) -> int:
        """Bytes of the body that the system of the server, or of a proxy, has confirmed. Never goes back.

        Exact where nothing is between the body and the socket; over TLS a little more than is true. What the server
        has stored is another matter: that stands in its answer.
        """
        self._acknowledged = max(self._acknowledged, self.handed - self.unsent())
        return self._acknowledged

    def unsent(self) -> int:
        """Return the bytes of the connection, heads and TLS included, that wait to be sent or confirmed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return self.handed - self._acknowledged
        waiting = bytearray(4)
        try:
            fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
        except (OSError, ValueError, AttributeError):
            # Not a socket that could be asked: then what was handed over counts.
            return transport.get_write_buffer_size()
        return transport.get_write_buffer_size() + int.from_bytes(waiting, sys.byteorder)

    def attach(self, transport: asyncio.WriteTransport) -> None:
        """Watch a connection. Called by the body when it is about to be written."""
        self._transport = transport

    def detach(self) -> None:
        """Watch no longer: the connection is another request's now, or nobody's."""
        self._acknowledged = self.acknowledged
        self._transport = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Tell that the network is not to blame for what does not go on within the block."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False


class Bucket:
    """A limit of the rate for all transfers of one client together."""

    def __init__(self, rate: int | None, *, clock: Callable[[], float] | None = None) -> None:
        """Allow `rate` bytes per second; None = no limit. `clock` is that of the event loop."""
        self._rate = rate
        self._clock = clock
        self._free_at = 0.0

    @property
    def piece(self) -> int | None:
        """Most bytes to take at once: a tenth of a second's; None = no limit."""
        return None if self._rate is None else max(self._rate // _PIECES_A_SECOND, SMALLEST_PIECE)

    async def take(self, count: int) -> None:
        """Wait until `count` bytes may go, in the order of asking. Cancel-safe: what was not taken is for others."""
        if self._rate is None:
            return
        now = (self._clock or asyncio.get_running_loop().time)()
        turn, cost = max(self._free_at, now), count / self._rate
        self._free_at = turn + cost
        try:
            await asyncio.sleep(turn - now)
        except asyncio.CancelledError:
            self._free_at -= cost
            raise
