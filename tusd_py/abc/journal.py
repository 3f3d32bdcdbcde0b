"""A redo log for short bodies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from tusd_py.models.journal import JournalEntry


class Journal(ABC):
    """Bytes that an info store keeps in the transaction that counts them, until their data is synced.

    They survive a power cut with that transaction, so their data need not be synced before it: a short request waits
    for one sync in place of two or three, and many files are synced at once. What a power cut takes from the data is
    put back from here. Bytes go with the upload that they are of.
    """

    @property
    @abstractmethod
    def size(self) -> int:
        """About how much room the entries take, in bytes; a little for an entry without many."""

    @abstractmethod
    def holds(self, upload_id: str) -> bool:
        """Return whether there may be an entry of an upload: then a power cut may take its data, even its name."""

    @abstractmethod
    async def end(self) -> int:
        """Return a number: of all that was asked for before the call nothing is, or will be, an entry behind it."""

    @abstractmethod
    async def entries(self, *, after: int, limit: int) -> list[JournalEntry]:
        """Return entries in the order of their numbers, beginning behind `after`. None of an upload on its way out."""

    @abstractmethod
    async def forget(self, upto: int, *, but: Collection[str] = ()) -> None:
        """Remove the entries up to a number, which survive a power cut elsewhere; not those of the uploads `but`."""
