"""Space kept back, so that removals still work on a full disk (reliability: I8, row 52)."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from pathlib import Path

log = logging.getLogger(__name__)

SIZE = 4 * 1024 * 1024
"""Bytes; as much as the write-ahead log takes before it is written back and used again."""
_ENOUGH = 2 * SIZE

# The log or its index cannot grow.
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


def is_full(error: BaseException | None) -> bool:
    """Whether a database's error means that there is no space left."""
    return getattr(error, "sqlite_errorcode", None) in _FULL


def wants_room(error: BaseException | None) -> bool:
    """Whether more space may help: also after a write error, which is how SQLite tells of a quota (EDQUOT)."""
    return is_full(error) or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_WRITE


class Ballast:
    """A file of `SIZE` bytes that is given up when the database needs room. Blocking: call it on a thread.

    Never raises for want of space: a server without ballast works, it only cannot promise removals on a full disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing = True
        """Whether it should be made again when there is space."""

    def stow(self) -> None:
        """Make the file unless it is there, or unless there is little space left for anything else."""
        try:
            if self.path.is_symlink() or (self.path.exists() and self.path.stat().st_size != SIZE):
                self.path.unlink()
            if not self.path.exists():
                if shutil.disk_usage(self.path.parent).free < _ENOUGH:
                    return
                self._fill()
            self.missing = False
        except OSError as error:
            log.warning("no ballast: removals may fail on a full disk: %s", error, extra={"action": "ballast_failed"})

    def drop(self) -> bool:
        """Give the space back to the file system. Returns False when there was none to give."""
        self.missing = True
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        log.warning("disk full: the ballast is given up for removals", extra={"action": "ballast_dropped"})
        return True

    def _fill(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o600)
        try:
            with open(fd, "wb", buffering=0) as file:
                os.fchmod(fd, 0o600)
                # Random, so that a file system that compresses or skips zeros gives the space all the same.
                file.write(os.urandom(SIZE))
                os.fsync(fd)
        except OSError:
            self.path.unlink()
            raise
