"""Expiration: the sweeper removes what ran out of time, and finishes what a crash left half-done."""

from __future__ import annotations

import asyncio
import logging

from tusd_py.engine.context import Context
from tusd_py.engine.existence import remove
from tusd_py.engine.settle import settle
from tusd_py.errors import StartupError, StoreError, UploadLocked
from tusd_py.models.upload import UploadInfo, UploadState, short
from tusd_py.protocol import rules

log = logging.getLogger(__name__)

BATCH = 500
AT_ONCE = 4
"""Removals at a time: they share commits, and leave most threads to those who wait for an answer."""
CLOCK_JUMP = 3600.0
"""Seconds by which the wall clock may leave the monotonic one between two sweeps before nothing is removed."""
ORPHAN_AGE = 86400.0
"""Data without a row is removed when it has not changed for so many seconds."""
ORPHAN_SWEEP = 86400.0
"""Seconds between two searches for data without a row, and before the first: time to notice a wrong database."""


async def recover(ctx: Context) -> int:
    """Finish at start what a crash left half-done: removals and concatenations. Returns how many there were.

    An `assembling` upload is removed: its client never got an answer and asks again (CAT-20). What cannot be removed
    stays unknown to clients and keeps nobody from starting. Raises `StartupError` when rows cannot be read.
    """
    states = (UploadState.DELETING, UploadState.ASSEMBLING)
    done, after = 0, ""
    try:
        while leftovers := await ctx.info.list_uploads(after=after, limit=BATCH, states=states):
            after = leftovers[-1].id
            for upload in leftovers:
                done += await _goes(ctx, upload)
    except StoreError as error:
        raise StartupError(f"{error.message}: run tusd-py fsck DATA_DIR to see what is damaged") from error
    return done


async def _goes(ctx: Context, upload: UploadInfo) -> bool:
    """Return whether an upload could be removed; log why not."""
    try:
        await remove(ctx, upload)
    except (StoreError, OSError):
        log.exception("removing failed; trying again later", extra={"action": "sweep_failed"})
        return False
    return True


class Sweeper:
    """Removes expired uploads for as long as it runs. Owned by the engine."""

    def __init__(self, ctx: Context, interval: float) -> None:
        self._ctx = ctx
        self._interval = interval
        self._wall = ctx.clock.now()
        self._steady = ctx.clock.monotonic()
        self._paused_until = float("-inf")
        self._orphans_at = self._steady + ORPHAN_SWEEP

    async def run(self) -> None:
        """Sweep every `interval` seconds until cancelled. A failing sweep is logged and tried again."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                # Somebody else does it, whose failure on a full disk must not keep this from making room.
                self._ctx.journal_is_long.set()
                await settle(self._ctx)
                await self.finish_removals()
                await self.sweep()
                if self._ctx.clock.monotonic() >= self._orphans_at:
                    self._orphans_at = self._ctx.clock.monotonic() + ORPHAN_SWEEP
                    await self.sweep_orphans()
            except (StoreError, OSError):
                log.exception("sweeping failed; trying again later", extra={"action": "sweep_failed"})

    async def sweep(self) -> int:
        """Remove every expired upload that nobody holds; return how many.

        Never removes a finished upload, a locked one or a pinned part, nor anything while the clock looks wrong
        (I13). Cancelling may leave removals half-way, which the next sweep or start finishes.
        """
        if self._clock_jumped():
            return 0
        removed = 0
        skipped: set[str] = set()
        while True:
            batch = await self._ctx.info.list_expired(self._ctx.clock.now(), limit=BATCH + len(skipped))
            batch = [upload_id for upload_id in batch if upload_id not in skipped]
            if not batch:
                return removed
            for start in range(0, len(batch), AT_ONCE):
                some = batch[start : start + AT_ONCE]
                done = await asyncio.gather(*map(self._remove_expired, some))
                removed += sum(done)
                skipped.update(upload_id for upload_id, gone in zip(some, done, strict=True) if not gone)

    async def finish_removals(self) -> int:
        """Go on with removals that failed half-way, whoever began them; return how many are done now."""
        done, after = 0, ""
        states = (UploadState.DELETING,)
        while batch := await self._ctx.info.list_uploads(after=after, limit=BATCH, states=states):
            after = batch[-1].id
            for upload in batch:
                done += await self._remove_expired(upload.id)
        return done

    async def sweep_orphans(self) -> int:
        """Remove data that no upload owns, left by a crash between the two steps of a creation.

        Nothing while the clock looks wrong, as seen by the last `sweep`: no file is as old as it seems then (I13).
        """
        if self._ctx.clock.monotonic() < self._paused_until:
            return 0
        removed = 0
        older_than = self._ctx.clock.now() - ORPHAN_AGE
        async for keys in self._ctx.data.names(older_than=older_than):
            for key in set(keys) - await self._ctx.info.known(keys):
                await self._ctx.data.remove(key, durable=False)
                removed += 1
        if removed:
            log.info("removed %d orphaned data files", removed, extra={"action": "orphans_removed"})
        return removed

    async def _remove_expired(self, upload_id: str) -> bool:
        try:
            lock = await self._ctx.locker.acquire(upload_id, timeout=0)
        except UploadLocked:
            return False
        try:
            upload = await self._ctx.info.get(upload_id)
            if upload is None or self._ctx.pins[upload_id]:
                return False
            if upload.state is not UploadState.DELETING and not rules.is_gone(upload, self._ctx.clock.now()):
                return False
            # One that cannot be removed must not keep the others from being removed.
            if not await _goes(self._ctx, upload):
                return False
        except (StoreError, OSError):
            log.exception("looking at an upload failed; trying again later", extra={"action": "sweep_failed"})
            return False
        finally:
            await lock.release()
        log.info("removed an expired upload", extra={"action": "upload_expired", "upload_id": short(upload_id)})
        return True

    def _clock_jumped(self) -> bool:
        wall, steady = self._ctx.clock.now(), self._ctx.clock.monotonic()
        drift = (wall - self._wall) - (steady - self._steady)
        self._wall, self._steady = wall, steady
        if abs(drift) > CLOCK_JUMP:
            self._paused_until = steady + CLOCK_JUMP
            log.warning(
                "the clock jumped by %.0f s; nothing expires for %.0f s",
                drift,
                CLOCK_JUMP,
                extra={"action": "clock_jumped"},
            )
        return steady < self._paused_until
