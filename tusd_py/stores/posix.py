"""Files below one directory, reached through directory descriptors only. Blocking: runs on a store's threads.

Nothing here follows a symbolic link below the root, opens anything but a plain file with a single name, or trusts
a name (reliability 5.2, rows 16 to 20). Modes do not depend on the umask.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

from tusd_py.abc import Buffer, Digest
from tusd_py.errors import DataLost, InsufficientStorage, TusError, UploadExists
from tusd_py.stores.descriptor import Descriptor
from tusd_py.stores.places import DIRECTORY, DIRECTORY_MODE, NAMED, SHARD, Directories, Found, Way, below, is_key, place

FILE_MODE = 0o600
IOV_MAX = 1024
COPY_BUFFER = 1024 * 1024
HASH_BUFFER = 256 * 1024
NAMED_BATCH = 500

_LIBC = ctypes.CDLL(None, use_errno=True)
# O_NONBLOCK: opening a FIFO that somebody planted must not hang. It changes nothing for plain files.
_PLAIN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_SYNC_FILE_RANGE_WRITE = 2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_A_PLAIN_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV})
_CANNOT_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that was made and may not survive a power cut yet."""

    key: str
    fd: int
    has_bytes: bool


class Root:
    """The directory below which all data lives: `<first two characters of the id>/<id>`, or `named/<path>`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the directory, making it when it is not there. Raises `OSError`."""
        try:
            os.mkdir(path, DIRECTORY_MODE)
        except FileExistsError:
            made = False
        else:
            made = True
        self._fd = os.open(path, DIRECTORY)
        if made:
            os.fchmod(self._fd, DIRECTORY_MODE)
            _sync_directory(os.path.dirname(os.path.abspath(path)))
        self._directories = Directories(self._fd)

    def close(self) -> None:
        """Give the directory back."""
        os.close(self._fd)

    def create(self, key: str, buffers: Sequence[Buffer], durable: bool) -> None:
        """Make a file with some bytes in it. Raises `UploadExists`, `InsufficientStorage`, `OSError`."""
        new = self.begin(key, buffers)
        if not durable:
            os.close(new.fd)
        elif (error := self.settle([new])[0]) is not None:
            raise error

    def begin(self, key: str, buffers: Sequence[Buffer], ahead: bool = False) -> NewFile:
        """Make a file with some bytes in it that is for `settle`; `ahead` if others will be settled with it.

        Raises as `create`.
        """
        way, name = place(key)
        try:
            with self._directories.enter(way, make=True) as directory:
                fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, FILE_MODE, dir_fd=directory)
                try:
                    os.fchmod(fd, FILE_MODE)
                    if buffers:
                        write_all(fd, 0, buffers)
                        if ahead:
                            _start_writing(fd)
                except BaseException:
                    os.close(fd)
                    os.unlink(name, dir_fd=directory)
                    raise
        except FileExistsError as error:
            raise UploadExists from error
        except OSError as error:
            raise translated(error) from error
        return NewFile(key, fd, has_bytes=bool(buffers))

    def settle(self, files: Sequence[NewFile]) -> list[OSError | TusError | None]:
        """Bring new files and their names to stable storage and close them; return what went wrong with each.

        What went wrong is removed. The first sync makes the file system commit everything that was begun before, so
        that those of the others cost little.
        """
        errors: dict[str, OSError | TusError] = {}
        for file in files:
            with self._noting(errors, [file]):
                try:
                    if file.has_bytes:
                        os.fdatasync(file.fd)
                finally:
                    os.close(file.fd)
        together: dict[Way, list[NewFile]] = {}
        for file in files:
            together.setdefault(place(file.key)[0], []).append(file)
        for way, several in together.items():
            with self._noting(errors, several):
                self._sync_names(way)
        for key in errors:
            with suppress(OSError):
                self.remove(key, durable=False)
        return [errors.get(file.key) for file in files]

    def open(self, key: str) -> tuple[Descriptor, os.stat_result]:
        """Open a file for reading. Raises `DataLost` when there is no plain file with this one name, `OSError`."""
        fd, found = self._open(key, os.O_RDONLY)
        return Descriptor(fd), found

    def open_later(self, key: str, holds: int | None) -> Descriptor:
        """Return a descriptor for writing that is opened by its first user, as `open` does.

        Opening raises `DataLost` also when the file has less than `holds` bytes; with None it makes a file where there
        is none. Raises `UploadNotFound`.
        """
        place(key)

        def opens() -> int:
            try:
                fd, found = self._open(key, os.O_RDWR)
            except DataLost as error:
                # Nothing of that name, and not something else in its place.
                if holds is not None or getattr(error.__cause__, "errno", None) != errno.ENOENT:
                    raise
                return self.begin(key, ()).fd
            if found.st_size < (holds or 0):
                os.close(fd)
                raise DataLost(f"The stored data has {found.st_size} bytes instead of {holds}")
            return fd

        return Descriptor(opens=opens)

    def sync_name(self, key: str) -> None:
        """Bring the name of a file to stable storage. Raises `OSError`."""
        self._sync_names(place(key)[0])

    def remove(self, key: str, durable: bool) -> None:
        """Remove a file; none is fine. Directories stay, for whoever is about to use them. Raises `OSError`."""
        way, name = place(key)
        with suppress(FileNotFoundError), self._directories.enter(way) as directory:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            if durable:
                os.fsync(directory)

    def seal(self, key: str, data: Descriptor, length: int, durable: bool) -> None:
        """Make a file exactly `length` bytes and close it; with `durable` also safe. Raises `DataLost`, `OSError`."""
        with data.use() as fd:
            size = os.fstat(fd).st_size
            if size < length:
                raise DataLost(f"The stored data has {size} bytes instead of {length}")
            if size > length:
                os.ftruncate(fd, length)
            if durable:
                os.fdatasync(fd)
                self._sync_names(place(key)[0])
        data.rest()

    def sync_all(self) -> None:
        """Bring everything in this file system to stable storage. Raises `OSError`."""
        # Python has no syncfs of its own; os.sync() would wait for every disk of the machine and hide errors.
        if _LIBC.syncfs(self._fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        if os.fstatvfs(self._fd).f_flag & os.ST_RDONLY:
            # Nothing was written, and `syncfs` says that all is well: a file system that found an error in itself, on
            # older kernels, may have bytes in memory that it will never write.
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def shards(self) -> list[str]:
        """Return the names of all shards."""
        return sorted(filter(SHARD.fullmatch, os.listdir(self._fd)))

    def changed_before(self, shards: Sequence[str], moment: float) -> list[str]:
        """Return the keys of files in some shards that were last written before `moment`."""
        found = []
        for name in shards:
            # A shard that is no directory, or is gone meanwhile, holds nothing of ours.
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                self._directories.enter((name,)) as shard,
                os.scandir(shard) as entries,
            ):
                found += [entry.name for entry in entries if _is_older(entry, name, moment)]
        return found

    def named_before(self, moment: float) -> Generator[list[str], None, None]:
        """Yield the keys of files with a path of their own that were last written before `moment`, sometimes none."""
        for batch in self.named():
            yield [key for key, found in batch if is_key(key) and _is_old(found, moment)]

    def named(self) -> Iterator[list[Found]]:
        """Yield everything below the directory of named data, in batches. Raises `OSError`."""
        # As with shards.
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            self._directories.enter((NAMED,)) as directory,
            closing(below(directory)) as found,
        ):
            while batch := list(islice(found, NAMED_BATCH)):
                yield batch

    @contextmanager
    def _noting(self, errors: dict[str, OSError | TusError], files: Sequence[NewFile]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            errors.update(dict.fromkeys((file.key for file in files), translated(error)))

    def _open(self, key: str, access: int) -> tuple[int, os.stat_result]:
        way, name = place(key)
        try:
            with self._directories.enter(way) as directory:
                fd = os.open(name, access | _PLAIN, dir_fd=directory)
        except OSError as error:
            if error.errno in _NOT_A_PLAIN_FILE:
                raise DataLost("The stored data is not there or is not a plain file") from error
            raise
        found = os.fstat(fd)
        # A second name would let somebody else write into a finished upload.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            os.close(fd)
            raise DataLost("The stored data is not a plain file with a single name")
        return fd, found

    def _sync_names(self, way: Way) -> None:
        with self._directories.enter(way) as directory:
            self._directories.sync(way, directory)


def write_buffers(
    data: Descriptor, offset: int, buffers: Sequence[Buffer], digest: Digest | None, last: bool = False
) -> None:
    """Write buffers behind each other at `offset` and feed them to `digest`; close the file behind the `last` ones.

    Raises `InsufficientStorage`, `OSError`.
    """
    with data.use() as fd:
        write_all(fd, offset, buffers)
        if digest is not None:
            for buffer in buffers:
                digest.update(buffer)
    if last:
        data.rest()


def write_all(fd: int, offset: int, buffers: Sequence[Buffer]) -> None:
    """Write buffers behind each other at `offset` of an open file. Raises `InsufficientStorage`, `OSError`."""
    rest: list[Buffer] = [buffer for buffer in buffers if buffer]
    written = index = 0
    try:
        while index < len(rest):
            count = os.pwritev(fd, rest[index : index + IOV_MAX], offset + written)
            if count == 0:
                raise OSError(errno.EIO, "The file takes no more bytes")
            written += count
            while index < len(rest) and count >= len(rest[index]):
                count -= len(rest[index])
                index += 1
            if count:
                rest[index] = memoryview(rest[index])[count:]
    except OSError as error:
        raise translated(error, written) from error


def copy_range(source: Descriptor, start: int, target: Descriptor, offset: int, count: int) -> int:
    """Copy at most `count` bytes, inside the kernel where it can; return how many, 0 at the source's end.

    Raises `InsufficientStorage`, `OSError`.
    """
    with source.use() as readable, target.use() as writable:
        try:
            if copied := os.copy_file_range(readable, writable, count, start, offset):
                return copied
            # The end of the source, or a file system that says so of files it cannot copy: reading knows.
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise translated(error) from error
        chunk = os.pread(readable, min(count, COPY_BUFFER), start)
    write_buffers(target, offset, [chunk], None)
    return len(chunk)


def translated(error: OSError, written: int = 0) -> InsufficientStorage | OSError:
    """Return what an error means to a caller: no space of any kind is `InsufficientStorage`."""
    return InsufficientStorage(written=written) if error.errno in _FULL else error


def hash_range(data: Descriptor, start: int, end: int, digest: Digest) -> None:
    """Feed the bytes from `start` to `end` to `digest`. Raises `DataLost` when the file ends before, `OSError`."""
    buffer = memoryview(bytearray(min(HASH_BUFFER, end - start)))
    with data.use() as fd:
        while start < end:
            count = os.preadv(fd, [buffer[: end - start]], start)
            if count == 0:
                raise DataLost("The stored data ends before the bytes that were written")
            digest.update(buffer[:count])
            start += count


def sync(data: Descriptor) -> None:
    """Bring the bytes of a file, and what is needed to find them, to stable storage."""
    with data.use() as fd:
        os.fdatasync(fd)


def truncate(data: Descriptor, length: int) -> None:
    """Cut a file off at `length`; never makes it longer."""
    with data.use() as fd:
        if os.fstat(fd).st_size > length:
            os.ftruncate(fd, length)


def read(data: Descriptor, offset: int, count: int) -> bytes:
    """Return at most `count` bytes from `offset`."""
    with data.use() as fd:
        return os.pread(fd, count, offset)


def _start_writing(fd: int) -> None:
    """Let the kernel begin to write a file, without waiting: its place on the disk is then settled with others'."""
    if start := getattr(_LIBC, "sync_file_range", None):
        start(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def _is_older(entry: os.DirEntry[str], shard: str, moment: float) -> bool:
    if entry.name[:2] != shard or not is_key(entry.name):
        return False
    try:
        return _is_old(entry.stat(follow_symlinks=False), moment)
    except FileNotFoundError:
        return False


def _is_old(found: os.stat_result, moment: float) -> bool:
    # Nothing else is ever made by a store; a directory of such a name could not be removed like a file.
    return stat.S_ISREG(found.st_mode) and found.st_mtime < moment


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
