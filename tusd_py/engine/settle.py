"""At the weaker levels of durability: syncing behind the back of the requests, so that little ever falls back.

Requests wait for no sync there. But what was acknowledged long ago, and what a clean stop leaves, must not be taken
back by the next boot: so it is synced now and then, all at once, and noted.
"""

from __future__ import annotations

from tusd_py.engine.context import Context

BATCH = 10_000
"""Uploads that share a sync of the file system."""
MARKED_AT_ONCE = 500
"""Uploads that share a commit of the note: each is an object in memory while it waits."""


async def settle(ctx: Context) -> int:
    """Make every offset committed before the call survive a power cut; return how many uploads that concerned.

    Nothing to do, and no sync, at the level `patch`. Raises `OSError`, `StoreError`; then nothing was noted.
    """
    done = 0
    while uploads := await ctx.info.list_unsynced(limit=BATCH):
        # Offsets are committed after their bytes are written, so this sync covers all of them.
        await ctx.data.sync_all()
        for start in range(0, len(uploads), MARKED_AT_ONCE):
            await ctx.info.mark_synced(uploads[start : start + MARKED_AT_ONCE])
        done += len(uploads)
        if len(uploads) < BATCH:
            break
    return done
