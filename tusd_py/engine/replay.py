"""What the journal has, written to its data again: at a start, and when a sync failed.

A power cut may have taken it from there, and so may a disk: the kernel calls pages clean that it could not write, and
forgets them (reliability: I9). Acknowledged bytes never change, so writing them twice does no harm.
"""

from __future__ import annotations

import logging

from tusd_py.engine.context import Context
from tusd_py.errors import DataLost
from tusd_py.models.journal import JournalEntry
from tusd_py.models.upload import short

log = logging.getLogger(__name__)

BATCH = 100
"""Entries that are read at once."""


async def replay(ctx: Context, *, only: str | None = None, makes: bool = False) -> None:
    """Write everything in the journal, or what is of the upload `only`, to its data, which is not synced.

    With `makes`, for a start, data that is not there is made; else its upload is being removed. Cancel-safe. Raises
    `InsufficientStorage`, `OSError`, `StoreError`.
    """
    journal, number = ctx.info.journal, 0
    if journal is None or not (journal.size if only is None else journal.holds(only)):
        return
    while entries := await journal.entries(after=number, limit=BATCH):
        number = entries[-1].number
        for entry in entries:
            if only in (None, entry.upload.id):
                await _write(ctx, entry, makes=makes)


async def _write(ctx: Context, entry: JournalEntry, *, makes: bool) -> None:
    upload = entry.upload
    try:
        data = await ctx.data.write_to(upload.key, holds=None if makes else 0)
        try:
            await data.write(entry.offset, [entry.data])
            if upload.is_finished and entry.offset + len(entry.data) == upload.offset:
                # It was cut to its length, which a power cut may have undone.
                await data.seal(upload.offset, durable=False)
        finally:
            await data.close()
    except DataLost as error:
        # It is being removed, or somebody has put something else in its place: no reason to leave others unwritten.
        log.error(  # noqa: TRY400 - where it was noticed says nothing
            "writing the journal to the data failed: %s",
            error,
            extra={"action": "data_lost", "upload_id": short(upload.id)},
        )
