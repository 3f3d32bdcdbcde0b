"""The bytes of one request, from whoever reads them to whoever stores them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tusd_py.errors import TusError
from tusd_py.models.pace import Pace

Buffer: TypeAlias = bytes | memoryview
"""Bytes in memory. A view is good until whoever gave it is asked for more."""


class Digest(Protocol):
    """A running hash; `hashlib`'s objects are such."""

    def update(self, data: Buffer, /) -> None:
        """Take more bytes."""

    def digest(self) -> bytes:
        """Return the digest of all bytes taken so far."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What is still to come of a body that was detached: its length is known, and nobody else reads its socket."""

    buffers: list[bytes]
    """What has arrived already, in order. Emptied when it is written, for it may be large."""
    socket: socket.socket
    """Non-blocking, at the first byte behind `buffers`. Whoever begins the transfer owns it and closes it."""
    count: int
    """Bytes to take from the socket, and not one more: behind them the next request may follow."""
    timeout: float
    """Seconds without a byte after which the body ends with `ReadTimeout`."""
    pace: Pace | None = None
    """How fast to take the bytes; `buffers` count. None = as they come."""


class Transfer(Protocol):
    """A detached body on its way into a store, moved by somebody else than the event loop."""

    @property
    def position(self) -> int:
        """Every byte of the upload before this offset is written; not yet synced."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be moved. Then `position`, `is_complete` and `error` stay as they are."""

    @property
    def is_complete(self) -> bool:
        """Whether every byte of the body was taken from its socket."""

    @property
    def error(self) -> TusError | OSError | None:
        """Why it ended early, as `Body.receive` or `Data.write` would have raised it; None after a whole body."""

    async def wait(self, position: int, *, timeout: float | None = None) -> None:
        """Return when everything before `position` is written, when it is over, or after so many seconds.

        Used by one waiter at a time. Cancel-safe.
        """

    def interrupt(self, reason: TusError) -> None:
        """Make it move what has arrived, up to a bounded amount, and then end with `reason`. The first one wins."""

    def is_ending(self) -> bool:
        """Return whether nothing more will arrive: it is over or about to be, or the client has gone away."""

    def idle(self) -> float:
        """Return the seconds for which no byte has come from the network; 0 while there is work to do."""


class Body(Protocol):
    """The bytes of one request on their way in. Used by one reader."""

    async def detach(self) -> Rest | None:
        """Give up reading this body, so that a store can take the rest from its socket; None = it has to be read.

        Only before the first `receive`. What begins the transfer tells the body by `attach`. As the first `receive`,
        it tells a client that waits for `100 Continue` to go on.
        """

    def attach(self, transfer: Transfer) -> None:
        """Know who moves what was detached: `interrupt`, `idle` and `is_over` are about it from now on."""

    async def receive(self) -> Sequence[Buffer]:
        """Return bytes at hand, waiting for the first; an empty sequence is the end of a complete body.

        Never returns more than a bounded amount (a MiB). What was returned before is not touched any more: it may be
        overwritten. The first call tells a client that waits for `100 Continue` to go on.

        Raises:
            ConnectionReset: the connection ended before the body did, after every byte that arrived was returned.
            ReadTimeout: no byte for the network timeout.
            TusError: whatever `interrupt` was given, after every byte that had arrived was returned.

        Cancelling loses no bytes.
        """

    def interrupt(self, reason: TusError) -> None:
        """Make `receive` return what has arrived so far and then raise `reason`. The first reason wins."""

    def idle(self) -> float:
        """Return the seconds for which `receive` has been waiting for a byte; 0 while it is not waiting."""

    def is_over(self) -> bool:
        """Return whether nothing more will arrive: it came to its end, was cut or was interrupted."""
