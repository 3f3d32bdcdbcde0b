"""Uploads as sparse files on a local file system."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from aiofiles.os import wrap

from tusd_py.abc import Buffer, Data, DataReader, DataStore, Digest, Rest, Transfer
from tusd_py.errors import DataLost, InsufficientStorage, StartupError
from tusd_py.models.upload import UploadInfo
from tusd_py.stores import posix
from tusd_py.stores.descriptor import Descriptor
from tusd_py.stores.newborn import Newborn
from tusd_py.stores.places import place
from tusd_py.stores.planes import Planes
from tusd_py.stores.posix import Root
from tusd_py.stores.threads import DiskThreads, to_the_end

COPY_STEP = 64 * 1024 * 1024
"""Bytes copied in one go on a thread; a copy can be cancelled between two steps."""
NAMES_BATCH = 500
SHORT_WRITE = 256 * 1024
"""Bytes that are written to the page cache in no time, so that several such writes may share a trip to a thread."""
SHARDS_BATCH = 64


class FileData(Data):
    """One open file. Methods may be called concurrently, `close` waits for all of them.

    After a failed `sync` or `seal` this handle stores and syncs nothing any more: the kernel has called the pages
    clean that it could not write, so a second attempt would succeed without having done anything (I9).
    """

    def __init__(
        self, root: Root, threads: DiskThreads, planes: Planes | None, *, key: str, descriptor: Descriptor, is_new: bool
    ) -> None:
        """Write to the file of a key; if it `is_new`, or may be, its name has still to be synced."""
        self._root = root
        self._threads = threads
        self._planes = planes
        self._key = key
        self._descriptor = descriptor
        self._is_new = is_new
        self._broken: OSError | None = None

    async def write(
        self,
        offset: int,
        buffers: Sequence[Buffer],
        digest: Digest | None = None,
        *,
        sync: bool = False,
        last: bool = False,
    ) -> None:
        """Store buffers; see `tusd_py.abc.Data.write`. Everything happens in the same trip to a thread."""
        self._check()
        if not sync:
            size = sum(map(len, buffers))
            run = self._threads.run_short if size <= SHORT_WRITE and digest is None else self._threads.run
            await run(posix.write_buffers, self._descriptor, offset, buffers, digest, last)
            return
        failed = await self._threads.run(self._write_and_sync, offset, buffers, digest)
        if failed is not None:
            self._broken = failed
            raise posix.translated(failed) from failed

    def transfer(self, offset: int, rest: Rest, *, last: bool = False) -> Transfer:
        """Let the data plane move the rest of a body; see `tusd_py.abc.Data.transfer`."""
        self._check()
        assert self._planes is not None
        return self._planes.begin(self._descriptor, offset, rest, last=last)

    async def hash(self, start: int, end: int, digest: Digest) -> None:
        """Feed stored bytes to `digest`; see `tusd_py.abc.Data.hash`. They come from the page cache."""
        await self._threads.run(posix.hash_range, self._descriptor, start, end, digest)

    async def copy(self, offset: int, source_key: str, length: int) -> None:
        """Copy from a finished upload; see `tusd_py.abc.Data.copy`. Shares blocks where the file system can."""
        self._check()
        source, found = await self._threads.run(self._root.open, source_key)
        try:
            if found.st_size < length:
                raise DataLost("The stored data of a partial upload is too short")
            done = 0
            while done < length:
                step = min(COPY_STEP, length - done)
                try:
                    count = await self._threads.run(
                        posix.copy_range, source, done, self._descriptor, offset + done, step
                    )
                except InsufficientStorage as error:
                    raise InsufficientStorage(written=done) from error
                if count == 0:
                    raise DataLost("The stored data of a partial upload became too short")
                done += count
        finally:
            await to_the_end(self._threads.run(source.close))

    async def sync(self) -> None:
        """Bring the bytes to stable storage; see `tusd_py.abc.Data.sync`."""
        self._check()
        try:
            await self._threads.run(self._sync)
        except OSError as error:
            self._broken = error
            raise posix.translated(error) from error

    async def seal(self, length: int, *, durable: bool) -> None:
        """Cut to `length`, and sync bytes and name; see `tusd_py.abc.Data.seal`."""
        self._check()
        try:
            await self._threads.run(self._root.seal, self._key, self._descriptor, length, durable)
        except OSError as error:
            self._broken = error
            raise posix.translated(error) from error

    async def truncate(self, length: int) -> None:
        """Drop everything beyond `length`."""
        await self._threads.run(posix.truncate, self._descriptor, length)

    async def close(self) -> None:
        """Close the file when no thread uses it any more. A cancellation takes effect only after that.

        Whoever holds the upload's lock may thus release it afterwards: no late write can come from here.
        """
        fd = self._descriptor.retire()
        if fd is None:
            await to_the_end(self._threads.run(self._descriptor.close))
        elif fd >= 0:
            # Nobody has to wait for this, but some file systems make whoever closes a file tidy up behind it.
            self._threads.later(os.close, fd)

    def _write_and_sync(self, offset: int, buffers: Sequence[Buffer], digest: Digest | None) -> OSError | None:
        """Do so, on a thread; return what went wrong with the syncing, which is worse than not writing."""
        posix.write_buffers(self._descriptor, offset, buffers, digest)
        try:
            self._sync()
        except OSError as error:
            return error
        return None

    def _sync(self) -> None:
        posix.sync(self._descriptor)
        if self._is_new:
            self._root.sync_name(self._key)
            self._is_new = False
        # Most requests end here: closing it now saves a trip.
        self._descriptor.rest()

    def _check(self) -> None:
        if self._broken is not None:
            raise OSError(self._broken.errno, "An earlier sync of this data failed") from self._broken


class FileReader(DataReader):
    """One file open for reading."""

    def __init__(self, threads: DiskThreads, descriptor: Descriptor, found: os.stat_result) -> None:
        self._threads = threads
        self._descriptor = descriptor
        self.size = found.st_size
        self.modified_at = found.st_mtime

    def fileno(self) -> int:
        """Return the file descriptor; it is good until `close`."""
        return self._descriptor.number

    async def read(self, offset: int, count: int) -> bytes:
        """Return at most `count` bytes from `offset`; empty at the end."""
        return await wrap(posix.read)(self._descriptor, offset, count, executor=self._threads)

    async def close(self) -> None:
        """Close the file when no thread uses it any more. A cancellation takes effect only after that."""
        await to_the_end(self._threads.run(self._descriptor.close))


class FileDataStore(DataStore):
    """Sparse files `<root>/<first two characters of the id>/<id>`, written at absolute offsets.

    One with a path of its own is `<root>/named/<path>` instead. Another upload whose path leads to it or through it is
    refused with `UploadExists`.

    No space is reserved. The size of a file says nothing: bytes beyond the acknowledged offset are garbage. All
    blocking calls run on the store's own threads. Needs a local file system whose `fsync` tells the truth.
    """

    def __init__(self, root: Path, *, threads: int = 8) -> None:
        """Remember the place; `open` uses it.

        Args:
            root: directory of the data, made with mode 0700 when it is not there (its parent must be).
            threads: how many disk operations may run at once.
        """
        self._path = root
        self._count = threads
        self._threads: DiskThreads | None = None
        self._root: Root | None = None
        self._notices_loss = _syncfs_notices_loss()
        self._newborn: Newborn
        self._planes: Planes | None = None

    @property
    def can_transfer(self) -> bool:
        """Whether the operating system lets the data plane work."""
        return self._planes is not None

    @property
    def notices_loss(self) -> bool:
        """Whether Linux tells `syncfs` of what it could not write: from 5.8 on."""
        return self._notices_loss

    async def open(self) -> None:
        """Open the root directory. Raises `StartupError` when it is a symbolic link or cannot be used."""
        threads = DiskThreads(self._count, name="tusd-py-data")
        try:
            self._root = await wrap(Root)(self._path, executor=threads)
        except OSError as error:
            threads.shutdown()
            raise StartupError(f"The data directory {self._path} cannot be used: {error.strerror}") from error
        self._threads = threads
        self._newborn = Newborn(self._root, threads)
        self._planes = Planes.make()

    async def close(self) -> None:
        """Wait for what runs on the threads and end them. Close all data before. Safe to call twice."""
        threads, self._threads = self._threads, None
        root, self._root = self._root, None
        planes, self._planes = self._planes, None
        if threads is not None and root is not None:
            if planes is not None:
                await to_the_end(threads.run(planes.close))
            await to_the_end(wrap(threads.shutdown)())
            root.close()

    async def create(self, key: str, buffers: Sequence[Buffer] = (), *, durable: bool) -> None:
        """Make a file; see `tusd_py.abc.DataStore.create`. Cancelling may leave it."""
        root, threads = self._opened()
        if durable:
            await self._newborn.create(key, buffers)
        else:
            await threads.run_short(root.create, key, buffers, False)

    async def write_to(self, key: str, *, holds: int | None = 0, lasts: bool = True) -> FileData:
        """Return a file to write to, opened with the first use; see `tusd_py.abc.DataStore.write_to`."""
        root, threads = self._opened()
        descriptor = root.open_later(key, holds)
        return FileData(root, threads, self._planes, key=key, descriptor=descriptor, is_new=holds is None or not lasts)

    async def read_from(self, key: str) -> FileReader:
        """Open a file for reading; see `tusd_py.abc.DataStore.read_from`."""
        root, threads = self._opened()
        descriptor, found = await threads.run(root.open, key)
        return FileReader(threads, descriptor, found)

    async def remove(self, key: str, *, durable: bool) -> None:
        """Remove a file; see `tusd_py.abc.DataStore.remove`. Cancelling does not stop it once it has begun."""
        root, threads = self._opened()
        await threads.run(root.remove, key, durable)

    async def sync_all(self) -> None:
        """Sync the file system that holds the root; see `tusd_py.abc.DataStore.sync_all`."""
        root, threads = self._opened()
        await threads.run(root.sync_all)

    async def names(self, *, older_than: float) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of files last written before `older_than`. What no store can have made is skipped."""
        root, threads = self._opened()
        shards = await wrap(root.shards)(executor=threads)
        for start in range(0, len(shards), SHARDS_BATCH):
            chosen = shards[start : start + SHARDS_BATCH]
            found = await wrap(root.changed_before)(chosen, older_than, executor=threads)
            for first in range(0, len(found), NAMES_BATCH):
                yield found[first : first + NAMES_BATCH]
        walk = root.named_before(older_than)
        try:
            while True:
                step = threads.run(next, walk, None)
                # What a thread is in the middle of cannot be closed.
                await to_the_end(asyncio.wait([step]))
                if (named := step.result()) is None:
                    break
                if named:
                    yield named
        finally:
            walk.close()

    def locate(self, upload: UploadInfo) -> Path:
        """Return where an upload's bytes are, for programs that are handed a finished file.

        Raises `UploadNotFound` for a record that somebody changed by hand, so that it leads to no data.
        """
        way, name = place(upload.key)
        return self._path.joinpath(*way, name)

    def _opened(self) -> tuple[Root, DiskThreads]:
        if self._root is None or self._threads is None:
            raise RuntimeError("The data store is not open")
        return self._root, self._threads


def _syncfs_notices_loss() -> bool:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return sys.platform == "linux" and release is not None and (int(release[1]), int(release[2])) >= (5, 8)
