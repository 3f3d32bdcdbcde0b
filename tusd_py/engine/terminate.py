"""DELETE: remove an upload."""

from __future__ import annotations

import logging

from tusd_py.engine.context import Context
from tusd_py.engine.existence import remove
from tusd_py.engine.locking import removing
from tusd_py.engine.moments import Caller, ask, owed
from tusd_py.errors import ServerShutdown, TerminationRejected, UploadLocked, UploadStopped
from tusd_py.models.hook import HookReply, Moment
from tusd_py.models.upload import short
from tusd_py.protocol import rules

log = logging.getLogger(__name__)


async def terminate(ctx: Context, upload_id: str, caller: Caller) -> None:
    """Remove an upload, finished or not, ending whatever PATCH is running.

    When it returns, every later request finds nothing (I12). Raises `UploadNotFound`, `UploadExpired`,
    `UploadLocked`, `HookFailed`, `TerminationRejected`. Cancelling may leave it half-removed: unknown to clients,
    finished by the sweeper.
    """
    if ctx.hooks.heeds(Moment.PRE_TERMINATE):
        # Before anybody is disturbed.
        upload = rules.check_known(await ctx.info.get(upload_id), ctx.clock.now())
        await ask(ctx, Moment.PRE_TERMINATE, upload, caller, TerminationRejected)
    async with removing(ctx, upload_id):
        upload = rules.check_known(await ctx.info.get(upload_id), ctx.clock.now())
        if ctx.pins[upload_id]:
            raise UploadLocked("This upload is being concatenated into another one; try again")
        await remove(ctx, upload, owed(ctx, Moment.POST_TERMINATE, upload, caller))


async def stop(ctx: Context, upload_id: str, reply: HookReply, caller: Caller) -> None:
    """Remove an upload because a `post-receive` hook wants it.

    A request that fills it ends with the hook's reply, and removes it before. One that has all its bytes by then
    stays: its client was told so. Raises `ServerShutdown`, `UploadLocked`, `StoreError`, `OSError`.
    """
    if ctx.draining:
        # The stores may be closed already; the hook is asked again when the upload goes on.
        raise ServerShutdown
    if (body := ctx.receiving.get(upload_id)) is not None:
        body.interrupt(UploadStopped(reply=reply))
    async with removing(ctx, upload_id):
        upload = await ctx.info.get(upload_id)
        if upload is not None and upload.is_open:
            await remove(ctx, upload, owed(ctx, Moment.POST_TERMINATE, upload, caller))
        elif upload is not None:
            log.warning(
                "a hook wanted to stop an upload that is over",
                extra={"action": "hook_stop_too_late", "upload_id": short(upload_id)},
            )
