"""Concatenation: a final upload is a copy of its parts, made inside the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

from msgspec.structs import replace

from tusd_py.engine.context import Context
from tusd_py.engine.existence import begin, remove
from tusd_py.engine.moments import Caller, announcing
from tusd_py.engine.replay import check_written
from tusd_py.engine.writer import Writer
from tusd_py.errors import DataLost, TusError, UploadNotFound
from tusd_py.models.hook import Moment
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.protocol import rules
from tusd_py.protocol.intents import Create


async def check(ctx: Context, intent: Create, limits: Limits) -> int:
    """Return how long parts are together, if they can be joined as they are now.

    Raises the `TusError` of the first rule that fails.
    """
    return rules.check_parts(intent, await _look_up(ctx, intent.parts), limits, ctx.clock.now())


async def assemble(ctx: Context, upload: UploadInfo, intent: Create, limits: Limits, caller: Caller) -> UploadInfo:
    """Make a finished upload out of finished partial ones, which stay as they are (CAT-07).

    While the bytes are copied the upload is `assembling` and its parts are pinned; a crash in between leaves a row
    that the next start removes, so no final upload ever looks finished before it is (CAT-20).
    Raises as `check`, which is looked at again behind the pins: a DELETE may have come in between (CONC-11).
    Run it to its end.
    """
    async with pinned(ctx, intent.parts):
        parts = await _look_up(ctx, intent.parts)
        total = rules.check_parts(intent, parts, limits, ctx.clock.now())
        upload = replace(upload, state=UploadState.ASSEMBLING, length=total, expires_at=None)
        with announcing(ctx, Moment.POST_CREATE, upload, caller):
            # Nothing of it counts before the finish, which syncs all of it.
            await begin(ctx, upload, durable=False)
            try:
                return await _copy(ctx, upload, [part for part in parts if part is not None], limits, caller)
            except BaseException:
                await remove(ctx, upload)
                raise


async def _look_up(ctx: Context, ids: Iterable[str]) -> list[UploadInfo | None]:
    found = {upload_id: await ctx.info.get(upload_id) for upload_id in dict.fromkeys(ids)}
    return [found[upload_id] for upload_id in ids]


async def _copy(
    ctx: Context, upload: UploadInfo, parts: list[UploadInfo], limits: Limits, caller: Caller
) -> UploadInfo:
    writer = Writer(ctx, upload, limits, caller)
    try:
        for part in parts:
            try:
                await check_written(ctx, part.id)
                await writer.copy(part, part.offset)
            except DataLost as error:
                raise UploadNotFound("The data of a partial upload is gone") from error
        return await writer.finish()
    except BaseException:
        # Space first: on a disk that the copy has filled, not even its removal could be noted.
        with suppress(TusError, OSError):
            await writer.discard()
        raise
    finally:
        await writer.close()


@asynccontextmanager
async def pinned(ctx: Context, ids: Iterable[str]) -> AsyncIterator[None]:
    """Keep uploads from being removed. Waits for a removal that is already under way. Raises `UploadLocked`.

    Pins are counted, so that one part may go into several final uploads at the same time. The lock of each part is
    held only for the moment of pinning; a finished part cannot change otherwise.
    """
    unique = set(ids)
    held: list[str] = []
    try:
        # Sorted, so that two finals that share parts cannot wait for each other.
        for upload_id in sorted(unique):
            lock = await ctx.locker.acquire(upload_id, timeout=ctx.policy.lock_timeout)
            ctx.pins[upload_id] += 1
            held.append(upload_id)
            await lock.release()
        yield
    finally:
        for upload_id in held:
            ctx.pins[upload_id] -= 1
            if not ctx.pins[upload_id]:
                del ctx.pins[upload_id]
