"""Which uploads were begun and have not ended, so that another run of the program goes on with them.

One SQLite file of the user's, small and shared by all processes. Whatever is wrong with it, no upload fails for it:
`StoreUnusable` says why it cannot be used, and the upload goes on without.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import sqlite3
import struct
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from tusd_py.client.errors import SourceBusy, StoreUnusable
from tusd_py.client.source import Fingerprint

MONTH = 30 * 86400.0

_APPLICATION_ID = 0x74757363
"""`tusc` in ASCII, in the header of every such file."""
_VERSION = 1
_PATIENCE = 10.0
"""Seconds to wait for other processes that write."""

# Paths are bytes: a file's name need not be text. Numbers in JSON: an inode may be larger than SQLite's integers.
_SCHEMA = """
create table resumable (
    path blob not null,
    endpoint text not null,
    fingerprint text not null,
    key text not null,
    urls text not null,
    created_at real not null,
    updated_at real not null,
    primary key (path, endpoint)
) strict, without rowid;
create table runs (
    endpoint text not null,
    batch text not null,
    secret text not null,
    updated_at real not null,
    primary key (endpoint, batch)
) strict, without rowid;
"""
_FIND = "select * from resumable where path = :path and endpoint = :endpoint and updated_at >= :oldest"
_LIST = "select * from resumable where updated_at >= :oldest order by created_at, path, endpoint"
_REMEMBER = """
insert or replace into resumable
values (:path, :endpoint, :fingerprint, :key, :urls, :created_at, :updated_at)
"""
_FORGET = "delete from resumable where path = :path and (:endpoint is null or endpoint = :endpoint)"
_PRUNE = (
    "delete from resumable where updated_at < :oldest",
    "delete from runs where updated_at < :oldest",
)
_BEGIN = """
insert into runs values (:endpoint, :batch, :secret, :now) on conflict do update set updated_at = excluded.updated_at
"""
_SECRET = "select secret from runs where endpoint = :endpoint and batch = :batch"
_END = "delete from runs where endpoint = :endpoint and batch = :batch"

_LOCK = struct.Struct("hhqqi")
"""`struct flock`: type, whence, start, length, pid."""
_BYTES_TO_LOCK = 2**62
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that was begun."""

    path: str
    """Of the file: absolute and resolved."""
    endpoint: str
    """URL at which uploads are created."""
    fingerprint: Fingerprint
    """Of the file as it was when the upload began."""
    key: str
    """Random; the server finds the upload by it when the answer to its creation was lost."""
    urls: tuple[str | None, ...]
    """Of the upload, or of its parts in their order; None = not known to have been created."""
    created_at: float
    """Unix time."""
    updated_at: float
    """Unix time; `UrlStore.remember` sets it."""


# In the class, `list` is its method.
_Found: TypeAlias = list[Stored]


def default_path() -> Path:
    """Return where the user's store is. Raises `StoreUnusable` when the user has no home directory."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        # What is not absolute is to be ignored (XDG base directory specification).
        base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise StoreUnusable(f"there is no place to remember uploads in: {error}".rstrip(".")) from None
    return base / "tusd-py" / "resumable.sqlite3"


class UrlStore:
    """The uploads that were begun. Nothing of it is open between two calls; all tasks and processes may use it.

    Coroutines raise `StoreUnusable`. They are cancel-safe: what was asked for is done or not done, never half.
    """

    def __init__(
        self, path: Path | None = None, *, keep_for: float = MONTH, now: Callable[[], float] = time.time
    ) -> None:
        """Make a store that is looked for only when it is used.

        Args:
            path: None = `default_path`, whose `StoreUnusable` this raises.
            keep_for: seconds after which an upload that nobody went on with is forgotten.
            now: the clock, in Unix time.
        """
        self.path = path or default_path()
        self._keep_for = keep_for
        self._now = now
        self._pruned = False

    def claim(self, path: str, endpoint: str) -> AbstractAsyncContextManager[None]:
        """Be the only one, of all tasks and processes, to upload this file to this server, until the block ends.

        The kernel ends it for a process that dies. Entering raises `SourceBusy`, at once, and `StoreUnusable`.
        """
        return self._claim(path, endpoint)

    async def find(self, path: str, endpoint: str) -> Stored | None:
        """Return the upload of this file to this server."""
        key = {"path": os.fsencode(path), "endpoint": endpoint}
        found = await asyncio.to_thread(self._read, _FIND, key)
        return found[0] if found else None

    async def list(self) -> _Found:
        """Return all uploads, the oldest first."""
        return await asyncio.to_thread(self._read, _LIST, {})

    async def remember(self, *uploads: Stored) -> None:
        """Put uploads in, each in place of an earlier one of its file to its server. They survive a power cut."""
        now = self._now()
        rows = [
            {
                "path": os.fsencode(stored.path),
                "endpoint": stored.endpoint,
                "fingerprint": msgspec.json.encode(stored.fingerprint).decode(),
                "key": stored.key,
                "urls": msgspec.json.encode(stored.urls).decode(),
                "created_at": stored.created_at,
                "updated_at": now,
            }
            for stored in uploads
        ]
        await asyncio.to_thread(self._write, _REMEMBER, rows)

    async def forget(self, *paths: str, endpoint: str | None = None) -> int:
        """Take out the uploads of these files to this server, None = to all servers. Return how many there were."""
        rows = [{"path": os.fsencode(path), "endpoint": endpoint} for path in paths]
        return await asyncio.to_thread(self._write, _FORGET, rows)

    async def begin_run(self, endpoint: str, batch: str) -> str:
        """Return a secret for uploading a batch of files to this server: that of the last run, unless it has ended."""
        return await asyncio.to_thread(self._begin_run, {"endpoint": endpoint, "batch": batch})

    async def end_run(self, endpoint: str, batch: str, paths: Iterable[str]) -> None:
        """Take out the uploads of these files to this server, and have the next run of the batch get another secret."""
        run = {"endpoint": endpoint, "batch": batch}
        await asyncio.to_thread(self._end_run, run, [os.fsencode(path) for path in paths])

    @asynccontextmanager
    async def _claim(self, path: str, endpoint: str) -> AsyncIterator[None]:
        digest = hashlib.sha256(os.fsencode(path) + b"\0" + os.fsencode(endpoint)).digest()
        place = int.from_bytes(digest[:8]) % _BYTES_TO_LOCK
        taking = asyncio.ensure_future(asyncio.to_thread(self._lock, place))
        try:
            fd = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(_let_go)
            raise
        if fd is None:
            raise SourceBusy(f"another process is uploading {path} to {endpoint}")
        try:
            yield
        finally:
            os.close(fd)

    def _lock(self, place: int) -> int | None:
        """Return a descriptor that holds one byte of the lock file; None = somebody else has it."""
        with self._usable():
            fd = _open_private(self.path.with_suffix(".lock"))
            try:
                # Of this open file, not of the process: tasks exclude each other, too.
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
            except OSError as error:
                os.close(fd)
                if error.errno in _TAKEN:
                    return None
                raise
            return fd

    def _read(self, statement: str, values: dict[str, Any]) -> _Found:
        with self._usable():
            if not self.path.exists():
                return []
            with closing(self._connect()) as db:
                if self._version(db) == 0:
                    return []
                rows = db.execute(statement, {**values, "oldest": self._now() - self._keep_for}).fetchall()
            return [_stored(row) for row in rows]

    def _write(self, statement: str, rows: Sequence[dict[str, Any]]) -> int:
        with self._changing() as db:
            return db.executemany(statement, rows).rowcount

    def _begin_run(self, run: dict[str, str]) -> str:
        with self._changing() as db:
            db.execute(_BEGIN, {**run, "secret": uuid.uuid4().hex, "now": self._now()})
            return str(db.execute(_SECRET, run).fetchone()[0])

    def _end_run(self, run: dict[str, str], paths: Sequence[bytes]) -> None:
        with self._changing() as db:
            db.executemany(_FORGET, [{"path": path, "endpoint": run["endpoint"]} for path in paths])
            db.execute(_END, run)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Change something in one transaction, that of the block. The file is made when it is missing."""
        with self._usable():
            os.close(_open_private(self.path))
            with closing(self._connect()) as db:
                db.execute("pragma synchronous = extra")
                db.execute("begin immediate")
                if self._version(db) == 0:
                    for statement in _SCHEMA.split(";")[:-1]:
                        db.execute(statement)
                    db.execute(f"pragma application_id = {_APPLICATION_ID}")
                    db.execute(f"pragma user_version = {_VERSION}")
                if not self._pruned:
                    for statement in _PRUNE:
                        db.execute(statement, {"oldest": self._now() - self._keep_for})
                yield db
                db.execute("commit")
            self._pruned = True

    def _connect(self) -> sqlite3.Connection:
        # No write-ahead log: SQLite before 3.51.3 may damage one that several processes write, there is little to
        # write, and a directory that can only be read would hide what is in it.
        return sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)

    def _version(self, db: sqlite3.Connection) -> int:
        """Return the version of the schema; 0 = nothing is in it yet."""
        application, version, tables = (
            db.execute(statement).fetchone()[0]
            for statement in ("pragma application_id", "pragma user_version", "select count(*) from sqlite_schema")
        )
        if application == version == tables == 0:
            return 0
        if application != _APPLICATION_ID:
            raise StoreUnusable(f"{self.path} belongs to another program; move it away")
        if version > _VERSION:
            raise StoreUnusable(f"{self.path} was written by a newer version of tusd-py")
        return int(version)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn whatever is wrong with the files into `StoreUnusable`."""
        try:
            yield
        except OSError as error:
            raise StoreUnusable(f"{self.path} cannot be used: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise StoreUnusable(f"{self.path} cannot be used: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreUnusable(f"{self.path} is damaged, remove it: {error}") from error


def _stored(row: tuple[Any, ...]) -> Stored:
    path, endpoint, fingerprint, key, urls, created_at, updated_at = row
    return Stored(
        path=os.fsdecode(path),
        endpoint=endpoint,
        fingerprint=msgspec.json.decode(fingerprint, type=Fingerprint),
        key=key,
        urls=msgspec.json.decode(urls, type=tuple[str | None, ...]),
        created_at=created_at,
        updated_at=updated_at,
    )


def _open_private(path: Path) -> int:
    """Open a file that its owner alone may read, in a directory of the same kind; both are made when missing."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _let_go(taking: asyncio.Future[int | None]) -> None:
    """Close what was opened for somebody who does not wait for it any more."""
    if not taking.cancelled() and taking.exception() is None and (fd := taking.result()) is not None:
        os.close(fd)
