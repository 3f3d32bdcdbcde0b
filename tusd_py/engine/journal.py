"""Short bodies are kept in the journal of the info store, so that requests need not wait for their data to be synced.

Bytes are written to their data as ever, and the transaction that counts them has a copy: that is synced, the data is
not. Behind the back of the requests everything is synced at once, and then the copies go. A start writes what is still
there to its data again, which a power cut may have taken it from. Acknowledged bytes never change, so doing that twice
does no harm.

Where a sync fails, the kernel calls pages clean that it could not write (reliability: I9): before the next one
everything in the journal is written again.
"""

from __future__ import annotations

import asyncio
import logging

from tusd_py.abc import Journal
from tusd_py.engine.context import Context
from tusd_py.engine.replay import replay
from tusd_py.engine.settle import sync
from tusd_py.errors import StoreError

log = logging.getLogger(__name__)

TOO_LONG = 4
"""Times `Policy.journal_size` from which on bodies are synced instead: the disk does not keep up."""
PAUSE = 5.0
"""Seconds before another attempt when not everything could be synced and forgotten."""


def admit(ctx: Context, size: int | None) -> bool:
    """Return whether a body of so many bytes (None = nobody knows) is for the journal; have a long one emptied."""
    journal, policy = ctx.info.journal, ctx.policy
    if journal is None or size is None or not 0 < size <= policy.journal_up_to:
        return False
    if journal.size >= policy.journal_size:
        ctx.journal_is_long.set()
    return policy.durability.syncs_finish and ctx.data.notices_loss and journal.size < TOO_LONG * policy.journal_size


async def begin(ctx: Context) -> None:
    """Write what an earlier life left in the journal to its data, before anything is served. Raises as `replay`."""
    await replay(ctx)
    ctx.journal_is_long.set()


async def empty(ctx: Context) -> None:
    """Sync the data of everything that is in the journal at the time of the call, and forget it there.

    What cannot be written to its data stays. Raises `OSError`, `StoreError`: the journal has it all. Cancelling does
    not stop the sync.
    """
    if (journal := ctx.info.journal) is not None and journal.size:
        async with ctx.emptying:
            await _empty(ctx, journal)


async def _empty(ctx: Context, journal: Journal) -> None:
    # Before what is asked for now is counted, its bytes were written.
    end = await journal.end()
    failures = ctx.doubts.failures
    if ctx.doubts.journaled:
        ctx.doubts.journaled = False
        try:
            await replay(ctx)
        except BaseException:
            ctx.doubts.journaled = True
            raise
    elif ctx.doubts.unwritten:
        await replay(ctx, only=tuple(ctx.doubts.unwritten))
    await sync(ctx)
    if not ctx.doubts.journaled and ctx.doubts.failures == failures:
        await journal.forget(end, but=ctx.doubts.unwritten)


class Emptier:
    """Empties the journal when it has become long, for as long as it runs. Owned by the engine."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def run(self) -> None:
        """Go on until cancelled. What fails is logged and tried again."""
        while True:
            await self._ctx.journal_is_long.wait()
            self._ctx.journal_is_long.clear()
            try:
                await empty(self._ctx)
            except (StoreError, OSError):
                log.exception("syncing failed; trying again later", extra={"action": "settle_failed"})
                self._ctx.journal_is_long.set()
                await asyncio.sleep(PAUSE)
            if self._ctx.doubts.unwritten:
                # What has to stay may keep it long.
                await asyncio.sleep(PAUSE)
