"""Who may touch an upload, and how a live writer is asked to stop.

A PATCH or DELETE takes over from any running PATCH; whoever only looks (HEAD, GET, listing) never disturbs one
that is receiving bytes (protocol: CORE-HEAD-10, CONC-01 to CONC-08).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tusd_py.abc import Body
from tusd_py.engine.context import Context
from tusd_py.errors import ServerShutdown, UploadInterrupted


@asynccontextmanager
async def writing(ctx: Context, upload_id: str, body: Body) -> AsyncIterator[None]:
    """Hold an upload while `body` is read into it.

    Raises:
        UploadLocked: the holder did not let go within the lock timeout.
        ServerShutdown: the server is going down.
    """
    lock = await ctx.locker.acquire(
        upload_id,
        timeout=ctx.policy.lock_timeout,
        take_over=True,
        interrupt=lambda: body.interrupt(UploadInterrupted()),
    )
    try:
        if ctx.draining:
            raise ServerShutdown
        ctx.receiving[upload_id] = body
        try:
            yield
        finally:
            del ctx.receiving[upload_id]
    finally:
        await lock.release()


@asynccontextmanager
async def removing(ctx: Context, upload_id: str) -> AsyncIterator[None]:
    """Hold an upload in order to remove it, ending whatever PATCH is running. Raises `UploadLocked`."""
    lock = await ctx.locker.acquire(upload_id, timeout=ctx.policy.lock_timeout, take_over=True)
    try:
        yield
    finally:
        await lock.release()


async def settle(ctx: Context, upload_id: str) -> None:
    """End a PATCH whose client has fallen silent, so that what it sent counts; leave a live one alone.

    Raises `UploadLocked` when it does not let go within the lock timeout.
    """
    body = ctx.receiving.get(upload_id)
    if body is not None and body.idle() > ctx.policy.silent_after:
        lock = await ctx.locker.acquire(upload_id, timeout=ctx.policy.lock_timeout, take_over=True)
        await lock.release()
