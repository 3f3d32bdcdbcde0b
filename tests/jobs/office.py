"""A worker, what it works with, and what it did."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from tests.support.waiting import until
from tusd_py.errors import StoreError
from tusd_py.jobs.registry import Registry, Task, Work
from tusd_py.jobs.worker import Worker
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job, JobState
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.stores.memory import MemoryInfoStore
from tusd_py.testing import FakeClock


class Faulty(MemoryInfoStore):
    """A store that fails as often as it is told to, and remembers what was stored and asked."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[object, int] = {}
        """By method, and for `save_job` by the state that is stored."""
        self.saved: list[Job] = []
        self.looks = 0

    def _fail(self, name: object) -> None:
        if self.faults.get(name, 0) > 0:
            self.faults[name] -= 1
            raise StoreError("The disk is full")

    async def due_jobs(self, now: float, *, limit: int, busy: Collection[str] = ()) -> list[Job]:
        self.looks += 1
        self._fail("due_jobs")
        return await super().due_jobs(now, limit=limit, busy=busy)

    async def rescue_jobs(self, now: float) -> int:
        self._fail("rescue_jobs")
        return await super().rescue_jobs(now)

    async def prune_jobs(self, before: float, *, limit: int) -> int:
        self._fail("prune_jobs")
        return await super().prune_jobs(before, limit=limit)

    async def get(self, upload_id: str) -> UploadInfo | None:
        self._fail("get")
        return await super().get(upload_id)

    async def save_job(self, job: Job) -> bool:
        self._fail(job.state)
        self.saved.append(job)
        return await super().save_job(job)


def everything(_: HookEvent) -> bool:
    """Want every event."""
    return True


@dataclass
class Gate:
    """A task that waits until it is let go."""

    began: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    most: int = 0
    """How many were running at a time."""
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, work: Work) -> None:
        """Wait; write down who came and went."""
        self.began.append(work.key)
        self.most = max(self.most, len(self.began) - len(self.ended))
        try:
            await self.open.wait()
        finally:
            self.ended.append(work.key)

    def has(self, count: int) -> Callable[[], Awaitable[bool]]:
        """Return a condition: so many have begun."""
        return holds(lambda: len(self.began) >= count)


class Office:
    """A worker over memory whose time stands still."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Faulty()
        self.registry = Registry()
        self.runs: list[Work] = []
        self.failures = 0
        """How many of the next runs of `work` fail."""
        self.new_worker()

    def new_worker(self, **options: Any) -> None:
        """Take another worker, as the next process does."""
        self.worker = Worker(jobs=self.store, info=self.store, registry=self.registry, clock=self.clock, **options)

    def add(
        self, name: str = "work", run: Callable[[Work], Awaitable[object]] | None = None, **options: object
    ) -> None:
        """Register a task that wants everything, by default `work`."""
        self.registry.add(Task(name=name, run=run or self.work, wants=everything, **options))

    async def work(self, work: Work) -> None:
        """Write down what came; fail as often as told."""
        self.runs.append(work)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no luck")

    def upload(self, upload_id: str, **fields: object) -> UploadInfo:
        """Return a finished upload."""
        upload = UploadInfo(
            id=upload_id, state=UploadState.FINISHED, offset=5, length=5, created_at=1.0, finished_at=2.0
        )
        return replace(upload, **fields)

    def event(self, upload: UploadInfo, moment: Moment = Moment.POST_FINISH) -> HookEvent:
        """Return what happens to an upload now."""
        return HookEvent(moment=moment, upload=upload, at=self.clock.now())

    def job(self, upload_id: str, task: str = "work", **fields: object) -> Job:
        """Return a job of a finished upload, due now."""
        now = self.clock.now()
        job = Job(
            upload_id=upload_id, task=task, event=self.event(self.upload(upload_id)), scheduled_at=now, created_at=now
        )
        return replace(job, **fields)

    async def finish(self, upload_id: str, *jobs: Job, **fields: object) -> None:
        """Store a finished upload with its jobs, and tell the worker."""
        upload = self.upload(upload_id, **fields)
        owed = jobs or self.registry.jobs_for(self.event(upload))
        await self.store.insert(upload, durable=False, jobs=owed)
        self.worker.wake()

    async def remove(self, upload_id: str) -> None:
        """Begin the removal of an upload, and tell the worker."""
        upload = await self.store.get(upload_id)
        assert upload is not None
        jobs = self.registry.jobs_for(self.event(upload, Moment.POST_TERMINATE))
        await self.store.mark_deleting(upload_id, durable=False, jobs=jobs)
        self.worker.wake()

    async def jobs(self, *states: JobState) -> list[Job]:
        """Return all jobs, or those in some states."""
        return await self.store.list_jobs(states=states, limit=10_000)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Let the worker run for the time of the block; it must not have ended by itself."""
        running = asyncio.create_task(self.worker.run())
        try:
            yield
            assert not running.done(), running
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def settle(self, **states: int) -> list[Job]:
        """Wait until nothing runs and there are so many jobs in each of these states; return them."""
        names = [JobState(name) for name in states]

        async def settled() -> bool:
            found = await self.jobs()
            counts = {name: sum(job.state == name for job in found) for name in states}
            return counts == states and not self.worker._active

        await until(settled)
        return await self.jobs(*names)


def holds(condition: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    """Return a condition to wait for."""

    async def check() -> bool:
        return bool(condition())

    return check
