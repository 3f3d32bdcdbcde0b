"""Where the bytes of uploads are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence

from tusd_py.abc.body import Buffer, Digest, Rest, Transfer


class Data(ABC):
    """The bytes of one upload, open for writing. Owned by whoever holds the upload's lock."""

    @abstractmethod
    async def write(
        self,
        offset: int,
        buffers: Sequence[Buffer],
        digest: Digest | None = None,
        *,
        sync: bool = False,
        last: bool = False,
    ) -> None:
        """Store all buffers one after the other at an absolute offset, and feed them to `digest`.

        With `sync`, also what `sync` promises and raises. The `last` ones are followed by no others as far as is known:
        what was opened for them may be closed, and is opened again when it is needed after all. Views may be
        overwritten as soon as this returns.

        Raises:
            InsufficientStorage: no space, quota or file size limit; `written` bytes of it are stored.
            OSError: the store is broken; nothing of this write may be relied on.

        Cancelling may leave any part of the buffers stored; nothing beyond the acknowledged offset is ever read.
        """

    def transfer(self, offset: int, rest: Rest, *, last: bool = False) -> Transfer:
        """Begin to move the rest of a body to an absolute offset. Only for stores that say `can_transfer`.

        Other methods may be used meanwhile, `close` when the transfer is over. `last` as in `write`.
        """
        raise NotImplementedError

    async def hash(self, start: int, end: int, digest: Digest) -> None:
        """Feed the bytes that a transfer wrote from `start` to `end` to `digest`. Raises as `write`, and `DataLost`."""
        raise NotImplementedError

    @abstractmethod
    async def copy(self, offset: int, source_key: str, length: int) -> None:
        """Copy the first `length` bytes of the data of a finished upload to `offset`, inside the kernel where it can.

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
    """The bytes of uploads.

    A key says whose they are (`UploadInfo.key`): the id of an upload; or, where a hook chose a path for its data, that
    path with a slash in front, `/project-1/report.pdf`, which a store may lay out as directories. A store that makes
    names of files out of keys raises `UploadNotFound` for what cannot be one, before it looks at anything.
    """

    @property
    def can_transfer(self) -> bool:
        """Whether `Data.transfer` and `Data.hash` work here: bodies then need not pass through Python."""
        return False

    @property
    def notices_loss(self) -> bool:
        """Whether `sync_all` fails once the system has lost what was written, whoever met with it first."""
        return False

    @abstractmethod
    async def open(self) -> None:
        """Get ready. Raises `StartupError` when the place cannot be used; destroys nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything."""

    @abstractmethod
    async def create(self, key: str, buffers: Sequence[Buffer] = (), *, durable: bool) -> None:
        """Make a place for an upload with its first bytes in it; with `durable` all of it survives a power cut.

        Raises `UploadExists`, `InsufficientStorage`, `OSError`; then there is no such place, or it was there before. A
        store with directories also raises `UploadExists` for a path that leads through the data of another upload.
        """

    @abstractmethod
    async def write_to(self, key: str, *, holds: int | None = 0, lasts: bool = True) -> Data:
        """Open an upload's data for writing, now or when it is first used.

        Here or there `DataLost` is raised when it is not there, is not a plain file, or has less than `holds` bytes:
        what was acknowledged is gone, and writing behind it would hide that (I7). With None, no byte ever was: data
        that is not there is made, and survives a power cut from the first `sync` or durable `seal` on. So does other
        data of which somebody else has a copy, and `lasts` is false.
        """

    @abstractmethod
    async def read_from(self, key: str) -> DataReader:
        """Open an upload's data for reading. Raises `DataLost` as `write_to` does."""

    @abstractmethod
    async def remove(self, key: str, *, durable: bool) -> None:
        """Remove an upload's data; with `durable` the removal survives a power cut. Removing nothing is fine."""

    @abstractmethod
    async def sync_all(self) -> None:
        """Return when everything that was written or created before the call survives a power cut."""

    @abstractmethod
    def names(self, *, older_than: float) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of all stored data last changed before `older_than` (Unix epoch), in batches."""
