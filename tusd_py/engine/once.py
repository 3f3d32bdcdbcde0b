"""A creation with a key happens once: a client that got no answer sends it again, and gets the same upload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tusd_py.abc import Lock
from tusd_py.engine.context import Context
from tusd_py.engine.existence import remove
from tusd_py.engine.read import inspect
from tusd_py.errors import UploadExpired, UploadLocked, UploadNotFound
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol import rules
from tusd_py.protocol.intents import Create


@asynccontextmanager
async def claiming(ctx: Context, key: str) -> AsyncIterator[Lock]:
    """Hold the right to make the upload of a key. It may be given back before the end, when others find the upload.

    It is not to be held while a client sends bytes: one that comes back must not wait for its own ghost.
    Raises `UploadLocked`.
    """
    # No id has a slash.
    claim = await ctx.locker.acquire(f"creation/{key}", timeout=ctx.policy.lock_timeout)
    try:
        yield claim
    finally:
        await claim.release()


async def find_created(ctx: Context, intent: Create) -> UploadInfo | None:
    """Return the upload that an earlier request with the same key has made, as `inspect` does.

    None when there is none any more: it was removed, or its time ran out, then it is removed now.

    Raises:
        IdempotencyKeyReused: the earlier request asked for something else.
        RejectedBefore: a hook refused the upload.
        UploadFinishing: a hook still has to agree to its end.
        UploadLocked: it is being assembled, or removed; or whoever fills it has fallen silent, and does not let go.
    """
    if intent.key is None or (upload := await ctx.info.find_created(intent.key)) is None:
        return None
    if rules.is_gone(upload, ctx.clock.now()):
        await _make_way(ctx, upload.id)
        return None
    rules.check_same_creation(upload, intent)
    try:
        return await inspect(ctx, upload.id)
    except (UploadNotFound, UploadExpired) as error:
        raise UploadLocked from error


async def _make_way(ctx: Context, upload_id: str) -> None:
    """Remove an upload whose time ran out, as the sweeper soon would: its key is wanted for a new one."""
    lock = await ctx.locker.acquire(upload_id, timeout=0)
    try:
        upload = await ctx.info.get(upload_id)
        if upload is not None:
            if ctx.pins[upload_id] or not rules.is_gone(upload, ctx.clock.now()):
                raise UploadLocked
            await remove(ctx, upload)
    finally:
        await lock.release()
