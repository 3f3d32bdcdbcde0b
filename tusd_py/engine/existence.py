"""How an upload comes into being and goes: data and row, in the order that a crash cannot hurt (reliability 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from tusd_py.abc import Buffer
from tusd_py.engine.context import Context
from tusd_py.engine.journal import admit
from tusd_py.errors import InsufficientStorage, StoreError, UploadExists
from tusd_py.models.hook import Moment
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo


async def begin(
    ctx: Context, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = (), buffers: Sequence[Buffer] = ()
) -> None:
    """Make an upload, with its first bytes in it: the data first, so that there is never a byte without its data.

    A crash in between leaves data without a row, which the sweeper removes. One without bytes has no data yet: it is
    made with the first. Raises `InsufficientStorage` and `UploadExists`, leaving nothing behind.
    """
    if not (buffers or _is_looked_for(ctx, upload)):
        await ctx.info.insert(upload, durable=durable, jobs=jobs)
        return
    if upload.path is not None and await ctx.info.known([upload.key]):
        # Its file may be missing: lost, or half removed by somebody who would remove ours.
        raise UploadExists
    failures = ctx.doubts.failures
    kept = b"".join(buffers) if durable and admit(ctx, upload.offset) else b""
    await ctx.data.create(upload.key, buffers, durable=durable and not kept)
    if ctx.doubts.everything or failures != ctx.doubts.failures:
        await ctx.data.remove(upload.key, durable=False)
        raise StoreError("The disk failed; try again")
    try:
        await ctx.info.insert(upload, durable=durable, jobs=jobs, kept=kept)
    except (InsufficientStorage, UploadExists):
        # There is no row of ours for sure (after other errors nobody knows), and on a full disk this happens to
        # everybody who tries: each would leave an empty file.
        await ctx.data.remove(upload.key, durable=False)
        raise


def _is_looked_for(ctx: Context, upload: UploadInfo) -> bool:
    """Whether somebody counts on the data of a new upload to be there, though nothing is in it.

    What is no more open is read, and hooks are told where the data is. They also choose ids and places, which may be
    taken by data without a row: nobody may write to that while the sweeper is about to remove it.
    """
    return not upload.is_open or ctx.hooks.heeds(Moment.PRE_CREATE) or ctx.hooks.heeds(Moment.POST_CREATE)


async def remove(ctx: Context, upload: UploadInfo, jobs: Sequence[Job] = ()) -> None:
    """Remove an upload whose lock is held, or that nobody else can know. One that is gone is fine. `jobs` tell of it.

    Unknown first, then gone: a crash leaves a half-removed upload to be finished, not data without a name. At every
    level: the system may bring back a row whose file it has forgotten for good.
    """
    if await ctx.info.mark_deleting(upload.id, durable=True, jobs=jobs):
        try:
            async with ctx.replaying:
                pass  # another upload may soon have its name, and nobody writes there what was of this one
            await ctx.data.remove(upload.key, durable=ctx.policy.durability.syncs_finish)
            await ctx.info.delete(upload.id)
            ctx.doubts.uploads.pop(upload.id, None)
            ctx.doubts.unwritten.discard(upload.id)
        finally:
            if jobs:
                ctx.jobs.wake()
