"""Which job runs when, and beside which."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from tests.jobs.office import Gate, Office, holds
from tests.support.waiting import until
from tusd_py.jobs import worker as module
from tusd_py.jobs.registry import Work
from tusd_py.models.hook import Moment
from tusd_py.models.job import Job, JobState


async def test_finds_what_waits_at_start(office: Office) -> None:
    """Jobs of an earlier process run without anybody's waking the worker (I14)."""
    office.add()
    await office.finish("a")
    office.new_worker()
    async with office.open():
        await office.settle(completed=1)
    assert [work.key for work in office.runs] == ["a:work"]


async def test_wakes_by_itself_when_a_retry_is_due(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wake the worker for a retry (I14)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.0)
    office.failures = 3
    office.add()
    async with office.open():
        await office.finish("a")
        await office.settle(completed=1)
    assert len(office.runs) == 4


async def test_what_becomes_due_while_looking_is_not_missed(office: Office) -> None:
    """A job that becomes due between the look for due jobs and the look for the next one does not wait (I14)."""
    office.add()
    await office.finish("a", office.job("a", scheduled_at=office.clock.now() + 1))
    look = office.store.due_jobs

    async def look_slowly(now: float, **options: object) -> list[Job]:
        found = await look(now, **options)
        office.clock.advance(2)
        return found

    office.store.due_jobs = look_slowly  # type: ignore[assignment]
    async with office.open():
        await office.settle(completed=1)


async def test_a_long_job_delays_no_retry(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that failed is tried again in time although another one is still running (I15)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.05)
    gate = Gate()
    office.add("endless", gate.run)
    office.add()
    async with office.open():
        await office.finish("a", office.job("a", "endless"))
        await until(gate.has(1))
        office.failures = 1
        await office.finish("b", office.job("b"))
        await until(holds(lambda: any(job.state is JobState.RETRYABLE for job in office.store.saved)))
        office.clock.advance(1)
        # Nobody wakes it.
        await until(holds(lambda: len(office.runs) == 2))
    assert [(work.key, work.attempt) for work in office.runs] == [("b:work", 1), ("b:work", 2)]


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_several_at_a_time_and_no_more(office: Office, concurrency: int) -> None:
    """Jobs run beside each other, so that one that hangs blocks no other, up to the limit (I15)."""
    gate = Gate()
    office.add(run=gate.run)
    office.new_worker(concurrency=concurrency)
    async with office.open():
        for number in range(concurrency + 3):
            await office.finish(f"upload-{number}")
        await until(gate.has(concurrency))
        office.worker.wake()
        await asyncio.sleep(0.02)
        assert len(gate.began) == concurrency
        gate.open.set()
        await office.settle(completed=concurrency + 3)
    assert gate.most == concurrency


async def test_places_of_its_own(office: Office) -> None:
    """A task with a number of its own has its places whatever the others do, and takes none of theirs (I15)."""
    shared, own = Gate(), Gate()
    office.new_worker(concurrency=2)
    office.add("slow", shared.run)
    office.add("own", own.run, concurrency=3)
    async with office.open():
        for number in range(5):
            await office.finish(f"s{number}", office.job(f"s{number}", "slow", priority=1))
        await until(shared.has(2))
        for number in range(5):
            await office.finish(f"o{number}", office.job(f"o{number}", "own"))
        await until(own.has(3))
        assert (shared.most, own.most) == (2, 3)
        shared.open.set()
        await until(shared.has(5))
        own.open.set()
        await office.settle(completed=10)
    assert (shared.most, own.most) == (2, 3)


async def test_one_of_a_task_at_a_time(office: Office) -> None:
    """A task's own limit holds, and however many of its jobs wait, those of others behind them run (I15)."""
    narrow, wide = Gate(), Gate()
    office.add("narrow", narrow.run, concurrency=1)
    office.add("wide", wide.run)
    wide.open.set()
    count = module.BATCH * 3
    await office.finish("n", *(office.job(f"n-{number:03}", "narrow") for number in range(count)))
    for number in range(count):
        await office.store.insert(office.upload(f"n-{number:03}"), durable=False)
    await office.finish("w", office.job("w", "wide", priority=-1))
    async with office.open():
        await until(narrow.has(1))
        await until(wide.has(1))
        assert narrow.most == 1
        narrow.open.set()
        # All of them, without anybody's waking it, and without a look at the store for each.
        await office.settle(completed=count + 1)
    assert narrow.most == 1
    assert narrow.began == [f"n-{number:03}:narrow" for number in range(count)]
    assert office.store.looks < 20


async def test_many_jobs_cost_few_looks(office: Office) -> None:
    """The store is asked for many jobs at once, not for each (performance: section 3)."""
    office.add()
    for number in range(1000):
        await office.finish(f"{number:04}")
    async with office.open():
        await office.settle(completed=1000)
    assert Counter(work.key for work in office.runs) == {f"{number:04}:work": 1 for number in range(1000)}
    assert [work.key for work in office.runs] == [f"{number:04}:work" for number in range(1000)]
    assert office.store.looks < 40


async def test_the_most_urgent_first(office: Office) -> None:
    """Jobs of a task with a higher priority go before, also those that come while others wait (I15)."""
    gates = {name: Gate() for name in ("low", "high")}
    for priority, (name, gate) in enumerate(gates.items()):
        office.add(name, gate.run, priority=priority)
        gate.open.set()
    gates["low"].open.clear()
    office.new_worker(concurrency=1)
    async with office.open():
        for number in range(10):
            await office.finish(f"{number}", office.job(f"{number}", "low"))
        await until(gates["low"].has(1))
        await office.finish("urgent", office.job("urgent", "high", priority=1))
        office.clock.advance(module.FRESH)
        order: list[str] = []
        gates["low"].began = gates["high"].began = order
        gates["low"].open.set()
        await office.settle(completed=11)
    assert order[0] == "urgent:high"


async def test_a_running_job_is_not_started_twice(office: Office) -> None:
    """However often the worker is woken, a job runs once at a time, also when its lease is over (I14)."""
    gate = Gate()
    office.add(run=gate.run)
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
        for _ in range(5):
            office.clock.advance(10_000)
            looks = office.store.looks
            office.worker.wake()
            await until(holds(lambda looks=looks: office.store.looks > looks))
        gate.open.set()
        await office.settle(completed=1)
    assert gate.began == ["a:work"]


async def test_ends_while_the_store_is_asked(office: Office) -> None:
    """What the store said before a job ended is no reason to run it again (I14)."""
    gate = Gate()
    office.add(run=gate.run)
    read = office.store.due_jobs

    async def slowly(now: float, **options: object) -> list[Job]:
        rows = await read(now, **options)
        if gate.began and not gate.ended:
            # As it was before it began.
            rows = [office.job("a")]
            gate.open.set()
            await until(holds(lambda: not office.worker._active))
        return rows

    office.store.due_jobs = slowly  # type: ignore[assignment]
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
        office.worker.wake()
        await office.settle(completed=1)
        looks = office.store.looks
        office.worker.wake()
        await until(holds(lambda: office.store.looks > looks))
    assert gate.began == ["a:work"]


async def test_begins_and_ends_while_the_store_is_asked(office: Office) -> None:
    """What the store said before a job began is no reason to run it again (I14)."""
    gate = Gate()
    office.add(run=gate.run)
    office.add("told", moment=Moment.POST_TERMINATE)
    read = office.store.due_jobs

    async def slowly(now: float, **options: object) -> list[Job]:
        rows = await read(now, **options)
        if office.worker._batch and rows:
            gate.open.set()
            await until(holds(lambda: office.runs and not office.worker._active))
        return rows

    office.store.due_jobs = slowly  # type: ignore[assignment]
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
        await office.remove("a")
        await until(holds(lambda: office.worker._batch))
        office.worker.wake()
        await office.settle(completed=2)
        looks = office.store.looks
        office.worker.wake()
        await until(holds(lambda: office.store.looks > looks))
    assert [work.key for work in office.runs] == ["a:told"]


async def test_the_rest_of_a_task_after_a_look_without_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that was left out of a look, as enough of it was running, is not forgotten when that ends (I15)."""
    monkeypatch.setattr(module, "BATCH", 0)
    office.new_worker(concurrency=2)
    office.add(concurrency=1)
    read = office.store.due_jobs

    async def slowly(now: float, **options: object) -> list[Job]:
        rows = await read(now, **options)
        if options["busy"]:
            await until(holds(lambda: not office.worker._active))
        return rows

    office.store.due_jobs = slowly  # type: ignore[assignment]
    for name in "abcd":
        await office.finish(name)
    office.new_worker(concurrency=2)
    async with office.open():
        await office.settle(completed=4)


async def test_room_after_a_while_without(office: Office) -> None:
    """When a place becomes free the worker knows again when the next job is due (I14)."""
    gate = Gate()
    office.add(run=gate.run)
    await office.finish("a", office.job("a"), office.job("b", scheduled_at=office.clock.now() + 0.05))
    await office.store.insert(office.upload("b"), durable=False)
    office.new_worker(concurrency=1)
    async with office.open():
        await until(gate.has(1))
        gate.open.set()
        await office.settle(completed=1)
        office.clock.advance(1)
        # Nobody wakes it.
        await office.settle(completed=2)


async def test_what_waits_for_its_task_does_not_push_in(office: Office) -> None:
    """Of the jobs that wait in the worker the most urgent has the next place, however long another waits (I15)."""
    narrow, wide = Gate(), Gate()
    office.add("narrow", narrow.run, concurrency=1)
    office.add("wide", wide.run, priority=5)
    office.new_worker(concurrency=2)
    order = wide.began
    async with office.open():
        await office.finish("a", office.job("a", "narrow"), office.job("b", "narrow"))
        await until(narrow.has(1))
        jobs = [office.job(name, "wide", priority=5) for name in "ab"]
        await office.finish("b", *jobs)
        await until(wide.has(1))
        narrow.began = order
        narrow.open.set()
        await until(wide.has(2))
        assert order == ["a:wide", "b:wide"]
        wide.open.set()
        await office.settle(completed=4)


async def test_the_end_is_told_last(office: Office) -> None:
    """What tells of the end of an upload waits for its other jobs, not for those of other uploads (I14)."""
    work, told = Gate(), Gate()
    office.add(run=work.run)
    office.add("told", told.run, moment=Moment.POST_TERMINATE, priority=9)
    told.open.set()
    async with office.open():
        await office.finish("a", office.job("a"))
        await office.finish("b", office.job("b"))
        await until(work.has(2))
        await office.finish("c", office.job("c", "unknown"))
        for name in "ac":
            await office.remove(name)
        await until(told.has(1))
        looks = office.store.looks
        office.worker.wake()
        await until(holds(lambda: office.store.looks > looks))
        assert told.began == ["c:told"]
        work.open.set()
        await until(told.has(2))
        await office.settle(completed=4, available=1)
    assert told.began == ["c:told", "a:told"]


async def test_what_waits_for_other_jobs_hides_nothing(office: Office) -> None:
    """However many jobs have to wait for one, those behind them run (I15)."""
    work, other = Gate(), Gate()
    office.add(run=work.run)
    office.add("other", other.run)
    event = office.event(office.upload("a"), Moment.POST_TERMINATE)
    ends = [office.job("a", f"told-{number}", event=event, priority=9) for number in range(module.BATCH * 3)]
    for job in ends:
        office.add(job.task, moment=Moment.POST_TERMINATE)
    async with office.open():
        await office.finish("a", office.job("a"))
        await until(work.has(1))
        await office.finish("b", *ends, office.job("b", "other"))
        await until(other.has(1))
        assert office.runs == []
        work.open.set()
        other.open.set()
        await office.settle(completed=len(ends) + 2)


async def test_an_unknown_task_waits(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """A job whose task is not registered is kept, says why, and is run when a later process knows the task (I14)."""
    office.add()
    await office.finish("a", office.job("a", "later", state=JobState.RETRYABLE, attempt=2))
    async with office.open():
        await office.finish("b")
        await office.settle(completed=1, available=1)
        for _ in range(3):
            office.clock.advance(3600)
            at = office.clock.now() + 3600
            office.worker.wake()
            await until(holds(lambda at=at: office.store.saved[-1].scheduled_at == at))
    (job,) = await office.jobs(JobState.AVAILABLE)
    assert (job.attempt, job.error) == (2, "no task named 'later' is registered")
    assert [record.message for record in caplog.records] == ["no task is named 'later'; its jobs wait"]
    office.add("later")
    office.new_worker()
    office.clock.advance(3600)
    async with office.open():
        await office.settle(completed=2)
    assert [work.key for work in office.runs] == ["b:work", "a:later"]


async def test_unknown_tasks_do_not_hide_others(office: Office) -> None:
    """However many jobs of unknown tasks are due, those behind them run at once (I15)."""
    office.add()
    unknown = [office.job("a", f"gone-{number}") for number in range(module.BATCH * 3)]
    await office.finish("a", *unknown, replace(office.job("a"), priority=-1))
    async with office.open():
        await office.settle(completed=1, available=len(unknown))


async def test_unknown_tasks_on_a_full_disk(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """That they cannot be set aside stops nobody, and nothing spins (I8, I15)."""
    office.store.faults[JobState.AVAILABLE] = 1000
    office.add()
    await office.finish("a", office.job("a", "unknown", priority=1), office.job("a"))
    ran: list[Work] = office.runs
    async with office.open():
        await until(holds(lambda: ran))
        await until(holds(lambda: not office.worker._active))
        await asyncio.sleep(0.05)
        assert office.store.looks < 5
