"""Forgetting jobs that ended long ago."""

from __future__ import annotations

import asyncio
import logging

from tusd_py.abc import Clock, JobStore
from tusd_py.errors import StoreError

log = logging.getLogger(__name__)

INTERVAL = 300.0
"""Seconds between two looks for old jobs."""
_BATCH = 500
"""Jobs forgotten in one transaction: others do not wait long for theirs."""


async def prune(jobs: JobStore, before: float) -> int:
    """Forget every job that ended before a time (Unix epoch), and return how many. Raises `StoreError`."""
    pruned = 0
    while found := await jobs.prune_jobs(before, limit=_BATCH):
        pruned += found
    return pruned


async def keep_pruning(jobs: JobStore, clock: Clock, keep: float) -> None:
    """Forget jobs that ended more than `keep` seconds ago, now and every few minutes, until cancelled."""
    while True:
        try:
            pruned = await prune(jobs, clock.now() - keep)
        except (StoreError, OSError):
            log.exception("forgetting old jobs failed", extra={"action": "jobs_unavailable"})
        else:
            if pruned:
                log.info("%d jobs that ended long ago are forgotten", pruned, extra={"action": "jobs_pruned"})
        await asyncio.sleep(INTERVAL)
