"""Runs jobs: at least once, until they succeed or have failed too often, several at a time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager, suppress
from functools import partial

from tusd_py.abc import Clock, InfoStore, JobStore
from tusd_py.errors import StoreError
from tusd_py.jobs import steps, verbs
from tusd_py.jobs.prune import keep_pruning
from tusd_py.jobs.registry import Registry, Task
from tusd_py.jobs.retry import LONGEST_DELAY, delay_after
from tusd_py.jobs.run import Check, Run
from tusd_py.models.hook import Moment
from tusd_py.models.job import Job, JobState

log = logging.getLogger(__name__)

CONCURRENCY = 4
"""Jobs running at the same time, of tasks that have no number of their own."""
KEEP = 7 * 86400.0
"""Seconds for which jobs that have ended are remembered."""
IDLE = 60.0
"""Seconds between two looks at the store when nothing is known to be due."""
BATCH = 100
"""Jobs that are taken from the store at once, beyond those that can run."""
FRESH = 1.0
"""Seconds for which a batch is used although there may be more urgent jobs by now."""

Key = tuple[str, str]
_SHARED = ""
"""The group of all tasks that have no places of their own."""


class Worker:
    """Takes due jobs from the store and runs their tasks. One per store.

    How a job ended is stored only after its task returned, so a crash at any moment means that it runs again, with the
    same idempotency key. What tells of the end of an upload never runs beside another job of that upload.
    """

    def __init__(
        self,
        *,
        jobs: JobStore,
        info: InfoStore,
        registry: Registry,
        clock: Clock,
        concurrency: int = CONCURRENCY,
        keep: float = KEEP,
        check: Check | None = None,
    ) -> None:
        """Prepare a worker.

        Args:
            concurrency: jobs running at the same time, of all tasks together that have no number of their own.
            keep: seconds for which jobs that have ended are remembered.
            check: asked before each attempt of a job that is for a finished upload; None = its data is there.
        """
        self._jobs = jobs
        self._info = info
        self._registry = registry
        self._clock = clock
        self._concurrency = concurrency
        self._keep = keep
        self._check = check or _is_there
        self._wake = asyncio.Event()
        self._active: dict[Key, Run] = {}
        self._tasks: set[asyncio.Task[Job]] = set()
        self._batch: list[Job] = []
        """Jobs that are due, as they are stored, the most urgent first."""
        self._skipped: set[str] = set()
        """Groups that the latest look left out, as enough of them was running."""
        self._seen: set[Key] = set()
        """Jobs of which an answer to the latest look at the store may be out of date."""
        self._held: set[Key] = set()
        """Jobs that a verb is changing."""
        self._looked_at = float("-inf")
        self._news = False
        """Whether jobs came into being, or changed, since the latest look."""
        self._more = True
        """Whether the store may have due jobs that are not in the batch."""
        self._rescued = False
        self._unknown: set[str] = set()
        self._changing = asyncio.Lock()

    def wake(self) -> None:
        """Look for due jobs soon; called when there are new ones."""
        self._news = True
        if self._has_room:
            self._wake.set()

    async def run(self) -> None:
        """Run jobs until cancelled; running tasks are then cancelled too and run again after the next start.

        A store that cannot be asked is asked again later.
        """
        pruning = asyncio.create_task(keep_pruning(self._jobs, self._clock, self._keep), name="tusd-py old jobs")
        failures = 0
        try:
            while True:
                self._wake.clear()
                try:
                    pause = await self._turn()
                    failures = 0
                except (StoreError, OSError):
                    failures += 1
                    pause = delay_after(failures, random.random())
                    log.exception("looking for jobs failed", extra={"action": "jobs_unavailable"})
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            self._batch.clear()
            ending = {pruning, *self._tasks}
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)

    async def retry(self, upload_id: str, task: str) -> None:
        """Let a job begin anew at once, also one that has ended.

        Raises `JobNotFound`, `JobStateError` while it is executing, `StoreError`.
        """
        key = (upload_id, task)
        async with self._hold(key):
            if key in self._active:
                raise steps.JobStateError(f"The job {upload_id}:{task} is executing and cannot be retried")
            await verbs.retry(self._jobs, upload_id, task, self._clock.now())

    async def cancel(self, upload_id: str, task: str) -> None:
        """End a job before its time. The task of an executing one is told to stop; that is not waited for.

        Raises `JobNotFound`, `JobStateError` when it has ended, `StoreError`.
        """
        key = (upload_id, task)
        async with self._hold(key):
            if (run := self._active.get(key)) is not None:
                run.cancel()
            else:
                await verbs.cancel(self._jobs, upload_id, task, self._clock.now())

    @asynccontextmanager
    async def _hold(self, key: Key) -> AsyncIterator[None]:
        """See to it that a job does not begin meanwhile."""
        async with self._changing:
            self._held.add(key)
            self._seen.add(key)
            self._batch = [job for job in self._batch if (job.upload_id, job.task) != key]
            try:
                yield
            finally:
                self._held.discard(key)
                self.wake()

    async def _turn(self) -> float:
        """Start what is due, and return the seconds until there is something else to do."""
        # One moment for all: what becomes due in between must be in the one look or in the other.
        now = self._clock.now()
        if not self._rescued:
            await self._rescue(now)
        await self._look(now)
        if not self._news:
            # Whoever asked for a look while this one was under way has got it.
            self._wake.clear()
        if not self._has_room:
            self._more = True
            return IDLE
        at = await self._jobs.next_job_at(after=now)
        return IDLE if at is None else min(max(at - self._clock.now(), 0.0), IDLE)

    async def _rescue(self, now: float) -> None:
        """Take over what an earlier process was doing. When that fails, what is due runs all the same."""
        try:
            rescued = await self._jobs.rescue_jobs(now)
        except (StoreError, OSError):
            log.exception("rescuing jobs failed", extra={"action": "jobs_unavailable"})
            return
        self._rescued = True
        if rescued:
            log.info("%d jobs were interrupted and run again", rescued, extra={"action": "jobs_rescued"})

    async def _look(self, now: float) -> None:
        """Take due jobs from the store, and start those for which there is room."""
        limit = self._concurrency + BATCH
        while True:
            self._skipped = self._full()
            busy = self._busy()
            self._news = False
            self._looked_at = self._clock.monotonic()
            # What begins or ends while the store is asked is added: its answer would make it run twice.
            self._seen = {*self._active, *self._held}
            asked = limit + len(self._seen)
            found = await self._jobs.due_jobs(now, limit=asked, busy=busy)
            fresh = [job for job in found if (job.upload_id, job.task) not in self._seen]
            unknown = [job for job in fresh if self._registry.get(job.task) is None]
            waiting = [job for job in self._batch if job.task in busy]
            waiting += [job for job in fresh if self._registry.get(job.task) is not None]
            self._batch = sorted(waiting, key=lambda job: (-job.priority, job.scheduled_at))
            self._more = len(found) == asked or self._lacks(self._skipped - self._full())
            self._start()
            await self._set_aside(unknown)
            if not (self._more and self._has_room):
                return
            if not unknown and busy == self._busy():
                # All of these have to wait for something.
                limit *= 2

    @property
    def _has_room(self) -> bool:
        return len(self._full()) < len({_SHARED, *map(self._group, self._registry.names)})

    def _group(self, name: str) -> str:
        """Return which tasks share places with one: those without a number of their own share the worker's."""
        task = self._registry.get(name)
        return _SHARED if task is None or task.concurrency is None else name

    def _full(self) -> set[str]:
        """Return the groups of which as many jobs are running as may."""
        running = Counter(self._group(task) for _, task in self._active)
        return {group for group, count in running.items() if count >= self._places(group)}

    def _places(self, group: str) -> int:
        task = self._registry.get(group)
        return self._concurrency if task is None or task.concurrency is None else task.concurrency

    def _busy(self) -> set[str]:
        """Return the tasks of which no job may begin now."""
        full = self._full()
        return {name for name in self._registry.names if self._group(name) in full} if full else set()

    def _lacks(self, groups: Set[str]) -> bool:
        """Whether there is a group, of these, of which no job is in the batch."""
        return bool(groups) and not groups <= {self._group(job.task) for job in self._batch}

    def _start(self) -> None:
        """Begin those jobs of the batch for which there is room."""
        left = []
        for job in self._batch:
            task = self._registry.get(job.task)
            if task is not None and self._may_begin(job):
                self._begin(job, task)
            else:
                left.append(job)
        self._batch = left

    def _may_begin(self, job: Job) -> bool:
        if self._group(job.task) in self._full():
            return False
        ends = job.event.moment is Moment.POST_TERMINATE
        return not (ends and any(upload_id == job.upload_id for upload_id, _ in self._active))

    def _begin(self, job: Job, task: Task) -> None:
        key = (job.upload_id, job.task)
        run = self._active[key] = Run(job, task, jobs=self._jobs, info=self._info, clock=self._clock, check=self._check)
        self._seen.add(key)
        running = asyncio.create_task(run.carry_out(), name=f"tusd-py attempt of {job.task}")
        self._tasks.add(running)
        running.add_done_callback(partial(self._ended, key))

    def _ended(self, key: Key, running: asyncio.Task[Job]) -> None:
        del self._active[key]
        self._tasks.discard(running)
        if running.cancelled():
            return
        if running.result().state is JobState.RETRYABLE:
            # It may be due before anything that is waited for.
            self.wake()
        if self._news and self._clock.monotonic() - self._looked_at >= FRESH:
            # Others may be more urgent than what is left of the batch.
            self._wake.set()
            return
        self._start()
        if self._lacks(self._skipped & {self._group(key[1])}):
            self._more = True
        if (self._more or self._news) and (self._has_room or len(self._batch) < self._concurrency):
            self._wake.set()

    async def _set_aside(self, jobs: Sequence[Job]) -> None:
        """Keep jobs whose task is not registered (any more, or yet), and look again much later."""
        for name in {job.task for job in jobs} - self._unknown:
            self._unknown.add(name)
            log.warning("no task is named %r; its jobs wait", name, extra={"action": "job_unknown"})
        until = self._clock.now() + LONGEST_DELAY
        await asyncio.gather(*(self._jobs.save_job(steps.set_aside(job, until)) for job in jobs))


async def _is_there(_: str) -> None:
    """Be content."""
