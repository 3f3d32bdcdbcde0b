"""Where the bytes of an upload come from: a file, which can be read again, and a pipe, which cannot.

A server puts together what it got at different times. So everything here makes sure that this was always the same
file: a copy half of which is from before a change is worse than none.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from tusd_py.client.errors import CannotResume, SourceChanged, SourceUnusable

EDGE = 64 * 1024
"""Bytes at each end of a file that its fingerprint looks at."""
WINDOW = 8 * 1024 * 1024
"""Bytes of a pipe that are kept."""

_BLOCK = 1024 * 1024
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

T = TypeVar("T")


class Fingerprint(msgspec.Struct, frozen=True):
    """What tells whether a file is still, or again, the same."""

    size: int
    mtime_ns: int
    inode: int
    digest: str
    """SHA-256, in hexadecimal, of the first and the last 64 KiB one after the other."""


class FileSource:
    """An open file. Read by any number of tasks at once.

    Coroutines are cancel-safe. `SourceUnusable` is raised by all of them when the disk fails.
    """

    def __init__(self, path: Path, name: str, fd: int, fingerprint: Fingerprint) -> None:
        """Take over an open file; use `open`."""
        self.path = path
        """Absolute, and resolved."""
        self.name = name
        """The last part of the path that was asked for: of a link, its own."""
        self.size = fingerprint.size
        """Bytes."""
        self.fd = fd
        """For reading at offsets. Its position is nobody's."""
        self.fingerprint = fingerprint
        """Of the file as it was when it was opened."""
        self._device = os.fstat(fd).st_dev
        self._jobs: set[asyncio.Future[Any]] = set()

    @classmethod
    async def open(cls, path: Path | str) -> Self:
        """Open a regular file, links followed. Raises `SourceUnusable`."""
        opening = asyncio.ensure_future(asyncio.to_thread(_open, Path(path)))
        try:
            return cls(*await asyncio.shield(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_let_go)
            raise

    def check(self) -> None:
        """Look whether the file is what it was when it was opened, by its size, its time, and what is at its path.

        One that was removed, or moved away, is: its bytes are still there. Quick enough to be called before each
        piece. Raises `SourceChanged` and `SourceUnusable`.
        """
        try:
            now, then = os.fstat(self.fd), self.fingerprint
        except OSError as error:
            raise self._unusable(error) from error
        if now.st_size != then.size:
            how = "grew" if now.st_size > then.size else "shrank"
            raise SourceChanged(f"{self.path} {how} from {then.size} to {now.st_size} bytes while it was read")
        if now.st_mtime_ns != then.mtime_ns:
            raise SourceChanged(f"{self.path} was changed while it was read")
        try:
            there = os.stat(self.path)
        except OSError:
            return
        if (there.st_ino, there.st_dev) != (then.inode, self._device):
            raise SourceChanged(f"{self.path} was replaced by another file while it was read")

    async def digest(self, algorithm: str, start: int, end: int) -> bytes:
        """Return the digest of the bytes from `start` to `end`; `algorithm` is one of `hashlib`.

        Raises `SourceChanged` when the file ends before.
        """
        halted = threading.Event()
        try:
            return await self._in_thread(lambda: self._digest(algorithm, start, end, halted))
        except asyncio.CancelledError:
            halted.set()
            raise

    async def read(self, offset: int, count: int) -> bytes:
        """Return the `count` bytes at `offset`. Raises `SourceChanged` when the file ends before."""
        return await self._in_thread(lambda: self._read(offset, count))

    async def close(self) -> None:
        """Close the file. Safe to call twice."""
        while self._jobs:
            # What is under way holds on to the number of the descriptor, which may be another file's next.
            await asyncio.wait(self._jobs)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        job = asyncio.get_running_loop().run_in_executor(None, work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        try:
            return await asyncio.shield(job)
        except OSError as error:
            raise self._unusable(error) from error

    def _digest(self, algorithm: str, start: int, end: int, halted: threading.Event) -> bytes:
        running = hashlib.new(algorithm, usedforsecurity=False)
        block = memoryview(bytearray(min(_BLOCK, max(end - start, 1))))
        while start < end and not halted.is_set():
            count = os.preadv(self.fd, [block[: end - start]], start)
            if not count:
                raise self._ended(start)
            running.update(block[:count])
            start += count
        return running.digest()

    def _read(self, offset: int, count: int) -> bytes:
        data = os.pread(self.fd, count, offset)
        while len(data) < count:
            more = os.pread(self.fd, count - len(data), offset + len(data))
            if not more:
                raise self._ended(offset + len(data))
            data += more
        return data

    def _unusable(self, error: OSError) -> SourceUnusable:
        return SourceUnusable(f"{self.path} cannot be read: {error.strerror or error}")

    def _ended(self, offset: int) -> SourceChanged:
        return SourceChanged(f"{self.path} shrank from {self.size} to {offset} bytes while it was read")


class Window(msgspec.Struct, frozen=True):
    """The bytes of a pipe that are there now."""

    start: int
    """Where in the stream the first of them is."""
    data: memoryview
    """Never written to again: a connection may still hold on to it."""
    ended: bool
    """Whether nothing comes after them."""


class PipeSource:
    """What comes from a pipe, or from anything that can be read only once. Used by one task at a time."""

    def __init__(self, fd: int, *, name: str = "standard input", chunk_size: int = WINDOW) -> None:
        """Read from an open descriptor, which stays the caller's, and keep `chunk_size` bytes of it."""
        self.name = name
        self.size: int | None = None
        """Bytes; None until the end was seen."""
        self._fd = fd
        self._chunk_size = chunk_size
        self._start = 0
        self._buffer = bytearray()
        self._filled = 0

    async def fill(self, offset: int) -> Window:
        """Return what comes from `offset` on: so many bytes as are kept, fewer only at the end.

        What lies before `offset` is dropped. Cancel-safe: what was read until then is there at the next call.

        Raises:
            CannotResume: the bytes at `offset` were dropped before, or have not come yet.
            SourceUnusable: the descriptor cannot be read.
        """
        self._drop(offset)
        while self.size is None and self._filled < len(self._buffer):
            await self._read_more()
        data = memoryview(self._buffer)[: self._filled].toreadonly()
        return Window(self._start, data, self.size is not None)

    def _drop(self, offset: int) -> None:
        kept = self._start + self._filled - offset
        if not 0 <= kept <= self._filled:
            raise CannotResume(
                f"the server wants to go on at byte {offset}, and of {self.name} only bytes {self._start} to "
                f"{self._start + self._filled} are still there"
            )
        if kept == self._filled and self._buffer:
            return
        # A buffer of its own for each window: a connection that is about to be closed may still send the last one.
        buffer = bytearray(self._chunk_size)
        buffer[:kept] = memoryview(self._buffer)[self._filled - kept : self._filled]
        self._buffer, self._start, self._filled = buffer, offset, kept

    async def _read_more(self) -> None:
        """Read until the buffer is full or the end is there."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        try:
            loop.add_reader(self._fd, self._take, done)
        except PermissionError:
            # A regular file: it never waits for anybody, and cannot be waited for.
            await self._take_in_thread()
            return
        try:
            await done
        finally:
            loop.remove_reader(self._fd)

    def _take(self, done: asyncio.Future[None]) -> None:
        """Read what is there, without waiting."""
        if done.done():
            return
        try:
            self._note(os.readv(self._fd, [memoryview(self._buffer)[self._filled :]]))
        except BlockingIOError:
            return
        except OSError as error:
            done.set_exception(self._unusable(error))
            return
        if self.size is not None or self._filled == len(self._buffer):
            done.set_result(None)

    async def _take_in_thread(self) -> None:
        rest = memoryview(self._buffer)[self._filled :]
        job = asyncio.ensure_future(asyncio.to_thread(os.readv, self._fd, [rest]))
        try:
            count = await asyncio.shield(job)
        except asyncio.CancelledError:
            # It is short, and what it reads is gone from the file's position.
            self._note(await job)
            raise
        except OSError as error:
            raise self._unusable(error) from error
        self._note(count)

    def _note(self, count: int) -> None:
        self._filled += count
        if not count:
            self.size = self._start + self._filled

    def _unusable(self, error: OSError) -> SourceUnusable:
        return SourceUnusable(f"{self.name} cannot be read: {error.strerror or error}")


def _open(given: Path) -> tuple[Path, str, int, Fingerprint]:
    try:
        path = given.resolve(strict=True)
        # Before it is opened: opening a pipe waits for its other end, and opening a device may do anything.
        _refuse_unless_regular(given, os.stat(path))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise SourceUnusable(f"{given} cannot be read: {error.strerror or error}") from error
    except RuntimeError as error:
        raise SourceUnusable(f"{given} cannot be read: too many links") from error
    except ValueError as error:
        raise SourceUnusable(f"{str(given)!r} is no file name") from error
    try:
        return path, given.name or path.name, fd, _fingerprint(given, fd)
    except OSError as error:
        os.close(fd)
        raise SourceUnusable(f"{given} cannot be read: {error.strerror or error}") from error
    except BaseException:
        os.close(fd)
        raise


def _fingerprint(given: Path, fd: int) -> Fingerprint:
    there = os.fstat(fd)
    _refuse_unless_regular(given, there)
    if not there.st_size and os.pread(fd, 1, 0):
        raise SourceUnusable(f"{given} does not tell its size; pipe it")
    edges = os.pread(fd, EDGE, 0) + os.pread(fd, EDGE, max(there.st_size - EDGE, 0))
    return Fingerprint(there.st_size, there.st_mtime_ns, there.st_ino, hashlib.sha256(edges).hexdigest())


def _refuse_unless_regular(given: Path, there: os.stat_result) -> None:
    if not stat.S_ISREG(there.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(there.st_mode)), "something else")
        raise SourceUnusable(f"{given} is {kind}, not a file")


def _let_go(opening: asyncio.Future[tuple[Path, str, int, Fingerprint]]) -> None:
    """Close what was opened for somebody who does not wait for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result()[2])
