"""Where a download goes: a file that is not there before all of it is, or a descriptor that takes what comes."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import select
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tusd_py.client.errors import CannotResume, DestinationUnusable
from tusd_py.client.naming import LONGEST, shorten

Result = TypeVar("Result")

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system says that has no hard links, or allows none here."""


class Destination(ABC):
    """Takes the bytes of one file, in order. Methods raise `DestinationUnusable`; what was taken stays."""

    offset = 0
    """Bytes that are there."""

    @abstractmethod
    async def check(self) -> None:
        """Look whether bytes can go there, before any is fetched."""

    @abstractmethod
    async def begin(self, name: str, etag: str | None) -> None:
        """Prepare for another file than before; `offset` says how much of it an earlier run has left here.

        Args:
            name: for the file, when it was left open; safe.
            etag: which file this is, of all that its URL ever led to; None = nobody knows, nothing can be resumed.
        """

    @abstractmethod
    async def restart(self) -> None:
        """Drop what is there of this file. Raises `CannotResume` where that is impossible."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Put bytes behind those that are there. Cancelled, an unknown part of them is there; `offset` tells."""

    @abstractmethod
    async def finish(self) -> str:
        """All bytes are there: return where. What is in a file survives a power cut now."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it. What can be resumed stays. Safe to call twice."""


class FileDestination(Destination):
    """A file; until it is whole, `<name>.<which>.part` beside it, which one process at a time writes."""

    def __init__(self, path: Path | None, url: str, *, overwrite: bool) -> None:
        """Take a download of `url`.

        Args:
            path: of the file, or of a directory that it goes into under its own name; None = the current directory.
            overwrite: whether the whole file takes the place of one that is there.
        """
        self.path = path
        self.overwrite = overwrite
        self._url = url
        self._target = Path()
        self._part = Path()
        self._fd: int | None = None
        self._resumable = False

    async def begin(self, name: str, etag: str | None) -> None:
        """As `Destination` says. What is there of another file of this URL is removed."""
        self._resumable = False
        await self.close()
        await self._in_thread(lambda: self._begin(name, etag))

    async def restart(self) -> None:
        """As `Destination` says."""
        await self._in_thread(lambda: os.ftruncate(self._opened(), 0))
        self.offset = 0

    async def write(self, data: bytes) -> None:
        """As `Destination` says."""
        await self._in_thread(lambda: self._write(data))

    async def finish(self) -> str:
        """As `Destination` says."""
        await self._in_thread(self._finish)
        return str(self._target)

    async def close(self) -> None:
        """As `Destination` says."""
        if self._fd is not None:
            await self._in_thread(self._close)

    async def check(self) -> None:
        """As `Destination` says."""
        if self.path is not None:
            await self._in_thread(lambda: self._aim(""))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Run something to its end, also when cancelled: nobody closes a file that is being written."""
        running = asyncio.ensure_future(asyncio.to_thread(self._told, work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # told to nobody: who waited for it is gone
            raise

    def _told(self, work: Callable[[], Result]) -> Result:
        with _usable(self.path or self._target):
            return work()

    def _aim(self, name: str) -> None:
        """Decide where the file goes; `name` empty = it will be known later."""
        wanted = self.path or Path()
        if wanted.is_dir():
            if not name:
                return
            wanted = wanted / name
        if wanted.is_dir():
            raise DestinationUnusable(f"{wanted} is a directory")
        if os.path.lexists(wanted):
            if not self.overwrite:
                raise DestinationUnusable(f"{wanted} exists already")
            if wanted.exists() and not wanted.is_file():
                raise DestinationUnusable(f"{wanted} is not a regular file")
        self._target = wanted

    def _begin(self, name: str, etag: str | None) -> None:
        self._aim(name)
        origin = f".{_digest(self._url)}-"
        which = f"{origin}{_digest(etag or '')}.part"
        stem = shorten(self._target.name, LONGEST - len(which))
        self._part = self._target.with_name(stem + which)
        _remove_unused(self._target.parent, stem + origin, keep=self._part.name)
        self._fd = _open_part(self._part, self._target)
        self._resumable = etag is not None
        if not self._resumable:
            os.ftruncate(self._fd, 0)
        self.offset = os.fstat(self._fd).st_size

    def _opened(self) -> int:
        assert self._fd is not None
        return self._fd

    def _write(self, data: bytes) -> None:
        fd, rest = self._opened(), memoryview(data)
        while rest:
            count = os.pwrite(fd, rest, self.offset)
            self.offset += count
            rest = rest[count:]

    def _finish(self) -> None:
        os.fsync(self._opened())
        _give_name(self._part, self._target, overwrite=self.overwrite)
        os.close(self._opened())
        self._fd = None
        directory = os.open(self._target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _close(self) -> None:
        fd, self._fd = self._opened(), None
        try:
            if not self._resumable or self.offset == 0:
                self._part.unlink(missing_ok=True)
        finally:
            os.close(fd)


class StreamDestination(Destination):
    """An open descriptor, somebody else's: standard output, say. Nothing can be taken back."""

    def __init__(self, fd: int) -> None:
        """Write to `fd`, which is not closed."""
        self._given = self._fd = fd
        kind = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(kind)
        if stat.S_ISFIFO(kind):
            # Opened once more, so that only we do not wait in it: the other way is shared with whoever has the pipe.
            with suppress(OSError):
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    async def check(self) -> None:
        """As `Destination` says."""

    async def begin(self, name: str, etag: str | None) -> None:
        """As `Destination` says."""
        await self.restart()

    async def restart(self) -> None:
        """As `Destination` says."""
        if self.offset:
            raise CannotResume("the download begins anew, but what was written cannot be taken back")

    async def write(self, data: bytes) -> None:
        """As `Destination` says."""
        rest = memoryview(data)
        with _usable(Path("standard output")):
            while rest:
                count = await self._write_some(rest)
                self.offset += count
                rest = rest[count:]

    async def finish(self) -> str:
        """As `Destination` says."""
        return "-"

    async def close(self) -> None:
        """As `Destination` says."""
        fd, self._fd = self._fd, self._given
        if fd != self._given:
            os.close(fd)

    async def _write_some(self, rest: memoryview) -> int:
        if self._is_file:
            return await asyncio.to_thread(os.write, self._fd, rest)
        if self._fd == self._given:
            await self._until_ready()
            # What is ready takes so much without waiting, at least when it is a pipe.
            return os.write(self._fd, rest[: select.PIPE_BUF])
        try:
            return os.write(self._fd, rest)
        except BlockingIOError:
            await self._until_ready()
            return 0

    async def _until_ready(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        if poll.poll(0):
            return
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._fd, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._fd)


def _open_part(part: Path, target: Path) -> int:
    """Open the beginning of a file for one process alone, and make it when there is none."""
    while True:
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DestinationUnusable(f"{part} is not a regular file")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, part):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise DestinationUnusable(f"another process is downloading {target}") from None
        except BaseException:
            os.close(fd)
            raise
        # Whoever had it was done with it before it was ours.
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _remove_unused(directory: Path, prefix: str, *, keep: str) -> None:
    """Remove beginnings of files that a URL leads to no more: nobody can go on with them. Not those being written."""
    with suppress(OSError):
        for place in directory.iterdir():
            if place.name.startswith(prefix) and place.suffix == ".part" and place.name != keep:
                _remove_unlocked(place)


def _remove_unlocked(part: Path) -> None:
    fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.unlink()
    finally:
        os.close(fd)


def _give_name(part: Path, target: Path, *, overwrite: bool) -> None:
    """Let a file appear under its name, whole, and without `overwrite` only where nothing is."""
    if overwrite:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError:
        raise DestinationUnusable(f"{target} exists already") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise DestinationUnusable(f"{target} exists already") from None
        part.rename(target)
    else:
        part.unlink()


@contextmanager
def _usable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DestinationUnusable(f"{path} cannot be written: {error.strerror or error}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
