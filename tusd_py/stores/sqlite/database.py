"""The two connections to one database: a writer that survives errors, and a reader."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiosqlite

from tusd_py.errors import StartupError, StoreBusy, StoreError
from tusd_py.stores.sqlite import schema
from tusd_py.stores.sqlite.health import check_file, unusable
from tusd_py.stores.sqlite.queries import QUERIES
from tusd_py.stores.sqlite.writer import BUSY_TIMEOUT, Writer

log = logging.getLogger(__name__)

READ_TIMEOUT = 5.0
"""Seconds to wait for a disk that stands still, before a request is answered and before the reader is left alone."""
OLDEST_SQLITE = (3, 38, 0)
"""Knows STRICT tables, RETURNING and `->>`."""

Parameters = dict[str, str | int | float | None]


class Database:
    """An SQLite file with one writer and one reader, each on a thread of its own.

    Two connections that write could corrupt it with SQLite before 3.51.3 (reliability 3.2); the reader cannot.
    """

    def __init__(self, path: Path, *, data_root: Path | None, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._data_root = data_root
        self._writer: Writer | None = None
        self._reader: aiosqlite.Connection | None = None
        self._late: asyncio.Task[None] | None = None
        """Runs while the reader still has to get over what nobody waits for any more."""

    async def open(self) -> None:
        """Check, migrate and open the file. Raises `StartupError` and leaves the file as it was."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise StartupError(f"Python's SQLite library is {sqlite3.sqlite_version}, tusd-py needs {needed} or newer")
        try:
            if self.read_only:
                await asyncio.to_thread(check_file, self.path)
            else:
                await asyncio.to_thread(schema.prepare_file, self.path, self._data_root)
                self._writer = Writer(self.path)
                await self._writer.run(self._prepare, durable=True)
            # None: nothing is ever to be committed here.
            self._reader = await aiosqlite.connect(
                f"file:{quote(str(self.path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
            )
            await self._probe(self._reader)
        except BaseException as error:
            await self.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise unusable(self.path, error) from error
            raise

    async def close(self) -> None:
        """Close both connections, the writer last: it is the one that may empty the log. Safe to call twice.

        A reader that hangs in the disk is left alone after a while; it closes itself when the disk goes on.
        """
        if self._late is not None:
            await asyncio.wait([self._late], timeout=READ_TIMEOUT)
        reader, self._reader = self._reader, None
        if reader is not None and self._late is not None:
            self._late.cancel()
            reader.stop()
        elif reader is not None:
            with suppress(sqlite3.Error):
                await reader.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()

    @property
    def writer(self) -> Writer:
        """The connection that changes it; only between `open` and `close`, and not when `read_only`."""
        if self._writer is None:
            raise StoreError("The info store is not open for writing")
        return self._writer

    async def read(self, name: str, parameters: Parameters) -> list[sqlite3.Row]:
        """Run a reading statement, however long that takes. Raises `StoreError`."""
        if self._reader is None:
            raise StoreError("The info store is not open")
        try:
            return list(await self._reader.execute_fetchall(QUERIES[name], parameters))
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    async def read_in_time(self, name: str, parameters: Parameters) -> list[sqlite3.Row]:
        """As `read`, for a request, which is not to wait for ever: raises `StoreBusy` after `READ_TIMEOUT`.

        Cancel-safe. What is given up is still read, for nobody; until then nothing more is asked of the reader here, so
        that what waits in its thread is never more than the requests that wait.
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                while self._late is not None:
                    await asyncio.wait([self._late])
                return await self.read(name, parameters)
        except TimeoutError:
            self._give_up()
            log.error("reading the database takes more than %g s", READ_TIMEOUT, extra={"action": "read_failed"})  # noqa: TRY400 - where it waits says nothing
            raise StoreBusy from None
        except asyncio.CancelledError:
            self._give_up()
            raise

    async def settle_log(self) -> None:
        """Decide what a failed commit left in the log: what readers see now is safe, anything else is gone for good.

        Without this a later recovery of the log could find a commit whose caller was told that it failed; and what
        is written behind pages that the kernel lost would be lost with them. Raises `sqlite3.Error`: undecided.
        """
        await self.writer.run(_empty_log, durable=True)

    def _give_up(self) -> None:
        if self._late is None and self._reader is not None:
            self._late = asyncio.create_task(self._catch_up(self._reader), name="tusd-py late reads")

    async def _catch_up(self, reader: aiosqlite.Connection) -> None:
        try:
            # The thread takes one statement after the other, and this one asks for nothing.
            await reader.execute_fetchall("select 1")
        finally:
            self._late = None

    def _prepare(self, db: sqlite3.Connection) -> None:
        migrations = schema.load_migrations()
        if schema.check_version(db.execute(schema.VERSION).fetchone(), self.path, migrations) == 0:
            schema.check_unused(self.path, self._data_root)
        elif db.execute(QUERIES["any_upload"]).fetchone():
            schema.check_data(self.path, self._data_root)
        # Only now that the file is known to be ours or new: this is the first thing that changes it.
        if db.execute("pragma journal_mode = wal").fetchone() != ("wal",):
            raise StartupError(f"The database {self.path} cannot have a write-ahead log on this file system")
        schema.migrate(db, self.path, migrations)

    async def _probe(self, reader: aiosqlite.Connection) -> None:
        migrations = schema.load_migrations()
        (found,) = await reader.execute_fetchall(schema.VERSION)
        if schema.check_version(found, self.path, migrations) < migrations[-1].version:
            raise StartupError(f"{self.path} has an older schema; start the server once to bring it up to date")
        for name in ("probe_uploads", "probe_jobs"):
            await reader.execute_fetchall(QUERIES[name])


def _empty_log(db: sqlite3.Connection) -> None:
    ((is_busy, *_),) = db.execute("pragma wal_checkpoint(truncate)")
    if is_busy:
        raise sqlite3.OperationalError("the log is in use")


def _unreadable(error: sqlite3.Error) -> StoreError:
    # Whoever asked gets words that tell nothing about the inside; the traceback would tell no more than the error.
    log.error("reading the database failed: %s", error, extra={"action": "read_failed"})
    return StoreError("The server could not read what it knows of uploads")


def first_column(rows: Iterable[sqlite3.Row]) -> set[str]:
    """Return the first value of every row."""
    return {row[0] for row in rows}
