"""One attempt of a job, from storing that it begins to storing how it ended."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from tusd_py.abc import Clock, InfoStore, JobStore
from tusd_py.errors import StoreError
from tusd_py.jobs import steps
from tusd_py.jobs.registry import Task, Work
from tusd_py.jobs.retry import delay_after
from tusd_py.jobs.verbs import BY_WISH
from tusd_py.models.hook import Moment
from tusd_py.models.job import Job, JobState
from tusd_py.models.upload import short

log = logging.getLogger(__name__)

INTERRUPTIONS = 10
"""Attempts beyond the retries that may end with their process: a restart is no failure of the job."""
PROGRESS_INTERVAL = 1.0
"""Seconds between two times that progress is stored."""

Check = Callable[[str], Awaitable[None]]
"""Raises `DataLost` when the data of a finished upload, by its id, is known not to have every byte of it."""


class Run:
    """One attempt of one job."""

    def __init__(self, job: Job, task: Task, *, jobs: JobStore, info: InfoStore, clock: Clock, check: Check) -> None:
        """Prepare an attempt of a job as it is stored."""
        self._job = job
        self._task = task
        self._jobs = jobs
        self._info = info
        self._clock = clock
        self._check = check
        self._began_at = 0.0
        self._progress: float | None = None
        self._calling: asyncio.Task[object] | None = None
        self._unwanted = False
        self._overdue = False

    def cancel(self) -> None:
        """Tell the task to stop. The job is then cancelled, unless it succeeds all the same."""
        self._unwanted = True
        if self._calling is not None:
            self._calling.cancel()

    async def carry_out(self) -> Job:
        """Make the attempt and return the job as it is afterwards.

        Comes to an end only when that is stored, so that a full disk does not make it run again and again. Cancelling
        cancels the task and stores nothing: the job is still executing, and rescued by the next process.
        """
        before = self._job
        self._began_at = self._clock.now()
        self._job = steps.begun(before, self._began_at, self._task.timeout)
        if not await self._store_beginning():
            return self._job
        try:
            why = await self._obsolete()
            if why:
                ended = steps.cancelled(before, self._clock.now(), why)
            elif before.attempt > self._task.retries + INTERRUPTIONS:
                # It would end every process that tries it.
                raise steps.AttemptFailed(f"the process ended in {INTERRUPTIONS} attempts")
            else:
                if self._job.event.moment is Moment.POST_FINISH:
                    await self._check(self._job.upload_id)
                ended = await self._attempt()
        except Exception as error:  # noqa: BLE001 - it is logged, with what becomes of the job
            ended = await self._in_vain() or self._failed(error)
        await self._store_end(ended)
        return ended

    async def _store_beginning(self) -> bool:
        """Count the attempt before it is made: one that kills the process counts. False = the job is gone."""
        try:
            return await self._jobs.save_job(self._job)
        except (StoreError, OSError):
            # Better uncounted than not at all: on a full disk it may be this job that makes room.
            log.exception("storing that a job begins failed", extra={"action": "job_not_stored"})
            return True

    async def _obsolete(self) -> str:
        """Return why the job is not to be done any more; empty = it is."""
        if self._job.event.moment is Moment.POST_TERMINATE:
            return ""
        upload = await self._info.get(self._job.upload_id)
        if upload is None:
            return "the upload is gone"
        return "" if upload.is_finished else f"the upload is {upload.state}"

    async def _in_vain(self) -> Job | None:
        """Return a job that failed as cancelled when its upload went away meanwhile: that is no failure of the task."""
        try:
            why = await self._obsolete()
        except (StoreError, OSError):
            return None
        return steps.interrupted(self._job, self._began_at, self._clock.now(), why) if why else None

    async def _attempt(self) -> Job:
        work = Work(event=self._job.event, attempt=self._job.attempt, key=self._job.key, report=self._report)
        calling = self._calling = asyncio.create_task(self._call(work), name=f"tusd-py job {self._job.task}")
        if self._unwanted:
            calling.cancel()
        try:
            await self._supervise(calling)
        finally:
            calling.cancel()
            # Its error is looked for below, unless this is cancelled: then nobody would.
            await asyncio.gather(calling, return_exceptions=True)
        self._job = replace(self._job, progress=self._progress)
        now = self._clock.now()
        if self._unwanted and (calling.cancelled() or calling.exception() is not None):
            return steps.interrupted(self._job, self._began_at, now, BY_WISH)
        if calling.cancelled():
            overdue = f"did not end within {self._task.timeout:g} s"
            raise steps.AttemptFailed(overdue if self._overdue else "the task cancelled itself")
        return steps.completed(self._job, self._began_at, now, steps.encode_result(calling.result()))

    async def _call(self, work: Work) -> object:
        try:
            return await self._task.run(work)
        except SystemExit as error:
            # It would end the server.
            raise steps.AttemptFailed(f"the task exited with {error.code!r}") from error

    async def _supervise(self, calling: asyncio.Task[object]) -> None:
        """Wait for the end, store progress meanwhile, and cancel it at its deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._task.timeout
        while not calling.done():
            left = deadline - loop.time()
            if left <= 0:
                self._overdue = True
                calling.cancel()
                await asyncio.wait([calling])
            else:
                ended, _ = await asyncio.wait([calling], timeout=min(left, PROGRESS_INTERVAL))
                if not ended:
                    await self._store_progress()

    def _report(self, fraction: float) -> None:
        # In this order, what is no number becomes 0.
        self._progress = min(max(0.0, fraction), 1.0)

    async def _store_progress(self) -> None:
        if self._progress == self._job.progress:
            return
        self._job = replace(self._job, progress=self._progress)
        try:
            await self._jobs.save_job(self._job)
        except (StoreError, OSError) as error:
            log.warning("storing the progress of a job failed: %s", error, extra={"action": "job_not_stored"})

    def _failed(self, error: Exception) -> Job:
        now = self._clock.now()
        job = steps.failed(self._job, self._began_at, now, error, retries=self._task.retries, jitter=random.random())
        trace = None if isinstance(error, steps.SPEAKING) else error
        upload = short(job.upload_id)
        if job.state is JobState.DISCARDED:
            log.error(
                "job %s failed at attempt %d, its last one: %s",
                job.task,
                job.attempt,
                job.error,
                exc_info=trace,
                extra={"action": "job_discarded", "upload_id": upload},
            )
        else:
            log.warning(
                "job %s failed at attempt %d; trying again in %.0f s: %s",
                job.task,
                job.attempt,
                job.scheduled_at - now,
                job.error,
                exc_info=trace,
                extra={"action": "job_failed", "upload_id": upload},
            )
        return job

    async def _store_end(self, job: Job) -> None:
        tries = 0
        while True:
            try:
                await self._jobs.save_job(job)
            except (StoreError, OSError):
                tries += 1
                log.exception("storing the end of a job failed", extra={"action": "job_not_stored"})
                await asyncio.sleep(delay_after(tries, random.random()))
            else:
                return
