"""Every extension point: what a store, a locker, a clock and a body promise to the engine.

All coroutines run on one event loop. None may block it: work that can wait for a disk belongs on a thread.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tusd_py.errors import TusError
from tusd_py.models.job import Job
from tusd_py.models.limits import Usage
from tusd_py.models.pace import Pace
from tusd_py.models.upload import Progress, UploadInfo, UploadState


class Clock(Protocol):
    """Time, injected so that tests can move it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""


class Digest(Protocol):
    """A running hash; `hashlib`'s objects are such."""

    def update(self, data: bytes | memoryview, /) -> None:
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

    async def receive(self) -> Sequence[bytes]:
        """Return bytes at hand, waiting for the first; an empty sequence is the end of a complete body.

        Never returns more than a bounded amount (some hundred KiB). The first call tells a client that waits for
        `100 Continue` to go on.

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


class Data(ABC):
    """The bytes of one upload, open for writing. Owned by whoever holds the upload's lock."""

    @abstractmethod
    async def write(
        self, offset: int, buffers: Sequence[bytes], digest: Digest | None = None, *, sync: bool = False
    ) -> None:
        """Store all buffers one after the other at an absolute offset, and feed them to `digest`.

        With `sync`, also what `sync` promises and raises.

        Raises:
            InsufficientStorage: no space, quota or file size limit; `written` bytes of it are stored.
            OSError: the store is broken; nothing of this write may be relied on.

        Cancelling may leave any part of the buffers stored; nothing beyond the acknowledged offset is ever read.
        """

    def transfer(self, offset: int, rest: Rest) -> Transfer:
        """Begin to move the rest of a body to an absolute offset. Only for stores that say `can_transfer`.

        Other methods may be used meanwhile, `close` when the transfer is over.
        """
        raise NotImplementedError

    async def hash(self, start: int, end: int, digest: Digest) -> None:
        """Feed the bytes that a transfer wrote from `start` to `end` to `digest`. Raises as `write`, and `DataLost`."""
        raise NotImplementedError

    @abstractmethod
    async def copy(self, offset: int, source_id: str, length: int) -> None:
        """Copy the first `length` bytes of a finished upload to `offset`, inside the kernel where it can.

        Raises `InsufficientStorage`, `DataLost` (the source is shorter), `OSError`. Cancelling as in `write`.
        """

    @abstractmethod
    async def sync(self) -> None:
        """Return when every byte written so far survives a power cut.

        After an `OSError` or `InsufficientStorage` nothing written since the last successful sync may be
        acknowledged without being written again: kernels call such pages clean (reliability: I9).
        """

    @abstractmethod
    async def seal(self, length: int, *, durable: bool) -> None:
        """Make the data exactly `length` bytes, ready to be called finished: a longer tail is cut off.

        With `durable`, also what `sync` promises, and that the name survives a power cut.

        Raises `DataLost` when the data is shorter than `length`.
        """

    @abstractmethod
    async def truncate(self, length: int) -> None:
        """Drop everything beyond `length`."""

    @abstractmethod
    async def close(self) -> None:
        """Give the handle back. Safe to call twice."""


class DataReader(ABC):
    """The bytes of a finished upload, open for reading. Stays readable when the upload is removed meanwhile."""

    size: int
    """Bytes."""
    modified_at: float
    """Seconds since the Unix epoch."""

    @abstractmethod
    def fileno(self) -> int | None:
        """Return a file descriptor for `sendfile`, or None when the data is not in a file."""

    @abstractmethod
    async def read(self, offset: int, count: int) -> bytes:
        """Return at most `count` bytes from `offset`; empty at the end."""

    @abstractmethod
    async def close(self) -> None:
        """Give the handle back. Safe to call twice."""


class DataStore(ABC):
    """The bytes of uploads."""

    @property
    def can_transfer(self) -> bool:
        """Whether `Data.transfer` and `Data.hash` work here: bodies then need not pass through Python."""
        return False

    @abstractmethod
    async def open(self) -> None:
        """Get ready. Raises `StartupError` when the place cannot be used; destroys nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything."""

    @abstractmethod
    async def create(self, upload_id: str, buffers: Sequence[bytes] = (), *, durable: bool) -> None:
        """Make a place for an upload with its first bytes in it; with `durable` all of it survives a power cut.

        Raises `UploadExists`, `InsufficientStorage`, `OSError`; then there is no such place, or it was there before.
        """

    @abstractmethod
    async def write_to(self, upload_id: str, *, holds: int | None = 0) -> Data:
        """Open an upload's data for writing, now or when it is first used.

        Here or there `DataLost` is raised when it is not there, is not a plain file, or has less than `holds` bytes:
        what was acknowledged is gone, and writing behind it would hide that (I7). With None, no byte ever was: data
        that is not there is made anew, and survives a power cut.
        """

    @abstractmethod
    async def read_from(self, upload_id: str) -> DataReader:
        """Open an upload's data for reading. Raises `DataLost` as `write_to` does."""

    @abstractmethod
    async def remove(self, upload_id: str, *, durable: bool) -> None:
        """Remove an upload's data; with `durable` the removal survives a power cut. Removing nothing is fine."""

    @abstractmethod
    async def sync_all(self) -> None:
        """Return when everything that was written or created before the call survives a power cut."""

    @abstractmethod
    def names(self, *, older_than: float) -> AsyncIterator[Sequence[str]]:
        """Yield the ids of all stored data last changed before `older_than` (Unix epoch), in batches."""


class InfoStore(ABC):
    """What is known of uploads, and the jobs they owe. Every change is one transaction.

    With `durable` a change survives a power cut when the coroutine returns; without, it survives a killed process.
    A change whose coroutine is cancelled may or may not have happened.
    """

    @abstractmethod
    async def open(self) -> None:
        """Get ready: migrate an older schema, refuse a newer or damaged one with `StartupError`.

        After an unclean boot offsets fall back to what was synced.
        """

    @abstractmethod
    async def close(self) -> None:
        """Commit what is under way and release everything."""

    @abstractmethod
    async def insert(self, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = ()) -> None:
        """Add an upload, with the jobs of one that is born finished. Raises `UploadExists`."""

    @abstractmethod
    async def get(self, upload_id: str) -> UploadInfo | None:
        """Return what is known, in whatever state; None when unknown. The cost does not grow with the store."""

    @abstractmethod
    async def advance(self, progress: Progress, *, durable: bool) -> None:
        """Move an open upload forward; or back, to `synced_offset`, after a failed sync.

        Raises `StaleWriter` unless the stored offset is `expected`, the epoch is the fence or one less, and the
        state is open.
        """

    @abstractmethod
    async def finish(self, progress: Progress, *, durable: bool, jobs: Sequence[Job] = ()) -> None:
        """Move an open or assembling upload to its end and add its jobs, all in one transaction. As `advance`."""

    @abstractmethod
    async def mark_deleting(self, upload_id: str, *, durable: bool) -> bool:
        """Make an upload unknown to clients before its data goes. Returns False when there is none."""

    @abstractmethod
    async def delete(self, upload_id: str) -> None:
        """Forget an upload marked as deleting, and its jobs. Forgetting nothing is fine."""

    @abstractmethod
    async def list_uploads(
        self, *, after: str = "", limit: int = 1000, states: Collection[UploadState] = ()
    ) -> list[UploadInfo]:
        """Return uploads in the order of their ids, beginning behind `after`; no states = all states."""

    @abstractmethod
    async def list_expired(self, now: float, *, limit: int) -> list[str]:
        """Return ids of open or finished uploads whose `expires_at` has passed, the longest expired first."""

    @abstractmethod
    async def list_unsynced(self, *, limit: int) -> list[tuple[str, int]]:
        """Return (id, offset) of uploads whose offset is ahead of what is known to survive a power cut."""

    @abstractmethod
    async def mark_synced(self, uploads: Sequence[tuple[str, int]]) -> None:
        """Note that so many bytes of each upload survive a power cut. What is gone or known already is fine."""

    @abstractmethod
    async def fall_back(self) -> None:
        """Take back what is not known to be synced, as an unclean boot does, because a sync failed (I9).

        What was asked for before the call is taken back too, what is asked for later is not.
        """

    @abstractmethod
    async def usage(self) -> Usage:
        """Return what open uploads take up. The cost may grow with their number, not with that of finished ones."""

    @abstractmethod
    async def known(self, upload_ids: Collection[str]) -> set[str]:
        """Return those of the given ids that the store knows, in whatever state."""


class JobStore(ABC):
    """The jobs that finished uploads owe. Rows come into being by `InfoStore.insert` and `InfoStore.finish`."""

    @abstractmethod
    async def due_jobs(self, now: float, *, limit: int) -> list[Job]:
        """Return jobs scheduled at or before `now`, the earliest first."""

    @abstractmethod
    async def next_job_at(self, *, after: float = float("-inf")) -> float | None:
        """Return when the earliest job behind `after` is scheduled (Unix epoch); None when there is none."""

    @abstractmethod
    async def retry_job(self, job: Job) -> None:
        """Store a job's new `attempt`, `scheduled_at` and `error`: before it runs, and after it failed."""

    @abstractmethod
    async def complete_job(self, job: Job) -> None:
        """Forget a job that succeeded."""


class Lock(ABC):
    """The exclusive right to change one upload."""

    @abstractmethod
    async def release(self) -> None:
        """Give it back; the next waiter has it. Safe to call twice."""


class Locker(ABC):
    """Gives out locks, at most one per upload at a time."""

    @abstractmethod
    async def acquire(
        self,
        upload_id: str,
        *,
        timeout: float,
        take_over: bool = False,
        interrupt: Callable[[], None] | None = None,
    ) -> Lock:
        """Wait for the lock of an upload, first come, first served.

        Args:
            timeout: seconds to wait at most; 0 = take it now or not at all.
            take_over: ask whoever holds it, now or while we wait, to stop soon.
            interrupt: called on the event loop, once, when somebody asks this holder to stop.

        Raises:
            UploadLocked: the wait is over.

        Cancelling gives up the place in the queue.
        """
