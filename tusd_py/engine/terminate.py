"""DELETE: remove an upload."""

from __future__ import annotations

from tusd_py.engine.context import Context
from tusd_py.engine.existence import remove
from tusd_py.engine.locking import removing
from tusd_py.errors import UploadLocked
from tusd_py.protocol import rules


async def terminate(ctx: Context, upload_id: str) -> None:
    """Remove an upload, finished or not, ending whatever PATCH is running.

    When it returns, every later request finds nothing (I12). Raises `UploadNotFound`, `UploadExpired`,
    `UploadLocked`. Cancelling may leave it half-removed: unknown to clients, finished by the sweeper.
    """
    async with removing(ctx, upload_id):
        rules.check_visible(await ctx.info.get(upload_id), ctx.clock.now())
        if ctx.pins[upload_id]:
            raise UploadLocked("This upload is being concatenated into another one; try again")
        await remove(ctx, upload_id)
