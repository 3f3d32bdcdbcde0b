"""What the journal has, written to its data again: at a start, and when a sync failed.

A power cut may have taken it from there, and so may a disk: the kernel calls pages clean that it could not write, and
forgets them (reliability: I9). Acknowledged bytes never change, so writing them twice does no harm.

An entry that was read before its upload was removed, or fell back, must not be written after that: other bytes may be
there by then, under the same name. So both wait for whoever is at it (`Context.replaying`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from tusd_py.engine.context import Context
from tusd_py.errors import DataLost
from tusd_py.models.journal import JournalEntry
from tusd_py.models.upload import short

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Entries that are read at once."""


async def replay(ctx: Context, *, only: Collection[str] | None = None) -> None:
    """Write everything in the journal, or what is of the uploads `only`, to its data, which is not synced.

    Where that is not possible, because something else is in the place of the data or bytes before it are gone, the
    upload is among `Doubts.unwritten` afterwards: the journal is the only one to have these bytes.

    Cancel-safe. Raises `InsufficientStorage`, `OSError`, `StoreError`; what was found out until then stands.
    """
    journal = ctx.info.journal
    if journal is None:
        return
    async with ctx.replaying:
        if not (journal.size if only is None else any(map(journal.holds, only))):
            return
        number, failed = 0, set[str]()
        while entries := await journal.entries(after=number, limit=AT_ONCE):
            number = entries[-1].number
            for entry in entries:
                if (only is None or entry.upload.id in only) and entry.upload.id not in failed:
                    try:
                        await _write(ctx, entry)
                    except DataLost as error:
                        _report(entry, error)
                        failed.add(entry.upload.id)
                        ctx.doubts.unwritten.add(entry.upload.id)
        tried = set(ctx.doubts.unwritten if only is None else only)
        ctx.doubts.unwritten.difference_update(tried - failed)


async def check_written(ctx: Context, upload_id: str) -> None:
    """Raise `DataLost` when the journal has bytes of an upload that cannot be written to its data. Tries it again.

    Cancel-safe. Raises as `replay`.
    """
    if upload_id in ctx.doubts.unwritten:
        await replay(ctx, only=(upload_id,))
        if upload_id in ctx.doubts.unwritten:
            raise DataLost


async def _write(ctx: Context, entry: JournalEntry) -> None:
    upload = entry.upload
    # What is before it was written or synced earlier. Data that is not there at all begins with the journal.
    data = await ctx.data.write_to(upload.key, holds=entry.offset or None)
    try:
        await data.write(entry.offset, [entry.data])
        if upload.is_finished and entry.offset + len(entry.data) == upload.offset:
            # It was cut to its length, which a power cut may have undone.
            await data.seal(upload.offset, durable=False)
    finally:
        await data.close()


def _report(entry: JournalEntry, error: DataLost) -> None:
    # No reason to leave others unwritten.
    log.error(
        "writing the journal to the data failed: %s",
        error,
        extra={"action": "data_lost", "upload_id": short(entry.upload.id)},
    )
