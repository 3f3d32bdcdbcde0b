"""Jobs outlive a worker, and a worker a store that fails."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.jobs.office import Gate, Office, holds
from tests.support.waiting import until
from tusd_py.jobs import prune
from tusd_py.jobs.worker import Worker
from tusd_py.models.job import Job, JobState
from tusd_py.models.limits import Durability
from tusd_py.stores.sqlite import SqliteInfoStore


async def test_stopping_keeps_the_job(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A job that was running when the worker stopped runs again in the next process: same key, next attempt (I14)."""
    caplog.set_level("INFO", logger="tusd_py")
    gate = Gate()
    office.add(run=gate.run)
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
    assert gate.ended == ["a:work"]
    (job,) = await office.jobs()
    assert (job.state, job.attempt) == (JobState.EXECUTING, 1)
    gate.open.set()
    office.new_worker()
    async with office.open():
        (job,) = await office.settle(completed=1)
    assert job.attempt == 2
    assert gate.began == ["a:work"] * 2
    assert [record.action for record in caplog.records] == ["jobs_rescued"]


async def test_stopping_starts_nothing(office: Office) -> None:
    """A job that comes to an end while the worker stops makes no room for the next (I17)."""
    office.add()
    office.new_worker(concurrency=1)
    ending = asyncio.Event()
    save = office.store.save_job

    async def save_to_the_end(job: Job) -> bool:
        if job.state is JobState.COMPLETED:
            ending.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        return await save(job)

    office.store.save_job = save_to_the_end  # type: ignore[method-assign]
    await office.finish("a")
    await office.finish("b")
    async with office.open():
        await ending.wait()
    await asyncio.sleep(0.02)
    assert [work.key for work in office.runs] == ["a:work"]
    assert not office.worker._tasks


@pytest.mark.parametrize("method", ["due_jobs", "rescue_jobs", "prune_jobs"])
async def test_a_failing_store_does_not_end_the_worker(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """When the store cannot be asked, the worker goes on and asks again (I14)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.01)
    office.store.faults[method] = 2
    office.add()
    async with office.open():
        await office.finish("a")
        await office.settle(completed=1)
    assert {record.action for record in caplog.records} == {"jobs_unavailable"}


async def test_old_jobs_are_forgotten(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Jobs that ended are remembered for a while, then forgotten, however many; others are not (I19)."""
    monkeypatch.setattr(prune, "INTERVAL", 0.01)
    caplog.set_level("INFO", logger="tusd_py")
    now = office.clock.now()
    old = [office.job("old", f"{n}", state=JobState.DISCARDED, ended_at=now) for n in range(1200)]
    young = office.job("young", state=JobState.COMPLETED, ended_at=now + 1)
    waiting = office.job("waiting", scheduled_at=now + 100)
    await office.finish("a", *old, young, waiting)
    office.new_worker(keep=10.0)
    async with office.open():
        office.clock.advance(10)
        looks = office.store.looks
        await until(holds(lambda: office.store.looks > looks))
        assert len(await office.jobs()) == 1202
        office.clock.advance(0.5)
        await office.settle(completed=1, available=1)
        await until(holds(lambda: caplog.records))
    assert [record.message for record in caplog.records] == ["1200 jobs that ended long ago are forgotten"]
    assert caplog.records[0].action == "jobs_pruned"


async def test_on_a_disk(office: Office, tmp_path: Path) -> None:
    """What was executing when the database was left runs again from it, and what has ended does not (I14)."""
    gate = Gate()
    office.add(run=gate.run)
    for life in range(2):
        store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.PATCH)
        await store.open()
        worker = Worker(jobs=store, info=store, registry=office.registry, clock=office.clock)
        if life == 0:
            for upload in (office.upload("a"), office.upload("b")):
                await store.insert(upload, durable=True, jobs=office.registry.jobs_for(office.event(upload)))
        running = asyncio.create_task(worker.run())
        await until(gate.has(2 + 2 * life))
        if life == 1:
            gate.open.set()
            await until(holds(lambda worker=worker: not worker._active))
        running.cancel()
        await asyncio.wait([running])
        jobs = await store.list_jobs()
        await store.close()
        states = [JobState.EXECUTING, JobState.COMPLETED]
        assert [(job.key, job.state, job.attempt) for job in jobs] == [
            ("a:work", states[life], life + 1), ("b:work", states[life], life + 1),
        ]  # fmt: skip
    assert gate.began == ["a:work", "b:work"] * 2
