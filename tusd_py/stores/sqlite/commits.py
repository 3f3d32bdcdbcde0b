"""Group commit: whatever waits while a commit is syncing shares the next one (performance: section 3)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from tusd_py.errors import InsufficientStorage, StoreBusy, StoreError
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite.ballast import Ballast, is_full, wants_room
from tusd_py.stores.sqlite.database import READ_TIMEOUT, Database
from tusd_py.stores.sqlite.queries import QUERIES

log = logging.getLogger(__name__)

EVERYTHING = "*"
"""The key of a change that may concern every upload; no id is like it."""
GROUP_LIMIT = 1000
"""Most callers that share a commit: bounds the memory of a group and the wait of its members."""
LOG_PAGES = 1000
"""Pages of the log, at most, after which it is written back: SQLite would do it in the middle of a commit."""
PAGE = 4096
"""Bytes of a page."""
PAGES_OF_A_ROW = 2
PAGES_OF_A_COMMIT = 2
"""Pages that a change adds to the log: more than most rows do, which share them, and the ends of the indexes."""
STOW_INTERVAL = 30.0
"""Seconds between two attempts to have ballast again."""
_REMOVALS = frozenset({"mark_deleting", "delete_upload"})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# The database, or the way to it, refuses a row: no matter of the disk.
_REFUSED = (sqlite3.IntegrityError, sqlite3.DataError, ValueError, OverflowError)
_NESTED = ("parts", "history", "event")
"""Fields of records that are JSON in the database."""
_FAILED = "The server could not store what it knows of the upload; ask for its offset and try again"


class Change:
    """What one caller wants to have changed, of one upload: all of it or nothing.

    Each step is a statement and a row for it. When the first step changes nothing, the others are not taken.
    """

    __slots__ = ("applied", "done", "durable", "key", "settled", "steps", "work")

    def __init__(
        self,
        key: str,
        steps: Sequence[tuple[str, Any]] = (),
        *,
        durable: bool,
        work: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self.key = key
        self.durable = durable
        self.work = work
        """Done in place of steps, in a transaction of its own, behind all that waited before. Blocking."""
        self.applied: Callable[[UploadInfo | None], bool] = _nobody_knows
        """Tells by the row of the upload whether the change was made, when its commit had an unknown outcome."""
        self.settled: Callable[[bool], None] = _ignore
        """Told whether it is known to have changed something, once, whether or not its caller still waits."""
        # Made here, where an error is the caller's own.
        self.steps = [(name, _row(record)) for name, record in steps]
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def pages(self) -> int:
        """How many pages it adds to the log, about."""
        return sum(PAGES_OF_A_ROW + len(row.get("data", b"")) // PAGE for _, row in self.steps)

    @property
    def removes(self) -> bool:
        """Whether it gives space back."""
        return bool(self.steps) and self.steps[0][0] in _REMOVALS

    def succeed(self, changed: bool) -> None:
        """Answer the caller, unless it is gone."""
        self.settled(changed)
        if not self.done.done():
            self.done.set_result(changed)

    def fail(self, error: Exception) -> None:
        """Answer the caller with an error, unless it is gone."""
        self.settled(False)
        if not self.done.done():
            self.done.set_exception(error)


class Commits:
    """Takes changes from callers and commits them in groups, one after the other, until it is closed."""

    def __init__(
        self, database: Database, ballast: Ballast, look: Callable[[str], Awaitable[UploadInfo | None]]
    ) -> None:
        """Begin to take changes; `look` returns the row of an upload as the database has it."""
        self.committed = 0
        """Transactions so far; with many callers far fewer than changes."""
        self._database = database
        self._ballast = ballast
        self._look = look
        self.undecided: set[str] = set()
        """Keys of changes that a crash may still make, or not; nothing is committed before that is settled."""
        self._logged = 0
        self._waiting: list[Change] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._stowed_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run(), name="tusd-py group commit")

    @property
    def is_closing(self) -> bool:
        """Whether it takes nothing more."""
        return self._closing

    async def settle(self, change: Change) -> bool:
        """Return whether the first step changed something, after all of it is committed.

        Cancelling leaves the change undone or done. Raises `StoreError` kin.
        """
        self._waiting.append(change)
        self._wake.set()
        return await change.done

    async def decide(self, key: str) -> None:
        """See to it that what readers see of an upload stays so, if a failed commit has left that open.

        Cancel-safe. Raises `StoreBusy`: it is still open.
        """
        if self.undecided.isdisjoint((key, EVERYTHING)):
            return
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                await self.settle(Change(key, durable=False))
        except (StoreError, TimeoutError) as error:
            raise StoreBusy from error

    async def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while group := self._next_group():
                try:
                    await self._commit(group)
                except Exception:
                    # Whatever it was: the writer must go on, and nobody may wait for ever.
                    log.exception("a group of changes failed", extra={"action": "commit_failed"})
                    await self._database.writer.drop()
                    self.undecided.update(change.key for change in group)
                    _fail(group)
                await self._write_back()
                await self._stow()

    def _next_group(self) -> list[Change]:
        group: dict[str, Change] = {}
        rest: list[Change] = []
        for index, change in enumerate(self._waiting):
            if change.done.done():
                change.settled(False)
                continue
            if change.work is not None:
                if not group and not rest:
                    return self._alone(index)
                rest += self._waiting[index:]
                break
            # A second change of one upload waits for the next group: where the outcome of a commit is unknown, the row
            # tells of the last one only.
            if change.key in group or len(group) >= GROUP_LIMIT:
                rest.append(change)
            else:
                group[change.key] = change
        self._waiting = rest
        return list(group.values())

    def _alone(self, index: int) -> list[Change]:
        change, self._waiting = self._waiting[index], self._waiting[index + 1 :]
        return [change]

    async def _commit(self, group: list[Change]) -> None:
        """Commit a group and answer its callers; when it fails, see to it that one change hurts no other."""
        if self.undecided and (error := await self._settle_log()):
            _fail(group, error)
            return
        try:
            changed = await self._transact(group)
        except _REFUSED as error:
            await self._database.writer.rollback()
            await self._commit_alone(group, error)
        except sqlite3.Error as error:
            await self._recover(group, error)
        else:
            self.committed += 1
            self._logged += PAGES_OF_A_COMMIT + sum(change.pages for change in group)
            for change, has_changed in zip(group, changed, strict=True):
                change.succeed(has_changed)

    async def _commit_alone(self, group: list[Change], error: Exception) -> None:
        if len(group) == 1:
            log.error("a change was refused: %s", error, extra={"action": "change_refused"})
            _fail(group, error)
            return
        for change in group:
            await self._commit([change])

    async def _recover(self, group: list[Change], error: Exception) -> None:
        # What an error of the disk left in the connection is not worth knowing: closing it rolls back, and the
        # next one reads everything again.
        await self._database.writer.drop()
        removes = any(change.removes for change in group)
        if removes and wants_room(error) and await asyncio.to_thread(self._ballast.drop):
            self._stowed_at = asyncio.get_running_loop().time()
            await self._commit(group)
            return
        if is_full(error):
            await self._commit_alone(group, error)
            return
        log.error("storing a group of changes failed: %s", error, extra={"action": "commit_failed"})
        await self._find_out(group, error)

    async def _find_out(self, group: list[Change], error: Exception) -> None:
        """Answer the callers of a commit whose outcome is unknown by what is stored (reliability 3.2)."""
        applied = set()
        if getattr(error, "sqlite_errorcode", 0) not in _BUSY:
            self.undecided.update(change.key for change in group)
            if await self._settle_log() is None:
                applied = await self._find_applied(group)
        for change in group:
            if change.key in applied:
                change.succeed(True)
        _fail([change for change in group if change.key not in applied], error)

    async def _settle_log(self) -> sqlite3.Error | None:
        """Decide what failed commits have left open, or return why that is still not possible."""
        try:
            await self._database.settle_log()
        except sqlite3.Error as error:
            log.warning("what became of a failed commit is not known: %s", error, extra={"action": "commit_failed"})
            await self._database.writer.drop()
            return error
        self.undecided.clear()
        return None

    async def _find_applied(self, group: list[Change]) -> set[str]:
        try:
            return {change.key for change in group if change.applied(await self._look(change.key))}
        except StoreError:
            # The reader has logged why. Nothing of it can change any more, so whoever asks again is told what is.
            return set()

    async def _transact(self, group: list[Change]) -> list[bool]:
        """Run a group in one transaction; tell for each change whether its first step changed something."""
        work = group[0].work
        transaction = partial(_apply, group) if work is None else partial(_apply_alone, work)
        return await self._database.writer.run(transaction, durable=any(change.durable for change in group))

    async def _write_back(self) -> None:
        """Bring the log back into the database. That waits for the disk, so the loop does not wait for it."""
        if self._logged >= LOG_PAGES:
            self._logged = 0
            # As after a commit of SQLite's own: what could not be written back stays in the log.
            with suppress(sqlite3.Error):
                await self._database.writer.write_back()

    async def _stow(self) -> None:
        """Have ballast again when there is space again."""
        now = asyncio.get_running_loop().time()
        if self._ballast.missing and now - self._stowed_at >= STOW_INTERVAL:
            self._stowed_at = now
            await asyncio.to_thread(self._ballast.stow)


def _nobody_knows(_: UploadInfo | None) -> bool:
    """Be the answer of a change that may as well be asked for again."""
    return False


def _ignore(_: bool) -> None:
    """Be the end of a change that nobody else has to hear of."""


def _row(record: object) -> dict[str, Any]:
    """Return a record as the parameters of a statement."""
    row: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
    for name in _NESTED:
        if name in row:
            row[name] = msgspec.json.encode(row[name]).decode()
    return row


def _apply(group: Sequence[Change], db: sqlite3.Connection) -> list[bool]:
    """Do what changes ask for in one transaction, on the writer's thread."""
    if len(group) == 1 and len(group[0].steps) == 1:
        # One statement is a transaction by itself.
        return [_take(group[0], db)]
    db.execute("begin immediate")
    changed = [_take(change, db) for change in group]
    db.commit()
    return changed


def _take(change: Change, db: sqlite3.Connection) -> bool:
    for number, (name, row) in enumerate(change.steps):
        if not db.execute(QUERIES[name], row).rowcount and not number:
            return False
    return bool(change.steps)


def _apply_alone(work: Callable[[sqlite3.Connection], None], db: sqlite3.Connection) -> list[bool]:
    db.execute("begin immediate")
    work(db)
    db.commit()
    return [True]


def _fail(group: list[Change], cause: Exception | None = None) -> None:
    for change in group:
        # One error each: the engine writes into it what it knows of the upload.
        failure = InsufficientStorage() if is_full(cause) else StoreError(_FAILED)
        failure.__cause__ = cause
        change.fail(failure)
