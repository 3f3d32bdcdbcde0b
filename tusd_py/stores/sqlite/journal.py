"""The journal of short bodies: a table of the same database, so that a row and its bytes are one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from tusd_py.abc import Journal
from tusd_py.models.journal import JournalEntry
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite.commits import Change
from tusd_py.stores.sqlite.database import Database
from tusd_py.stores.sqlite.jobs import as_json
from tusd_py.stores.sqlite.queries import QUERIES

COST = 2048
"""Bytes that an entry counts beside those in it: bounds how many there are."""
AT_ONCE = 200
"""Entries that are removed in one transaction: others wait for it."""

Settle = Callable[[Change], Awaitable[bool]]
"""Commits a change behind those that wait."""
ToUpload = Callable[[Any], UploadInfo]
"""Makes a record out of the columns of `uploads`."""


class SqliteJournal(Journal):
    """Knows in memory which entries there are, since no index is to be written with each of them."""

    def __init__(self, database: Database, settle: Settle, to_upload: ToUpload) -> None:
        """Begin with nothing; `load` finds what is there."""
        self._database = database
        self._settle = settle
        self._to_upload = to_upload
        self._last = 0
        self._sizes: dict[int, tuple[str, int]] = {}
        """By number, in their order: whose, and how large."""
        self._numbers: dict[str, list[int]] = {}
        """By upload."""
        self._size = 0

    @property
    def size(self) -> int:
        """About how much room the entries take, in bytes."""
        return self._size

    def holds(self, upload_id: str) -> bool:
        """Return whether there may be an entry of an upload, or will be."""
        return upload_id in self._numbers

    async def load(self) -> None:
        """Find out which entries there are. Raises `StoreError`."""
        self._last = self._size = 0
        self._sizes, self._numbers = {}, {}
        for number, upload_id, size in await self._database.read("list_journal", {}):
            self._last = number
            self._note(upload_id, size)

    def addition(self, upload_id: str, end: int, data: bytes) -> list[tuple[str, object]]:
        """Return the step that adds the bytes before `end`; no step for no bytes."""
        if not data:
            return []
        # Numbers are never used again, also when the change that adds this one fails.
        self._last += 1
        self._note(upload_id, len(data))
        offset = end - len(data)
        return [("add_to_journal", {"number": self._last, "upload_id": upload_id, "offset": offset, "data": data})]

    def removals(self, upload_id: str) -> list[tuple[str, object]]:
        """Return the steps that remove everything of an upload."""
        return [("remove_from_journal", {"number": number}) for number in self._numbers.get(upload_id, ())]

    async def end(self) -> int:
        """Return the number of the last entry, when all that were asked for are there; see `tusd_py.abc.Journal.end`.

        Raises `StoreError`.
        """
        last = self._last
        await self._settle(Change("", durable=False, work=_nothing))
        return last

    async def entries(self, *, after: int, limit: int) -> list[JournalEntry]:
        """Return entries; see `tusd_py.abc.Journal.entries`. Raises `StoreError`."""
        rows = await self._database.read("read_journal", {"after": after, "limit": limit})
        return [
            JournalEntry(number=row[0], offset=row[1], data=row[2], upload=self._to_upload(row[3:])) for row in rows
        ]

    async def forget(self, upto: int, *, but: Collection[str] = ()) -> None:
        """Remove entries up to a number; see `tusd_py.abc.Journal.forget`. Raises `StoreError`: some may be left."""
        but = frozenset(but)
        numbers = [number for number, (owner, _) in self._sizes.items() if number <= upto and owner not in but]
        for start in range(0, len(numbers), AT_ONCE):
            some = numbers[start : start + AT_ONCE]
            row = {"first": some[0], "last": some[-1], "but": as_json(but)}

            def work(db: sqlite3.Connection, row: dict[str, object] = row) -> None:
                db.execute(QUERIES["forget_journal"], row)

            await self._settle(Change("", durable=False, work=work))
            for number in some:
                upload_id, size = self._sizes.pop(number)
                self._size -= size
                self._numbers[upload_id].remove(number)
                if not self._numbers[upload_id]:
                    del self._numbers[upload_id]

    def _note(self, upload_id: str, size: int) -> None:
        self._sizes[self._last] = upload_id, size + COST
        self._numbers.setdefault(upload_id, []).append(self._last)
        self._size += size + COST


def _nothing(db: sqlite3.Connection) -> None:
    """Do nothing, when it is its turn."""
