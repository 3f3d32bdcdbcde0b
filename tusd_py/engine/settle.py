"""Syncing behind the back of the requests, so that little ever falls back; and what falls back when a sync fails.

Requests wait for no sync at the weaker levels of durability. But what was acknowledged long ago, and what a clean stop
leaves, must not be taken back by the next boot: so it is synced now and then, all at once, and noted.

A sync that failed is never tried again for the same bytes: the kernel has called the pages clean that it could not
write, and would say that all is well (reliability: I9). What was acknowledged and not synced is taken back instead, as
it is after a power cut, and clients send it again.
"""

from __future__ import annotations

import asyncio

from tusd_py.engine.context import Context
from tusd_py.engine.replay import replay
from tusd_py.models.upload import Progress, UploadInfo

BATCH = 10_000
"""Uploads that share a sync of the file system."""
MARKED_AT_ONCE = 500
"""Uploads that share a commit of the note: each is an object in memory while it waits."""


async def settle(ctx: Context) -> int:
    """Make every offset committed before the call survive a power cut; return how many uploads that concerned.

    Nothing to do, and no sync, at the level `patch`. Raises `OSError`, `StoreError`: nothing was noted, and after a
    failed sync everything that was not noted before has fallen back. Cancelling does not stop the sync, nor what
    follows when it fails.
    """
    done = 0
    if ctx.doubts.everything:
        await _fall_back(ctx)
    while uploads := await ctx.info.list_unsynced(limit=BATCH):
        before = ctx.doubts.failures, ctx.doubts.taken_back
        # Offsets are committed after their bytes are written, so this sync covers all of them.
        await sync(ctx)
        if (ctx.doubts.failures, ctx.doubts.taken_back) != before:
            # One of them may have fallen back meanwhile, and have new bytes that came after the sync.
            break
        for start in range(0, len(uploads), MARKED_AT_ONCE):
            await ctx.info.mark_synced(uploads[start : start + MARKED_AT_ONCE])
        done += len(uploads)
        if len(uploads) < BATCH:
            break
    return done


async def take_back(ctx: Context, upload: UploadInfo) -> UploadInfo:
    """Let the offset of an upload fall to what was synced, after its own sync failed; return it as it is then.

    Its lock is held. While this fails, with `StoreError` or `OSError`, nothing is added to the upload.
    """
    # The row may know of a later sync meanwhile, which says nothing about what was lost before it.
    synced = min(upload.synced_offset, ctx.doubts.uploads.get(upload.id, upload.synced_offset))
    ctx.doubts.uploads[upload.id] = synced
    ctx.doubts.journaled = True
    ctx.journal_is_long.set()
    if upload.offset > synced:
        ctx.doubts.taken_back += 1
        step = Progress(
            upload_id=upload.id,
            fence=upload.epoch + 1,
            expected=upload.offset,
            offset=synced,
            synced_offset=synced,
            length=upload.length,
            expires_at=upload.expires_at,
        )
        await ctx.info.advance(step, durable=True)
        upload = step.applied_to(upload)
    # What was acknowledged and never synced, because the journal has it, may be lost like the rest.
    await replay(ctx, only=(upload.id,))
    del ctx.doubts.uploads[upload.id]
    return upload


async def sync(ctx: Context) -> None:
    """Make everything that was written before the call survive a power cut.

    Raises `OSError`, when everything that was not known to be synced has fallen back. Cancelling does not stop it.
    """
    if ctx.syncing is not None:
        # Whoever began it went away; it is from before, and may fail.
        await asyncio.wait([ctx.syncing])
    ctx.syncing = asyncio.create_task(_sync_everything(ctx), name="tusd-py sync")
    await asyncio.shield(ctx.syncing)


async def _sync_everything(ctx: Context) -> None:
    try:
        await ctx.data.sync_all()
    except OSError:
        ctx.doubts.failures += 1
        ctx.doubts.everything = True
        ctx.doubts.journaled = True
        await _fall_back(ctx)
        await replay(ctx)
        raise


async def _fall_back(ctx: Context) -> None:
    async with ctx.replaying:
        await ctx.info.fall_back()
    ctx.doubts.everything = False
