"""Uploads that have every byte while somebody could not be asked to agree: asked again until there is an answer.

Their clients are told to wait (423). What a crash leaves `finishing` goes on at the next start.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from contextlib import suppress
from typing import NamedTuple

from tusd_py.engine.context import Context
from tusd_py.engine.moments import Caller
from tusd_py.engine.writer import Writer
from tusd_py.errors import DataLost, HookFailed, StoreError, UploadLocked, UploadRejected
from tusd_py.models.hook import RequestInfo
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadState, short
from tusd_py.protocol import rules

log = logging.getLogger(__name__)

BATCH = 500
FIRST_DELAY = 1.0
"""Seconds until the second question; then twice as long each time ..."""
LONGEST_DELAY = 60.0
"""... up to this: a client may be waiting."""
AT_ONCE = 8
"""Uploads that are asked about at a time."""


def finish_later(ctx: Context, upload_id: str, caller: Caller) -> None:
    """Have an upload finished behind the request that brought its last byte."""
    ctx.finishing.setdefault(upload_id, caller.request)
    ctx.finishing_more.set()


async def remember(ctx: Context) -> None:
    """Note at start what an earlier life left `finishing`. Raises `StoreError`."""
    after = ""
    while uploads := await ctx.info.list_uploads(after=after, limit=BATCH, states=(UploadState.FINISHING,)):
        after = uploads[-1].id
        for upload in uploads:
            finish_later(ctx, upload.id, Caller())


class Finisher:
    """Finishes what waits for it, for as long as it runs. Owned by the engine."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._waiting: list[_Turn] = []
        """A heap; what is tried next is the first."""
        self._known: set[str] = set()
        """All that wait or are being tried."""
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on until cancelled; questions that are being asked then are broken off."""
        try:
            while True:
                self._ctx.finishing_more.clear()
                pause = self._begin_due()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._ctx.finishing_more.wait()
        finally:
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    def _begin_due(self) -> float | None:
        """Try those whose time has come, and return the seconds until that of the next."""
        now = asyncio.get_running_loop().time()
        while self._ctx.finishing:
            upload_id, request = self._ctx.finishing.popitem()
            if upload_id not in self._known:
                self._known.add(upload_id)
                heapq.heappush(self._waiting, _Turn(now + FIRST_DELAY, FIRST_DELAY, upload_id, request))
        while self._waiting and self._waiting[0].due_at <= now and len(self._running) < AT_ONCE:
            task = asyncio.create_task(self._try(heapq.heappop(self._waiting)), name="tusd-py finishing")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if not self._waiting or len(self._running) >= AT_ONCE:
            return None
        return self._waiting[0].due_at - now

    async def _try(self, turn: _Turn) -> None:
        if await self._is_settled(turn):
            self._known.discard(turn.upload_id)
        else:
            delay = min(turn.delay * 2, LONGEST_DELAY)
            due_at = asyncio.get_running_loop().time() + delay
            heapq.heappush(self._waiting, _Turn(due_at, delay, turn.upload_id, turn.request))
        self._ctx.finishing_more.set()

    async def _is_settled(self, turn: _Turn) -> bool:
        """Try once more to finish an upload; return whether there is nothing left to try."""
        where = {"action": "finish_failed", "upload_id": short(turn.upload_id)}
        try:
            await _finish(self._ctx, turn.upload_id, Caller(turn.request))
        except UploadRejected:
            log.info(
                "a hook rejected an upload", extra={"action": "upload_rejected", "upload_id": short(turn.upload_id)}
            )
        except DataLost as error:
            log.error("an upload cannot be finished: %s", error, extra=where)  # noqa: TRY400 - where it was noticed says nothing
        except (HookFailed, UploadLocked) as error:
            log.warning("an upload cannot be finished yet: %s", error, extra=where)
            return False
        except (StoreError, OSError):
            log.exception("finishing an upload failed; trying again later", extra=where)
            return False
        return True


class _Turn(NamedTuple):
    due_at: float
    """Of the event loop's clock."""
    delay: float
    upload_id: str
    request: RequestInfo


async def _finish(ctx: Context, upload_id: str, caller: Caller) -> None:
    lock = await ctx.locker.acquire(upload_id, timeout=ctx.policy.lock_timeout)
    try:
        upload = await ctx.info.get(upload_id)
        if upload is None or upload.state is not UploadState.FINISHING or rules.is_gone(upload, ctx.clock.now()):
            return
        writer = Writer(ctx, upload, Limits(), caller)
        try:
            await writer.finish()
        finally:
            await writer.close()
    finally:
        await lock.release()
