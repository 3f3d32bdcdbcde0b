"""Where the data of a key lies below a root, and the way there. Blocking: runs on a store's threads.

An upload has its data under its id, in one of 4,096 shards, or under a path that a hook chose, below a directory of its
own whose name no shard can have. Every step of the way is opened from the one before it, and none through a symbolic
link (reliability 5.2, rows 16, 17 and 22).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress

from tusd_py.errors import UploadExists, UploadNotFound

SHARD = re.compile(r"[A-Za-z0-9_-]{2}")
NAMED = "named"
"""The directory below which data with a path of its own lies."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DIRECTORY_MODE = 0o700
MAX_PATH = 1024
MAX_SEGMENT = 255
MAX_SEGMENTS = 64
"""A search through all directories holds two descriptors for each step down."""
MAX_SYNCED = 16_384

_ID = re.compile(r"[A-Za-z0-9_-]{3,128}")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")

Way = tuple[str, ...]
"""Names of directories below a root, the outermost first."""
Found = tuple[str, os.stat_result]
"""What something would have as its key, and what it is."""


def place(key: str) -> tuple[Way, str]:
    """Return the directories below the root that lead to the data of a key, and its name in the last of them.

    The dialects check ids, and paths are checked when a hook answers; this is the last door before the file system.
    Raises `UploadNotFound`: nothing can have this key.
    """
    if _ID.fullmatch(key):
        return (key[:2],), key
    if not key.startswith("/"):
        raise UploadNotFound
    *directories, name = _segments(key[1:])
    return (NAMED, *directories), name


def is_key(key: str) -> bool:
    """Return whether data can have this key."""
    try:
        place(key)
    except UploadNotFound:
        return False
    return True


def below(directory: int, key: str = "") -> Generator[Found, None, None]:
    """Yield everything below the open directory of a key, in no order; follows no link.

    Of directories only those that no key leads through, without looking into them.
    """
    with os.scandir(directory) as entries:
        for entry in entries:
            inner = f"{key}/{entry.name}"
            with suppress(FileNotFoundError, NotADirectoryError):  # it went meanwhile
                found = entry.stat(follow_symlinks=False)
                if not (stat.S_ISDIR(found.st_mode) and is_key(inner)):
                    yield inner, found
                    continue
                fd = os.open(entry.name, DIRECTORY, dir_fd=directory)
                try:
                    yield from below(fd, inner)
                finally:
                    os.close(fd)


class Directories:
    """The directories below an open root. For any number of threads."""

    def __init__(self, root: int) -> None:
        self._root = root
        # Those whose own names, and all above, are known to be on stable storage.
        self._synced: set[Way] = set()

    @contextmanager
    def enter(self, way: Way, *, make: bool = False) -> Iterator[int]:
        """Yield the directory at the end of a way; `make` those that are missing.

        Raises `OSError`, and with `make` also `UploadExists`: the way leads through the data of another upload, so
        that it is as taken as if something had this very name.
        """
        fd = self._root
        try:
            for depth, name in enumerate(way):
                try:
                    inner = os.open(name, DIRECTORY, dir_fd=fd)
                except OSError as error:
                    if not make:
                        raise
                    inner = self._make(way[: depth + 1], fd, error)
                if depth:
                    os.close(fd)
                fd = inner
            yield fd
        finally:
            if fd != self._root:
                os.close(fd)

    def sync(self, way: Way, directory: int) -> None:
        """Bring the names in a directory, and its own with all above it, to stable storage. Raises `OSError`."""
        os.fsync(directory)
        # Not only by whoever made a directory: a second upload in it may be acknowledged before the first.
        new = []
        while way and way not in self._synced:
            new.append(way)
            way = way[:-1]
            with self.enter(way) as above:
                os.fsync(above)
        if len(self._synced) + len(new) > MAX_SYNCED:
            self._synced.clear()
        # Only now: one that is in here stands for all above it.
        self._synced.update(new)

    def _make(self, way: Way, outer: int, error: OSError) -> int:
        try:
            if not isinstance(error, FileNotFoundError):
                raise error
            # Somebody may have removed it since its name was synced.
            self._synced.discard(way)
            with suppress(FileExistsError):
                os.mkdir(way[-1], DIRECTORY_MODE, dir_fd=outer)
            directory = os.open(way[-1], DIRECTORY, dir_fd=outer)
        except NotADirectoryError as taken:
            # Whatever is in the way of a shard, or is no file, is nothing that a hook could avoid.
            if len(way) > 1 and _is_plain(way[-1], outer):
                raise UploadExists from taken
            raise
        os.fchmod(directory, DIRECTORY_MODE)
        return directory


def _segments(path: str) -> list[str]:
    segments = path.split("/")
    try:
        sizes = [len(segment.encode()) for segment in segments]
    except UnicodeEncodeError as error:
        raise UploadNotFound from error
    if (
        _FORBIDDEN.search(path)
        # Also ".", "..", and what file systems and people hide.
        or any(not segment or segment.startswith(".") for segment in segments)
        or max(sizes) > MAX_SEGMENT
        or sum(sizes) + len(sizes) - 1 > MAX_PATH
        or len(sizes) > MAX_SEGMENTS
    ):
        raise UploadNotFound
    return segments


def _is_plain(name: str, directory: int) -> bool:
    with suppress(OSError):
        return stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    return False
