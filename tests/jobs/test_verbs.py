"""What a person may do with a job, beside a worker and without one."""

from __future__ import annotations

import asyncio

import pytest

from tests.jobs.office import Gate, Office, holds
from tests.support.waiting import until
from tusd_py.jobs import verbs
from tusd_py.jobs.registry import Work
from tusd_py.jobs.steps import JobStateError
from tusd_py.jobs.verbs import BY_WISH, JobNotFound
from tusd_py.models.job import Job, JobState

ENDED = [JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED]
WAITING = [JobState.SCHEDULED, JobState.AVAILABLE, JobState.RETRYABLE]


def job(office: Office, state: JobState) -> Job:
    later = office.clock.now() + 1000
    end = office.clock.now() if state.is_end else None
    return office.job("a", state=state, attempt=51, scheduled_at=later, ended_at=end, error="no", result="1")


@pytest.mark.parametrize("state", [*ENDED, *WAITING])
async def test_retry(office: Office, state: JobState) -> None:
    """A job begins anew at once, with all its attempts before it; what became of it is still told."""
    await office.finish("a", job(office, state))
    done = await verbs.retry(office.store, "a", "work", office.clock.now())
    assert [done] == await office.jobs()
    assert (done.state, done.attempt, done.scheduled_at) == (JobState.AVAILABLE, 0, office.clock.now())
    assert (done.ended_at, done.result, done.error) == (None, None, "no")


@pytest.mark.parametrize("state", [*WAITING, JobState.EXECUTING])
async def test_cancel(office: Office, state: JobState) -> None:
    """A job is ended before its time, also one that a dead server left executing."""
    await office.finish("a", job(office, state))
    done = await verbs.cancel(office.store, "a", "work", office.clock.now())
    assert [done] == await office.jobs()
    assert (done.state, done.ended_at, done.error) == (JobState.CANCELLED, office.clock.now(), BY_WISH)


async def test_what_cannot_be_done(office: Office) -> None:
    """Each refusal is a sentence that says why, and changes nothing."""
    with pytest.raises(JobNotFound, match="There is no job a:work"):
        await verbs.retry(office.store, "a", "work", 1.0)
    with pytest.raises(JobNotFound, match="There is no job a:work"):
        await office.worker.cancel("a", "work")
    await office.finish("a", job(office, JobState.EXECUTING))
    with pytest.raises(JobStateError, match="The job a:work is executing and cannot be retried"):
        await verbs.retry(office.store, "a", "work", 1.0)
    for state in ENDED:
        await office.store.save_job(job(office, state))
        for cancel in (office.worker.cancel("a", "work"), verbs.cancel(office.store, "a", "work", 1.0)):
            with pytest.raises(JobStateError, match=f"The job a:work is {state} and cannot be cancelled"):
                await cancel
        assert await office.jobs() == [job(office, state)]


async def test_retry_beside_a_worker(office: Office) -> None:
    """A discarded job runs at once, with all its attempts before it."""
    office.failures = 2
    office.add(retries=0)
    async with office.open():
        await office.finish("a")
        await office.settle(discarded=1)
        await office.worker.retry("a", "work")
        await until(holds(lambda: len(office.runs) == 2))
        await office.settle(discarded=1)
        await office.worker.retry("a", "work")
        (done,) = await office.settle(completed=1)
    assert [work.attempt for work in office.runs] == [1, 1, 1]
    assert len(done.history) == 3


async def test_a_running_job_is_not_retried(office: Office) -> None:
    """It would run beside itself."""
    gate = Gate()
    office.add(run=gate.run)
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
        with pytest.raises(JobStateError, match="The job a:work is executing and cannot be retried"):
            await office.worker.retry("a", "work")
        gate.open.set()
        await office.settle(completed=1)


async def test_cancel_a_running_job(office: Office) -> None:
    """Its task is told to stop, and then it is cancelled: never tried again."""
    gate = Gate()
    office.add(run=gate.run)
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
        await office.worker.cancel("a", "work")
        (done,) = await office.settle(cancelled=1)
    assert gate.ended == ["a:work"]
    assert (done.attempt, done.error, done.ended_at) == (1, BY_WISH, office.clock.now())
    assert [each.error for each in done.history] == [BY_WISH]


@pytest.mark.parametrize(("fails", "state"), [(True, "cancelled"), (False, "completed")])
async def test_what_a_cancelled_task_makes_of_it(office: Office, fails: bool, state: str) -> None:
    """One that fails on its way out is cancelled, one that succeeds all the same is completed."""
    began = asyncio.Event()

    async def work(work: Work) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if fails:
                raise RuntimeError("no luck") from None

    office.add(run=work)
    async with office.open():
        await office.finish("a")
        await began.wait()
        await office.worker.cancel("a", "work")
        await office.settle(**{state: 1})


async def test_cancel_before_it_runs(office: Office) -> None:
    """A job that is cancelled while its beginning is stored does not run."""
    office.add()
    goes_on = asyncio.Event()
    save = office.store.save_job

    async def slowly(job: Job) -> bool:
        if job.state is JobState.EXECUTING:
            await goes_on.wait()
        return await save(job)

    office.store.save_job = slowly  # type: ignore[method-assign]
    async with office.open():
        await office.finish("a")
        await until(holds(lambda: office.worker._active))
        await office.worker.cancel("a", "work")
        goes_on.set()
        await office.settle(cancelled=1)
    assert office.runs == []


async def test_a_job_does_not_begin_while_it_is_cancelled(office: Office) -> None:
    """Whatever the worker knew of it before, a cancelled job does not run (I14)."""
    gate = Gate()
    office.add(run=gate.run)
    office.new_worker(concurrency=1)
    asked = asyncio.Event()
    goes_on = asyncio.Event()
    save = office.store.save_job

    async def slowly(job: Job) -> bool:
        if job.state is JobState.CANCELLED:
            asked.set()
            await goes_on.wait()
        return await save(job)

    office.store.save_job = slowly  # type: ignore[method-assign]
    async with office.open():
        await office.finish("a")
        await office.finish("b")
        await until(gate.has(1))
        cancelling = asyncio.create_task(office.worker.cancel("b", "work"))
        await asked.wait()
        gate.open.set()
        looks = office.store.looks
        office.worker.wake()
        await until(holds(lambda: office.store.looks > looks and not office.worker._active))
        goes_on.set()
        await cancelling
        await office.settle(completed=1, cancelled=1)
    assert gate.began == ["a:work"]
