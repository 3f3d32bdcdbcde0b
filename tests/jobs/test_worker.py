"""Jobs run at least once, until they succeed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.waiting import until
from tusd_py.errors import StoreError
from tusd_py.jobs import worker as module
from tusd_py.jobs.registry import Registry
from tusd_py.jobs.worker import Worker
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.stores.memory import MemoryInfoStore
from tusd_py.testing import FakeClock


class Faulty(MemoryInfoStore):
    """A store that fails as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, int] = {}

    def _fail(self, name: str) -> None:
        if self.faults.get(name, 0) > 0:
            self.faults[name] -= 1
            raise StoreError("The disk is full")

    async def due_jobs(self, now: float, *, limit: int) -> list[Job]:
        self._fail("due_jobs")
        return await super().due_jobs(now, limit=limit)

    async def retry_job(self, job: Job) -> None:
        self._fail("retry_job")
        await super().retry_job(job)

    async def complete_job(self, job: Job) -> None:
        self._fail("complete_job")
        await super().complete_job(job)


class Office:
    """A worker, what it works with, and what it did."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Faulty()
        self.registry = Registry(self.clock)
        self.runs: list[FinishedUpload] = []
        self.failures = 0
        """How many of the next runs of `work` fail."""
        self.registry.add(self.work, "work")
        self.new_worker()

    def new_worker(self) -> None:
        """Take another worker, as the next process does."""
        self.worker = Worker(
            jobs=self.store, info=self.store, registry=self.registry, clock=self.clock, locate=Path("/data").joinpath
        )

    async def work(self, upload: FinishedUpload) -> None:
        """Write down what came; fail as often as told."""
        self.runs.append(upload)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no luck")

    async def finish(self, upload_id: str, **fields: object) -> None:
        """Store a finished upload with its jobs, and tell the worker."""
        upload = UploadInfo(
            id=upload_id, state=UploadState.FINISHED, offset=5, length=5, created_at=1.0, finished_at=2.0, **fields
        )
        await self.store.insert(upload, durable=False, jobs=self.registry.jobs_for(upload))
        self.worker.wake()

    async def jobs(self) -> list[Job]:
        """Return all waiting jobs."""
        return await self.store.due_jobs(float("inf"), limit=1000)

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

    def ran(self, count: int) -> Callable[[], object]:
        """Return a condition: so many runs have begun."""

        async def condition() -> bool:
            return len(self.runs) >= count

        return condition

    async def idle(self) -> bool:
        """Whether no job is left."""
        return not await self.jobs() and not self.worker._active


@pytest.fixture
def office() -> Office:
    """A worker over memory whose time stands still."""
    return Office()


async def test_runs_and_forgets(office: Office) -> None:
    """A job runs once, with all that is known of the upload, and its row goes (I14)."""
    async with office.open():
        await office.finish("a", metadata="filename YS50eHQ=,empty,bad !!!")
        await until(office.idle)
    assert office.runs == [
        FinishedUpload(
            id="a",
            length=5,
            metadata={"filename": "a.txt", "empty": ""},
            path=Path("/data/a"),
            created_at=1.0,
            finished_at=2.0,
            attempt=1,
            idempotency_key="a:work",
        )
    ]


async def test_finds_what_waits_at_start(office: Office) -> None:
    """Jobs of an earlier process run without anybody's waking the worker (I14)."""
    await office.finish("a")
    office.new_worker()
    async with office.open():
        await until(office.idle)
    assert [upload.id for upload in office.runs] == ["a"]


async def test_a_failed_job_is_tried_again_later(office: Office) -> None:
    """After a failure the row names attempt, error and time; at that time it runs again with the same key (I14)."""
    office.failures = 2
    async with office.open():
        await office.finish("a")
        await until(lambda: _has_error(office))
        (job,) = await office.jobs()
        assert (job.attempt, job.error) == (1, "RuntimeError: no luck")
        assert 1.0 <= job.scheduled_at - office.clock.now() <= 1.25
        office.worker.wake()
        await asyncio.sleep(0)
        assert len(office.runs) == 1
        office.clock.advance(2)
        office.worker.wake()
        await until(office.ran(2))
        await until(lambda: _has_attempt(office, 2))
        (job,) = await office.jobs()
        assert 2.0 <= job.scheduled_at - office.clock.now() <= 2.5
        office.clock.advance(3)
        office.worker.wake()
        await until(office.idle)
    assert [upload.attempt for upload in office.runs] == [1, 2, 3]
    assert {upload.idempotency_key for upload in office.runs} == {"a:work"}


async def test_wakes_by_itself_when_a_retry_is_due(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wake the worker for a retry (I14)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.0)
    office.failures = 3
    async with office.open():
        await office.finish("a")
        await until(office.idle)
    assert len(office.runs) == 4


async def test_what_becomes_due_while_looking_is_not_missed(office: Office) -> None:
    """A job that becomes due between the look for due jobs and the look for the next one does not wait (I14)."""
    upload = UploadInfo(id="a", state=UploadState.FINISHED, offset=5, length=5, finished_at=2.0)
    job = Job(upload_id="a", task="work", scheduled_at=office.clock.now() + 1)
    await office.store.insert(upload, durable=False, jobs=[job])
    look = office.store.due_jobs

    async def look_slowly(now: float, *, limit: int) -> list[Job]:
        found = await look(now, limit=limit)
        office.clock.advance(2)
        return found

    office.store.due_jobs = look_slowly
    async with office.open():
        await until(office.ran(1), timeout=3)


async def test_unknown_tasks_do_not_hide_others(office: Office) -> None:
    """However many jobs of unknown tasks are due, those behind them run at once (I15)."""
    upload = UploadInfo(id="a", state=UploadState.FINISHED, offset=5, length=5, finished_at=2.0)
    jobs = [Job(upload_id="a", task=f"gone-{number}", scheduled_at=1.0) for number in range(20)]
    await office.store.insert(upload, durable=False, jobs=[*jobs, Job(upload_id="a", task="work", scheduled_at=2.0)])
    async with office.open():
        await until(office.ran(1), timeout=3)


async def test_a_long_job_delays_no_retry(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that failed is tried again in time although another one is still running (I15)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.05)
    began = asyncio.Event()

    async def last_forever(upload: FinishedUpload) -> None:
        began.set()
        await asyncio.Event().wait()

    office.registry.add(last_forever, "endless")
    async with office.open():
        await office.finish("a")
        await began.wait()
        await until(lambda: _has_no(office, "work"))
        office.failures = 1
        await office.finish("b")
        await until(office.ran(2))
        await until(lambda: _has_error(office))
        office.clock.advance(1)
        # Nobody wakes it.
        await until(office.ran(3), timeout=3)
    assert [(upload.id, upload.attempt) for upload in office.runs] == [("a", 1), ("b", 1), ("b", 2)]


async def test_a_hanging_job_blocks_no_other(office: Office) -> None:
    """Jobs run beside each other, several at a time and no more (I15)."""
    hanging: list[str] = []
    release = asyncio.Event()

    async def hang(upload: FinishedUpload) -> None:
        hanging.append(upload.id)
        await release.wait()

    office.registry = Registry(office.clock)
    office.registry.add(hang, "hang")
    office.new_worker()
    async with office.open():
        for number in range(module.CONCURRENCY + 3):
            await office.finish(f"upload-{number}")
        await until(lambda: _is_long(hanging, module.CONCURRENCY))
        office.worker.wake()
        await asyncio.sleep(0.02)
        assert len(hanging) == module.CONCURRENCY
        release.set()
        await until(office.idle)
    assert sorted(hanging) == [f"upload-{number}" for number in range(module.CONCURRENCY + 3)]


async def test_a_running_job_is_not_started_twice(office: Office) -> None:
    """However often the worker is woken, a job runs once at a time (I14)."""
    began = asyncio.Event()
    release = asyncio.Event()
    runs: list[str] = []

    async def wait(upload: FinishedUpload) -> None:
        runs.append(upload.id)
        began.set()
        await release.wait()

    office.registry = Registry(office.clock)
    office.registry.add(wait, "wait")
    office.new_worker()
    async with office.open():
        await office.finish("a")
        await began.wait()
        for _ in range(5):
            office.worker.wake()
            await asyncio.sleep(0.001)
        release.set()
        await until(office.idle)
    assert runs == ["a"]


async def test_stopping_keeps_the_job(office: Office) -> None:
    """A job that was running when the worker stopped runs again in the next process: same key, next attempt (I14)."""
    began = asyncio.Event()
    keys: list[tuple[str, int]] = []

    async def hang(upload: FinishedUpload) -> None:
        keys.append((upload.idempotency_key, upload.attempt))
        began.set()
        if len(keys) == 1:
            await asyncio.Event().wait()

    office.registry = Registry(office.clock)
    office.registry.add(hang, "hang")
    office.new_worker()
    async with office.open():
        await office.finish("a")
        await began.wait()
    assert [(job.upload_id, job.task, job.attempt) for job in await office.jobs()] == [("a", "hang", 1)]
    office.new_worker()
    async with office.open():
        await until(office.idle)
    assert keys == [("a:hang", 1), ("a:hang", 2)]


async def test_an_attempt_is_counted_before_it_runs(office: Office) -> None:
    """An attempt is stored when it begins: one that takes its process with it counts, as a failed one does (I14)."""
    stored: list[int] = []

    async def look(upload: FinishedUpload) -> None:
        (job,) = await office.jobs()
        stored.append(job.attempt)

    office.registry = Registry(office.clock)
    office.registry.add(look, "look")
    office.new_worker()
    async with office.open():
        await office.finish("a")
        await until(office.idle)
    assert stored == [1]


async def test_a_job_runs_although_its_beginning_cannot_be_stored(office: Office) -> None:
    """On a full disk jobs run all the same: it may be they who make room (I8)."""
    office.store.faults["retry_job"] = 1
    async with office.open():
        await office.finish("a")
        await until(office.idle)
    assert [upload.attempt for upload in office.runs] == [1]


async def test_an_unknown_task_waits(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A job whose task is not registered is kept, said once, and run when a later process knows the task (I14)."""
    upload = UploadInfo(id="a", state=UploadState.FINISHED, finished_at=2.0)
    job = Job(upload_id="a", task="later", scheduled_at=office.clock.now())
    await office.store.insert(upload, durable=False, jobs=[job])
    async with office.open():
        await office.finish("b")
        await until(office.ran(1))
        await until(lambda: _is_set_aside(office))
        for _ in range(3):
            office.clock.advance(3600)
            office.worker.wake()
            await until(lambda: _is_set_aside(office))
    assert [record.message for record in caplog.records] == ["no task is named 'later'; its jobs wait"]
    assert [waiting.attempt for waiting in await office.jobs()] == [0]
    office.registry.add(office.work, "later")
    office.new_worker()
    office.clock.advance(3600)
    async with office.open():
        await until(office.idle)
    assert [upload.idempotency_key for upload in office.runs] == ["b:work", "a:later"]


@pytest.mark.parametrize("state", [UploadState.DELETING, None])
async def test_a_removed_upload_owes_nothing(office: Office, state: UploadState | None) -> None:
    """Whoever removed the upload took its job along: nothing runs, nothing stays (I12)."""
    await office.finish("a")
    await office.store.mark_deleting("a", durable=False)
    if state is None:
        await office.store.delete("a")
    async with office.open():
        await until(office.idle)
    assert office.runs == []


async def test_a_failing_store_does_not_end_the_worker(office: Office) -> None:
    """When the store cannot be asked, the worker asks again (I14)."""
    office.store.faults["due_jobs"] = 2
    async with office.open():
        await office.finish("a")
        await until(office.ran(1), timeout=5)


@pytest.mark.parametrize(("failures", "step"), [(0, "complete_job"), (1, "retry_job")])
async def test_a_job_is_not_repeated_while_its_end_cannot_be_stored(
    office: Office, monkeypatch: pytest.MonkeyPatch, failures: int, step: str
) -> None:
    """A full disk makes no job run again and again: its end is stored as soon as that works (I14, I15)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.01)
    office.failures = failures
    office.store.faults[step] = 3
    async with office.open():
        await office.finish("a")
        await until(lambda: _has_no_faults(office), timeout=3)
        assert len(office.runs) == 1
        await until(lambda: _has_attempt(office, 1) if failures else office.idle(), timeout=3)
    assert len(office.runs) == 1


async def test_a_long_error_is_cut(office: Office) -> None:
    """What a task says when it fails is stored, within reason (I15)."""

    async def fail(upload: FinishedUpload) -> None:
        raise ValueError("x" * 100_000)

    office.registry = Registry(office.clock)
    office.registry.add(fail, "fail")
    office.new_worker()
    async with office.open():
        await office.finish("a", kind=UploadKind.FINAL)
        await until(lambda: _has_error(office))
    (job,) = await office.jobs()
    assert job.error.startswith("ValueError: xxx")
    assert len(job.error) == 1000


async def _has_error(office: Office) -> bool:
    return any(job.error for job in await office.jobs())


async def _has_attempt(office: Office, attempt: int) -> bool:
    return any(job.attempt == attempt for job in await office.jobs()) and not office.worker._active


async def _has_no(office: Office, task: str) -> bool:
    return all(job.task != task for job in await office.jobs())


async def _has_no_faults(office: Office) -> bool:
    return not any(office.store.faults.values())


async def _is_set_aside(office: Office) -> bool:
    return all(job.scheduled_at == office.clock.now() + 3600 for job in await office.jobs())


async def _is_long(items: list[str], size: int) -> bool:
    return len(items) >= size


async def test_ends_while_the_store_is_asked(office: Office) -> None:
    """What the store said before a job ended is no reason to run it again (I14)."""
    asked, goes_on = 0, asyncio.Event()
    read = office.store.due_jobs

    async def slowly(now: float, *, limit: int) -> list[Job]:
        nonlocal asked
        asked += 1
        rows = await read(now, limit=limit)
        if asked == 2:
            goes_on.set()
            await until(lambda: _holds(not office.worker._active))
        return rows

    async def held(upload: FinishedUpload) -> None:
        await goes_on.wait()
        await office.work(upload)

    office.store.due_jobs = slowly  # type: ignore[method-assign]
    office.registry = Registry(office.clock)
    office.registry.add(held, "work")
    office.new_worker()
    async with office.open():
        await office.finish("a")
        await until(lambda: _holds(bool(office.worker._active)))
        office.worker.wake()
        await until(lambda: _holds(asked >= 3 and not office.worker._active))
    assert len(office.runs) == 1


async def _holds(condition: bool) -> bool:
    return condition
