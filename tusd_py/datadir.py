"""The directory that belongs to one server: made, checked and locked before anything in it is opened.

What it refuses, it refuses before anything is written (reliability: I16, 5.2 rows 17, 19 and 20).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tusd_py.errors import StartupError

DATABASE = "uploads.sqlite3"
CONTROL = "control.sock"
UPLOADS = "uploads"
LOCK = "lock"

_PATIENCE = 2.0
"""Seconds to wait for the lock of a server that is dead."""
_PAUSE = 0.02
_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class DataDirBusy(StartupError):
    """Another process holds the data directory."""


class DataDir:
    """A data directory that this process alone uses until it is closed. The kernel takes it back from the dead."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @property
    def database(self) -> Path:
        """Where everything known of uploads is."""
        return database_in(self.path)

    @property
    def control(self) -> Path:
        """Where a running server is asked to do something."""
        return control_in(self.path)

    @property
    def uploads(self) -> Path:
        """Below which the bytes of uploads are."""
        return uploads_in(self.path)

    def close(self) -> None:
        """Let others use the directory. Safe to call twice."""
        if self._lock is not None:
            # On a disk that is gone the old pid stays; the lock itself is the kernel's, and ends with the descriptor.
            with suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def database_in(path: Path) -> Path:
    """Return where the database of a data directory is."""
    return path / DATABASE


def control_in(path: Path) -> Path:
    """Return where the server of a data directory is asked to do something."""
    return path / CONTROL


def uploads_in(path: Path) -> Path:
    """Return below which path the data of a data directory is."""
    return path / UPLOADS


def open_data_dir(path: Path, *, allow_unsafe: bool = False) -> DataDir:
    """Make sure of a data directory and lock it.

    Args:
        allow_unsafe: take it even if others own it or may write to it.

    Raises:
        DataDirBusy: another process uses it.
        StartupError: it cannot be made or is not safe.
    """
    try:
        _make(path)
        if not allow_unsafe:
            for place in (path, path / DATABASE, path / UPLOADS):
                _check_safe(place)
        lock = _take_lock(path / LOCK)
    except OSError as error:
        raise StartupError(f"data directory {path} cannot be used: {error.strerror or error}") from None
    return DataDir(path, lock)


def _make(path: Path) -> None:
    if path.is_dir():
        return
    made = [place for place in (path, *path.parents) if not place.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
    # An inherited umask may have taken away what the server itself needs.
    path.chmod(_DIRECTORY_MODE)
    for place in made:
        _sync(place.parent)


def _sync(directory: Path) -> None:
    """Bring the names in a directory to stable storage: what is in one whose name is lost is lost with it."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # one that may be written but not read; nobody but its owner can sync it
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_safe(place: Path) -> None:
    """Refuse a place that somebody else could change behind the server's back."""
    try:
        status = place.stat()
    except FileNotFoundError:
        return
    advice = "or start with --allow-unsafe-data-dir"
    if status.st_uid != os.geteuid():
        raise StartupError(
            f"{place} belongs to user {status.st_uid}, not to user {os.geteuid()} who runs the server; "
            f"change its owner {advice}"
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise StartupError(
            f"{place} can be written by other users (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run chmod go-w on it {advice}"
        )


def _take_lock(path: Path) -> int:
    # O_NOFOLLOW and O_NONBLOCK: neither a planted symlink nor a FIFO may lead us elsewhere or hold us up.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        lock = os.open(path, flags, _FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StartupError(f"{path} is a symbolic link; remove it") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise StartupError(f"{path} is not a plain file; remove it")
        _lock(lock)
        os.fchmod(lock, _FILE_MODE)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = _holder(lock)
        os.close(lock)
        raise DataDirBusy(
            f"another server uses this data directory (pid {holder or 'unknown'}): {path.parent}"
        ) from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _lock(lock: int) -> None:
    """Take the lock; raises `BlockingIOError`. What a dead server holds it gives up in a moment.

    A server that is killed while it starts a program leaves a child that has its descriptors until it becomes that
    program.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until or _is_alive(_holder(lock)):
                raise
            time.sleep(_PAUSE)
        else:
            return


def _holder(lock: int) -> str:
    return os.pread(lock, 20, 0).decode("ascii", "replace").strip()


def _is_alive(pid: str) -> bool:
    """Whether a server of that number may be running."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (ValueError, PermissionError):
        # One that has not written its number yet, or somebody else's.
        return True
    return True
