"""Who may touch an upload, and how a live writer is asked to stop.

A PATCH or DELETE takes over from any running PATCH; whoever only looks (HEAD, GET, listing) never disturbs one
that is receiving bytes (protocol: CORE-HEAD-10, CONC-01 to CONC-08).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tusd_py.abc import Body
from tusd_py.engine.context import Context
from tusd_py.errors import ServerShutdown, UploadInterrupted, UploadLocked


class Writing:
    """Hold an upload while `body` is read into it; without `take_over` nobody is disturbed for that.

    Entering raises:
        UploadLocked: the holder did not let go within the lock timeout.
        ServerShutdown: the server is going down.
    """

    __slots__ = ("_body", "_ctx", "_lock", "_take_over", "_upload_id")

    def __init__(self, ctx: Context, upload_id: str, body: Body, *, take_over: bool = True) -> None:
        self._ctx = ctx
        self._upload_id = upload_id
        self._body = body
        self._take_over = take_over

    async def __aenter__(self) -> None:
        self._lock = await self._ctx.locker.acquire(
            self._upload_id,
            timeout=self._ctx.policy.lock_timeout,
            take_over=self._take_over,
            interrupt=self._interrupt,
        )
        if self._ctx.draining:
            await self._lock.release()
            raise ServerShutdown
        self._ctx.receiving[self._upload_id] = self._body

    async def __aexit__(self, *_: object) -> None:
        del self._ctx.receiving[self._upload_id]
        await self._lock.release()

    def _interrupt(self) -> None:
        self._body.interrupt(UploadInterrupted())


@asynccontextmanager
async def removing(ctx: Context, upload_id: str) -> AsyncIterator[None]:
    """Hold an upload in order to remove it, ending whatever PATCH is running. Raises `UploadLocked`."""
    lock = await ctx.locker.acquire(upload_id, timeout=ctx.policy.lock_timeout, take_over=True)
    try:
        yield
    finally:
        await lock.release()


async def conclude(ctx: Context, upload_id: str) -> None:
    """See to it that what a PATCH brought counts when nothing more comes of it; leave a live one alone.

    One whose client has fallen silent is ended; raises `UploadLocked` when it does not let go within the lock timeout.
    One whose body is over, be it complete or cut, is about to commit, and is waited for a little: a client that lost
    its connection asks at once, and would be told an offset that is outdated a moment later.
    """
    body, policy = ctx.receiving.get(upload_id), ctx.policy
    if body is None:
        return
    if body.idle() > policy.silent_after:
        lock = await ctx.locker.acquire(upload_id, timeout=policy.lock_timeout, take_over=True)
        await lock.release()
    elif body.is_over():
        # A store that is slower than this is no reason to answer with anything but what is committed.
        with suppress(UploadLocked):
            lock = await ctx.locker.acquire(upload_id, timeout=policy.silent_after)
            await lock.release()
