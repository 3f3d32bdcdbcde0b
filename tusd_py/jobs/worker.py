"""Runs jobs: at least once, until they succeed, several at a time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from tusd_py.abc import Clock, InfoStore, JobStore
from tusd_py.errors import StoreError
from tusd_py.jobs.registry import Registry, Task
from tusd_py.jobs.retry import LONGEST_DELAY, delay_after
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, short
from tusd_py.protocol.metadata import decode_text, parse_metadata

log = logging.getLogger(__name__)

CONCURRENCY = 4
"""Jobs running at the same time."""
IDLE = 60.0
"""Seconds between two looks at the store when nothing is known to be due."""
LONGEST_ERROR = 1000
"""Characters of an error that are stored."""


class Worker:
    """Takes due jobs from the store and runs their tasks. One per store.

    A job's row goes only after its task returned, so a crash at any moment means that it runs again, with the same
    idempotency key.
    """

    def __init__(
        self,
        *,
        jobs: JobStore,
        info: InfoStore,
        registry: Registry,
        clock: Clock,
        locate: Callable[[str], Path | None],
    ) -> None:
        self._jobs = jobs
        self._info = info
        self._registry = registry
        self._clock = clock
        self._locate = locate
        self._wake = asyncio.Event()
        self._active: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._unknown: set[str] = set()

    def wake(self) -> None:
        """Look for due jobs now; called when an upload has finished."""
        self._wake.set()

    async def run(self) -> None:
        """Run jobs until cancelled; running tasks are then cancelled too and run again after the next start.

        A store that cannot be asked is asked again later.
        """
        failures = 0
        try:
            while True:
                self._wake.clear()
                try:
                    # One moment for both: what becomes due in between must be in the one or in the other.
                    now = self._clock.now()
                    await self._start_due(now)
                    pause = await self._pause(now)
                    failures = 0
                except (StoreError, OSError):
                    failures += 1
                    pause = delay_after(failures, random.random())
                    log.exception("looking for jobs failed", extra={"action": "jobs_unavailable"})
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            for task in self._active.values():
                task.cancel()
            if self._active:
                await asyncio.wait(set(self._active.values()))

    async def _start_due(self, now: float) -> None:
        # Rows of running jobs are due as well, and one that ends while the store is asked may still be among them.
        running = set(self._active)
        for job in await self._jobs.due_jobs(now, limit=CONCURRENCY + len(self._active)):
            task = self._registry.get(job.task)
            key = (job.upload_id, job.task)
            if task is None:
                await self._set_aside(job)
            elif key not in running and len(self._active) < CONCURRENCY:
                started = asyncio.create_task(self._work(job, task), name=f"tusd-py job {job.task}")
                self._active[key] = started
                started.add_done_callback(partial(self._ended, key))

    def _ended(self, key: tuple[str, str], _: asyncio.Task[None]) -> None:
        del self._active[key]
        self.wake()

    async def _set_aside(self, job: Job) -> None:
        """Keep a job whose task is not registered (any more, or yet), and look again much later."""
        if job.task not in self._unknown:
            self._unknown.add(job.task)
            log.warning("no task is named %r; its jobs wait", job.task, extra={"action": "job_unknown"})
        await self._jobs.retry_job(replace(job, scheduled_at=self._clock.now() + LONGEST_DELAY))
        # It took a place among those looked at; others may be due behind it.
        self.wake()

    async def _pause(self, now: float) -> float:
        """Return the seconds until something becomes due. What was due at `now` is running, or waits for room."""
        at = await self._jobs.next_job_at(after=now)
        return IDLE if at is None else min(max(at - self._clock.now(), 0.0), IDLE)

    async def _work(self, job: Job, task: Task) -> None:
        """Run a job once, and store that it begins and how it ended.

        It counts as running until that is stored, so that a full disk does not make it run again and again.
        """
        job = replace(job, attempt=job.attempt + 1)
        try:
            # Before it runs: an attempt that kills the process counts.
            await self._jobs.retry_job(job)
        except (StoreError, OSError):
            # Better uncounted than not at all: on a full disk it may be this job that makes room.
            log.exception("storing that a job begins failed", extra={"action": "job_not_stored"})
        failed = await self._attempt(job, task)
        tries = 0
        while True:
            try:
                await (self._jobs.retry_job(failed) if failed else self._jobs.complete_job(job))
            except (StoreError, OSError):
                tries += 1
                log.exception("storing the end of a job failed", extra={"action": "job_not_stored"})
                await asyncio.sleep(delay_after(tries, random.random()))
            else:
                return

    async def _attempt(self, job: Job, task: Task) -> Job | None:
        """Return None when the job is done, else the job as it is to be tried again."""
        try:
            upload = await self._info.get(job.upload_id)
            if upload is not None and upload.is_finished:
                await task(self._describe(upload, job))
        except Exception as error:
            delay = delay_after(job.attempt, random.random())
            log.warning(
                "job %s failed at attempt %d; trying again in %.0f s",
                job.task,
                job.attempt,
                delay,
                exc_info=error,
                extra={"action": "job_failed", "upload_id": short(job.upload_id)},
            )
            message = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
            return replace(job, error=message, scheduled_at=self._clock.now() + delay)
        return None

    def _describe(self, upload: UploadInfo, job: Job) -> FinishedUpload:
        return FinishedUpload(
            id=upload.id,
            length=upload.offset,
            metadata=decode_text(parse_metadata(upload.metadata)),
            path=self._locate(upload.id),
            created_at=upload.created_at,
            finished_at=upload.finished_at or upload.created_at,
            attempt=job.attempt,
            idempotency_key=f"{job.upload_id}:{job.task}",
        )
