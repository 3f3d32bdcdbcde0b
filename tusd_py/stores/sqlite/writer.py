"""The one connection that writes, on a thread of its own: a whole transaction is one trip there.

aiosqlite makes a trip of every statement, and has the event loop woken for each; here the loop can stand still for the
moment that a commit takes which syncs nothing (`tusd_py/stores/threads.py`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from sqlite3 import connect
from typing import TypeVar
from urllib.parse import quote

from tusd_py.stores.threads import DiskThreads, to_the_end

T = TypeVar("T")

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process, somebody's `sqlite3` shell, say."""
WAL_LIMIT = 16 * 1024 * 1024
"""Bytes to which the write-ahead log is cut back after a burst."""

Work = Callable[[sqlite3.Connection], T]
"""What is done with the connection. Blocking; begins and ends its own transactions."""


class Writer:
    """A connection that is opened when it is needed, and again after it was dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = DiskThreads(1, name="tusd-py-sqlite")
        # Only the thread touches these.
        self._db: sqlite3.Connection | None = None
        self._synchronous = ""

    async def run(self, work: Work[T], *, durable: bool) -> T:
        """Do something with the connection; what it commits is synced if `durable`.

        Cancelling does not stop it once it has begun. Raises what `work` raises, and `sqlite3.Error`.
        """
        if durable:
            return await self._threads.run(self._do, work, "full")
        return await self._threads.run_now(self._do, work, "normal")

    async def write_back(self) -> None:
        """Write the log back into the database as far as readers allow. Raises `sqlite3.Error`."""
        await self._threads.run(self._write_back)

    async def rollback(self) -> None:
        """Undo the transaction that is under way, if there is one."""
        await self._threads.run(self._roll_back)

    async def drop(self) -> None:
        """Close the connection, whatever state it is in; the next `run` opens another."""
        await self._threads.run(self._drop)

    async def close(self) -> None:
        """Close the connection and end the thread, after everything that was asked for."""
        try:
            await to_the_end(self.drop())
        finally:
            self._threads.shutdown()

    def _do(self, work: Work[T], synchronous: str) -> T:
        if self._db is None:
            self._db = self._connect()
            self._synchronous = ""
        if synchronous != self._synchronous:
            self._db.execute(f"pragma synchronous = {synchronous}")
            self._synchronous = synchronous
        return work(self._db)

    def _connect(self) -> sqlite3.Connection:
        # None: transactions are begun by us, or are one statement.
        db = connect(
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
        )
        db.execute(f"pragma journal_size_limit = {WAL_LIMIT}")
        # Some builds write zeros over everything that is removed, also where that takes a write of its own.
        db.execute("pragma secure_delete = fast").fetchone()
        return db

    def _write_back(self) -> None:
        if self._db is not None:
            self._db.execute("pragma wal_checkpoint(passive)").fetchone()

    def _roll_back(self) -> None:
        if self._db is not None:
            try:
                self._db.rollback()
            except sqlite3.Error:
                self._drop()

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()
