"""One attempt of a job, and what is stored of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from tests.jobs.office import Gate, Office, holds
from tests.support.waiting import until
from tusd_py.errors import HookFailed
from tusd_py.jobs import run, steps
from tusd_py.jobs.registry import Work
from tusd_py.jobs.run import INTERRUPTIONS
from tusd_py.models.job import HISTORY, Attempt, Job, JobState
from tusd_py.models.upload import UploadState

NOW = 1_700_000_000.0


def failing(error: BaseException) -> Callable[[Work], Awaitable[object]]:
    async def fail(work: Work) -> None:
        raise error

    return fail


def returning(result: object) -> Callable[[Work], Awaitable[object]]:
    async def succeed(work: Work) -> object:
        return result

    return succeed


async def test_runs_once(office: Office) -> None:
    """A job runs once, with what happened, and stays as completed (I14)."""
    office.add(priority=3)
    async with office.open():
        await office.finish("a", metadata="x eQ==")
        (job,) = await office.settle(completed=1)
    event = office.event(office.upload("a", metadata="x eQ=="))
    assert [(work.event, work.attempt, work.key) for work in office.runs] == [(event, 1, "a:work")]
    assert job == Job(
        upload_id="a",
        task="work",
        event=event,
        state=JobState.COMPLETED,
        priority=3,
        attempt=1,
        scheduled_at=job.scheduled_at,
        created_at=NOW,
        ended_at=NOW,
        history=(Attempt(number=1, began_at=NOW, ended_at=NOW),),
    )


async def test_counted_before_it_runs(office: Office) -> None:
    """An attempt is stored when it begins, with its lease: one that takes its process with it counts (I14)."""
    gate = Gate()
    office.add(run=gate.run, timeout=600.0)
    async with office.open():
        await office.finish("a")
        await until(gate.has(1))
        (job,) = await office.jobs()
        assert (job.state, job.attempt) == (JobState.EXECUTING, 1)
        assert job.scheduled_at == NOW + 600 + steps.LEASE_MARGIN
        gate.open.set()
        await office.settle(completed=1)


@pytest.mark.parametrize(
    ("result", "stored"),
    [(None, None), ({"a": [1, "\N{SNOWMAN}"]}, '{"a":[1,"\N{SNOWMAN}"]}'), ("x" * 65534, f'"{"x" * 65534}"')],
)
async def test_results(office: Office, result: object, stored: str | None) -> None:
    """What a task returns is kept as JSON, for the client."""
    office.add(run=returning(result))
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(completed=1)
    assert job.result == stored


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (object(), "the task's result cannot be stored as JSON: "),
        ("\udcff", "the task's result cannot be stored as JSON: "),
        ("x" * 65535, "the task's result has 65537 bytes as JSON, at most 65536 are stored"),
    ],
)
async def test_results_that_cannot_be_kept(office: Office, result: object, error: str) -> None:
    """A result that is no JSON or too long fails the attempt, and says so (I15)."""
    office.add(run=returning(result))
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(retryable=1)
    assert job.error.startswith(error)
    assert job.result is None


async def test_a_failed_job_is_tried_again_later(office: Office) -> None:
    """After a failure attempt, error and time are stored; at that time it runs again with the same key (I14)."""
    office.failures = 2
    office.add()
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(retryable=1)
        assert (job.attempt, job.error) == (1, "RuntimeError: no luck")
        assert 1.0 <= job.scheduled_at - NOW <= 1.25
        office.worker.wake()
        await until(holds(lambda: office.store.looks >= 2))
        assert len(office.runs) == 1
        office.clock.advance(2)
        office.worker.wake()
        await until(holds(lambda: len(office.runs) == 2))
        (job,) = await office.settle(retryable=1)
        assert 2.0 <= job.scheduled_at - office.clock.now() <= 2.5
        office.clock.advance(3)
        office.worker.wake()
        (job,) = await office.settle(completed=1)
    assert [(work.attempt, work.key) for work in office.runs] == [(1, "a:work"), (2, "a:work"), (3, "a:work")]
    assert [(each.number, each.error) for each in job.history] == [
        (1, "RuntimeError: no luck"), (2, "RuntimeError: no luck"), (3, ""),
    ]  # fmt: skip
    assert (job.error, job.ended_at) == ("", NOW + 5)


async def test_the_last_attempt(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After so many retries a job is discarded, with its latest attempts, and a line says that nobody tries again."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.0)
    office.failures = 100
    office.add(retries=12)
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(discarded=1)
    assert len(office.runs) == job.attempt == 13
    assert [each.number for each in job.history] == list(range(14 - HISTORY, 14))
    assert (job.error, job.ended_at) == ("RuntimeError: no luck", NOW)
    actions = [record.action for record in caplog.records]
    assert actions == ["job_failed"] * 12 + ["job_discarded"]
    assert "failed at attempt 13, its last one: RuntimeError: no luck" in caplog.messages[-1]


@pytest.mark.parametrize(("begun", "runs"), [(1 + INTERRUPTIONS - 1, 1), (1 + INTERRUPTIONS, 0)])
async def test_a_task_that_ends_its_process(office: Office, begun: int, runs: int) -> None:
    """A job whose attempts ended with their process is not lost by restarts, but does not end every process (I14)."""
    office.add(retries=0)
    async with office.open():
        await office.finish("a", office.job("a", attempt=begun))
        (job,) = await office.settle(**{"completed" if runs else "discarded": 1})
    assert len(office.runs) == runs
    assert runs or job.error == f"the process ended in {INTERRUPTIONS} attempts"


@pytest.mark.parametrize(("error", "traced"), [(HookFailed("exit code 3"), False), (ValueError("bad"), True)])
async def test_one_line_per_failure(
    office: Office, caplog: pytest.LogCaptureFixture, error: Exception, traced: bool
) -> None:
    """A failure is logged once, with the traceback of Python code and without one of a command, and names no id."""
    error.output = "first\nlast"  # type: ignore[attr-defined]
    office.add(run=failing(error))
    async with office.open():
        await office.finish("very-secret-id")
        (job,) = await office.settle(retryable=1)
    (record,) = caplog.records
    assert "job work failed at attempt 1; trying again in 1 s: " in record.message
    assert (record.action, record.upload_id, bool(record.exc_info)) == ("job_failed", "very-sec", traced)
    assert "secret-id" not in record.getMessage()
    assert job.error == ("ValueError: bad" if traced else "exit code 3")
    assert job.output == "first\nlast"


@pytest.mark.parametrize("output", ["x" * 5000 + "end", "\x00\udcffend"])
async def test_long_and_odd_text_is_stored(office: Office, output: str) -> None:
    """What a task says when it fails is stored, within reason, whatever it is (I15)."""
    error = ValueError("y\x00" * 100_000)
    error.output = output  # type: ignore[attr-defined]
    office.add(run=failing(error))
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(retryable=1)
    assert job.error.startswith("ValueError: y\N{REPLACEMENT CHARACTER}y")
    assert len(job.error) == steps.LONGEST_ERROR
    assert job.output.endswith("end")
    assert len(job.output) <= steps.LONGEST_OUTPUT
    assert "\x00" not in job.output
    job.output.encode()


async def test_a_task_that_leaves_takes_nobody_along(office: Office) -> None:
    """A function written as a script, which exits, fails; the server stays (I20)."""

    async def leave(work: Work) -> None:
        sys.exit(3)

    office.add(run=leave)
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(retryable=1)
    assert job.error == "the task exited with 3"


async def test_a_task_that_cancels_itself(office: Office) -> None:
    """Nobody asked for it, so it is a failure like others (I14)."""
    office.add(run=failing(asyncio.CancelledError()))
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(retryable=1)
    assert job.error == "the task cancelled itself"


@pytest.mark.parametrize("retries", [0, 1])
async def test_deadline(office: Office, retries: int) -> None:
    """A task that takes too long is cancelled, and its attempt has failed (I15)."""
    gate = Gate()
    office.add(run=gate.run, timeout=0.05, retries=retries)
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(**{"retryable" if retries else "discarded": 1})
    assert job.error == "did not end within 0.05 s"
    assert gate.ended == ["a:work"]


async def test_a_task_that_ends_its_own_way_at_the_deadline(office: Office) -> None:
    """What a task makes of being cancelled counts: it may have come to an end after all."""

    async def hurry(work: Work) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "in a hurry"

    office.add(run=hurry, timeout=0.01)
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(completed=1)
    assert job.result == '"in a hurry"'


async def test_progress(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task reports is stored now and then, cut to 0..1, and stays when it has ended."""
    monkeypatch.setattr(run, "PROGRESS_INTERVAL", 0.01)
    goes_on = asyncio.Event()

    async def work(work: Work) -> None:
        for fraction in (float("nan"), -1.0, 0.25):
            work.report(fraction)
        await goes_on.wait()
        work.report(7)

    office.add(run=work)
    office.store.faults[JobState.EXECUTING] = 0
    async with office.open():
        await office.finish("a")
        await until(holds(lambda: office.store.saved[-1:] and office.store.saved[-1].progress == 0.25))
        goes_on.set()
        (job,) = await office.settle(completed=1)
    assert job.progress == 1.0
    assert [saved.progress for saved in office.store.saved] == [None, 0.25, 1.0]


async def test_progress_that_cannot_be_stored(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not end a task that only says how far it is (I8)."""
    monkeypatch.setattr(run, "PROGRESS_INTERVAL", 0.01)
    goes_on = asyncio.Event()

    async def work(work: Work) -> None:
        office.store.faults[JobState.EXECUTING] = 1
        work.report(0.5)
        await goes_on.wait()

    office.add(run=work)
    async with office.open():
        await office.finish("a")
        await until(holds(lambda: office.store.faults.get(JobState.EXECUTING) == 0))
        goes_on.set()
        (job,) = await office.settle(completed=1)
    assert job.progress == 0.5


@pytest.mark.parametrize(
    ("state", "why"), [(UploadState.DELETING, "the upload is deleting"), (UploadState.OPEN, "the upload is open")]
)
async def test_an_upload_that_is_not_finished_any_more(office: Office, state: UploadState, why: str) -> None:
    """What was owed for a finished upload is not done for one on its way out; it is cancelled, not attempted (I12)."""
    office.add()
    await office.store.insert(office.upload("a", state=state), durable=False, jobs=[office.job("a")])
    async with office.open():
        (job,) = await office.settle(cancelled=1)
    assert office.runs == []
    assert (job.error, job.attempt, job.ended_at, job.history) == (why, 0, NOW, ())


async def test_an_upload_that_is_gone(office: Office) -> None:
    """A job whose upload nobody knows is cancelled; one that was removed with it is not run (I12)."""
    office.add()
    await office.finish("a", office.job("gone"))
    async with office.open():
        (job,) = await office.settle(cancelled=1)
    assert job.error == "the upload is gone"
    look = office.store.due_jobs

    async def look_late(now: float, **options: object) -> list[Job]:
        found = await look(now, **options)
        if found:
            await office.store.mark_deleting("b", durable=False)
            await office.store.delete("b")
            # Another one of that name owes nothing.
            await office.store.insert(office.upload("b", created_at=9.0), durable=False)
        return found

    office.store.due_jobs = look_late  # type: ignore[assignment]
    office.new_worker()
    async with office.open():
        await office.finish("b")
        await until(holds(lambda: JobState.EXECUTING in [saved.state for saved in office.store.saved[2:]]))
        await office.settle(cancelled=1)
    assert office.runs == []


async def test_a_job_runs_although_its_beginning_cannot_be_stored(office: Office) -> None:
    """On a full disk jobs run all the same: it may be they who make room (I8)."""
    office.store.faults[JobState.EXECUTING] = 1
    office.add()
    async with office.open():
        await office.finish("a")
        await office.settle(completed=1)
    assert [work.attempt for work in office.runs] == [1]


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.DISCARDED])
async def test_a_job_is_not_repeated_while_its_end_cannot_be_stored(
    office: Office, monkeypatch: pytest.MonkeyPatch, state: JobState
) -> None:
    """A full disk makes no job run again and again: its end is stored as soon as that works (I14, I15)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.01)
    office.failures = 0 if state is JobState.COMPLETED else 1
    office.store.faults[state] = 3
    office.add(retries=0)
    async with office.open():
        await office.finish("a")
        await until(holds(lambda: office.store.faults[state] == 2))
        # Its lease is over as well.
        office.clock.advance(10_000)
        office.worker.wake()
        await office.settle(**{state.value: 1})
    assert len(office.runs) == 1


async def test_a_failure_that_cannot_be_stored(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as a failure is not stored the job is not tried again either, whatever the store says of it (I14)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.01)
    office.failures = 1
    office.store.faults[JobState.RETRYABLE] = 5
    office.add()
    async with office.open():
        await office.finish("a")
        await until(holds(lambda: office.store.faults[JobState.RETRYABLE] == 4))
        office.clock.advance(10_000)
        looks = office.store.looks
        office.worker.wake()
        await until(holds(lambda: office.store.looks > looks))
        assert len(office.runs) == 1
        await office.settle(completed=1)
    assert len(office.runs) == 2


async def test_a_store_that_cannot_be_asked_about_the_upload(office: Office) -> None:
    """The attempt has failed, and is made again (I14)."""
    office.store.faults["get"] = 1
    office.add()
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(retryable=1)
        assert office.runs == []
        office.clock.advance(2)
        office.worker.wake()
        await office.settle(completed=1)
    assert job.error == "StoreError: The disk is full"
    assert [work.attempt for work in office.runs] == [2]


def test_the_next_attempt_keeps_what_is_known(office: Office) -> None:
    """While a job is tried again people still see what went wrong the last time."""
    job = replace(office.job("a"), state=JobState.RETRYABLE, attempt=1, error="no", output="out", progress=0.5)
    begun = steps.begun(job, NOW, 10.0)
    assert (begun.attempt, begun.error, begun.output, begun.progress) == (2, "no", "out", None)
