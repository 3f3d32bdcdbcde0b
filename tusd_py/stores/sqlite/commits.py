"""Group commit: whatever waits while a commit is syncing shares the next one (performance: section 3)."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiosqlite
import msgspec

from tusd_py.errors import InsufficientStorage, StoreBusy, StoreError
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite.ballast import Ballast, is_full, wants_room
from tusd_py.stores.sqlite.database import READ_TIMEOUT, Database, first_column
from tusd_py.stores.sqlite.queries import QUERIES

log = logging.getLogger(__name__)

EVERYTHING = "*"
"""The key of a change that may concern every upload; no id is like it."""
GROUP_LIMIT = 1000
"""Most callers that share a commit: bounds the memory of a group and the wait of its members."""
STOW_INTERVAL = 30.0
"""Seconds between two attempts to have ballast again."""
_REMOVALS = frozenset({"mark_deleting", "delete_upload"})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
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
        work: Callable[[aiosqlite.Connection], Awaitable[None]] | None = None,
    ) -> None:
        self.key = key
        self.durable = durable
        self.work = work
        """Done in place of steps, in a transaction of its own, behind all that waited before."""
        self.applied: Callable[[UploadInfo | None], bool] = _nobody_knows
        """Tells by the row of the upload whether the change was made, when its commit had an unknown outcome."""
        self.settled: Callable[[bool], None] = _ignore
        """Told whether it is known to have changed something, once, whether or not its caller still waits."""
        # Encoded here, where an error is the caller's own.
        self.steps = [(name, msgspec.json.encode(row)) for name, row in steps]
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

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


class _CommitFailed(Exception):
    """COMMIT itself failed: nobody knows what a crash would leave."""


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
                    await self._database.drop_writer()
                    self.undecided.update(change.key for change in group)
                    _fail(group)
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
            # A second change of one upload waits for the next group: a set statement sees each row once.
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
        except (sqlite3.IntegrityError, sqlite3.DataError) as error:
            await self._database.rollback()
            await self._commit_alone(group, error)
        except (sqlite3.Error, _CommitFailed) as error:
            await self._recover(group, error)
        else:
            for change in group:
                change.succeed(change.key in changed)

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
        await self._database.drop_writer()
        cause = _cause(error)
        removes = any(change.removes for change in group)
        if removes and wants_room(cause) and await asyncio.to_thread(self._ballast.drop):
            self._stowed_at = asyncio.get_running_loop().time()
            await self._commit(group)
            return
        if is_full(cause):
            await self._commit_alone(group, error)
            return
        log.error("storing a group of changes failed: %s", error, extra={"action": "commit_failed"})
        await self._find_out(group, error)

    async def _find_out(self, group: list[Change], error: Exception) -> None:
        """Answer the callers of a commit whose outcome is unknown by what is stored (reliability 3.2)."""
        applied = set()
        if getattr(_cause(error), "sqlite_errorcode", 0) not in _BUSY:
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
            await self._database.drop_writer()
            return error
        self.undecided.clear()
        return None

    async def _find_applied(self, group: list[Change]) -> set[str]:
        try:
            return {change.key for change in group if change.applied(await self._look(change.key))}
        except StoreError:
            # The reader has logged why. Nothing of it can change any more, so whoever asks again is told what is.
            return set()

    async def _transact(self, group: list[Change]) -> set[str]:
        """Run a group in one transaction; return the keys of those changes whose first step changed something."""
        writer = await self._database.writer(durable=any(change.durable for change in group))
        if group[0].work is not None:
            await writer.execute_fetchall("begin immediate")
            await group[0].work(writer)
            await self._end(writer)
            return {group[0].key}
        firsts: dict[str, list[tuple[str, bytes]]] = {}
        laters: dict[str, list[tuple[str, bytes]]] = {}
        for change in group:
            for index, (name, row) in enumerate(change.steps):
                (laters if index else firsts).setdefault(name, []).append((change.key, row))
        if len(firsts) == 1 and not laters:
            # One statement is a transaction by itself, and one trip to the writer's thread instead of three.
            ((name, steps),) = firsts.items()
            rows = [row for _, row in steps]
            changed = first_column(await writer.execute_fetchall(QUERIES[name], _as_list(rows)))
            self.committed += 1
            return changed
        changed = set()
        await writer.execute_fetchall("begin immediate")
        for name in QUERIES:
            rows = [row for _, row in firsts.get(name, ())]
            if rows:
                changed |= first_column(await writer.execute_fetchall(QUERIES[name], _as_list(rows)))
            rows = [row for key, row in laters.get(name, ()) if key in changed]
            if rows:
                await writer.execute_fetchall(QUERIES[name], _as_list(rows))
        await self._end(writer)
        return changed

    async def _end(self, writer: aiosqlite.Connection) -> None:
        try:
            await writer.commit()
        except sqlite3.Error as error:
            raise _CommitFailed(str(error)) from error
        self.committed += 1

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


def _as_list(rows: list[bytes]) -> dict[str, str]:
    return {"rows": f"[{b','.join(rows).decode()}]"}


def _cause(error: Exception | None) -> BaseException | None:
    return error.__cause__ if isinstance(error, _CommitFailed) else error


def _fail(group: list[Change], cause: Exception | None = None) -> None:
    for change in group:
        # One error each: the engine writes into it what it knows of the upload.
        failure = InsufficientStorage() if is_full(_cause(cause)) else StoreError(_FAILED)
        failure.__cause__ = cause
        change.fail(failure)
