"""What every job store must do. Subclass and give the fixtures `info` and `jobs`: open, empty, and of one store."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tusd_py.abc import InfoStore, JobStore
from tusd_py.errors import StaleWriter
from tusd_py.models.hook import HookEvent, Moment, RequestInfo
from tusd_py.models.job import Attempt, Job, JobState
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.testing.info import ID, NOW, last_step

UPLOAD = UploadInfo(
    id=ID, state=UploadState.FINISHED, offset=10, length=10, metadata="a Yg==", parts=("a", "b"), created_at=NOW - 0.125
)
REQUEST = RequestInfo(method="PATCH", uri='/files/"x"', headers=(("A", "1"), ("A", "2")))
FINISH = HookEvent(moment=Moment.POST_FINISH, upload=UPLOAD, request=REQUEST, at=NOW)
END = replace(FINISH, moment=Moment.POST_TERMINATE)

FIRST = Job(upload_id=ID, task="first", event=FINISH, scheduled_at=NOW - 10, created_at=NOW - 10)
SECOND = Job(
    upload_id=ID,
    task="second",
    event=FINISH,
    state=JobState.RETRYABLE,
    attempt=3,
    scheduled_at=NOW,
    created_at=NOW - 20,
    progress=0.25,
    error='it said "no"\nand left',
    output="\x01 \N{SNOWMAN} 'quoted'",
    result='{"a": [1, "b"]}',
    history=(Attempt(number=3, began_at=NOW - 5, ended_at=NOW - 4, error="no"),),
)
TOLD = Job(upload_id=ID, task="told", event=END, scheduled_at=NOW, created_at=NOW)


async def finish(info: InfoStore, *jobs: Job) -> None:
    """Insert the upload `ID` and finish it."""
    await info.insert(UploadInfo(id=ID, length=10), durable=False)
    await info.finish(last_step(), durable=True, jobs=jobs)


def ended(job: Job, at: float = NOW, state: JobState = JobState.COMPLETED) -> Job:
    """Return a job that has come to an end."""
    return replace(job, state=state, ended_at=at)


class JobStoreTests:
    """The contract of `tusd_py.abc.JobStore`, and how jobs come into being by `InfoStore`."""

    async def test_nothing_owed(self, info: InfoStore, jobs: JobStore) -> None:
        """Without a finished upload there is no job."""
        await info.insert(UploadInfo(id=ID, length=10), durable=False)
        assert await jobs.due_jobs(NOW, limit=10) == []
        assert await jobs.next_job_at() is None
        assert await jobs.list_jobs() == []

    async def test_finish_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """Jobs come with the finish, every field as it was given, the earliest first (I14)."""
        await finish(info, SECOND, FIRST)
        assert await jobs.due_jobs(NOW, limit=10) == [FIRST, SECOND]
        assert await jobs.due_jobs(NOW, limit=1) == [FIRST]
        assert await jobs.next_job_at() == FIRST.scheduled_at
        assert await jobs.next_job_at(after=FIRST.scheduled_at) == SECOND.scheduled_at

    async def test_birth_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """An upload that is born finished owes its jobs too (I14)."""
        await info.insert(UploadInfo(id=ID, state=UploadState.FINISHED, length=0), durable=True, jobs=[FIRST])
        assert await jobs.due_jobs(NOW, limit=10) == [FIRST]

    async def test_removal_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """Jobs come with the mark of a removal, once however often it is marked; an unknown upload owes none (I14)."""
        assert not await info.mark_deleting(ID, durable=True, jobs=[TOLD])
        assert await jobs.list_jobs() == []
        await finish(info, FIRST)
        assert await info.mark_deleting(ID, durable=True, jobs=[TOLD])
        assert await jobs.list_jobs() == [FIRST, TOLD]
        done = ended(TOLD)
        assert await jobs.save_job(done)
        assert await info.mark_deleting(ID, durable=True, jobs=[replace(TOLD, scheduled_at=NOW + 1)])
        assert await jobs.list_jobs() == [FIRST, done]

    async def test_not_before_its_time(self, info: InfoStore, jobs: JobStore) -> None:
        """A job is not due before it is scheduled."""
        await finish(info, replace(FIRST, scheduled_at=NOW + 1))
        assert await jobs.due_jobs(NOW, limit=10) == []
        assert await jobs.next_job_at() == NOW + 1

    async def test_the_most_urgent_first(self, info: InfoStore, jobs: JobStore) -> None:
        """A higher number goes before an earlier time, and that before the order of coming."""
        urgent = [
            replace(FIRST, task="z", priority=2, scheduled_at=NOW),
            replace(FIRST, task="y", priority=2, scheduled_at=NOW),
            replace(FIRST, task="x", priority=1, scheduled_at=NOW - 9),
            replace(FIRST, task="w", priority=1, scheduled_at=NOW - 8),
            replace(FIRST, task="v", priority=-1, scheduled_at=NOW - 50),
        ]
        await finish(info, urgent[4], urgent[0], urgent[1], urgent[3], urgent[2])
        await info.insert(UploadInfo(id="other"), durable=True, jobs=[replace(FIRST, upload_id="other", priority=9)])
        assert (await jobs.due_jobs(NOW, limit=10))[1:] == urgent
        assert await jobs.due_jobs(NOW, limit=10, busy=["z", "first", "x"]) == [urgent[1], urgent[3], urgent[4]]

    async def test_an_executing_job_is_due_when_its_lease_is_over(self, info: InfoStore, jobs: JobStore) -> None:
        """Whoever executes a job has it until its lease ends."""
        executing = replace(FIRST, state=JobState.EXECUTING, attempt=1, scheduled_at=NOW + 60)
        await finish(info, FIRST)
        assert await jobs.save_job(executing)
        assert await jobs.due_jobs(NOW + 59, limit=10) == []
        assert await jobs.due_jobs(NOW + 60, limit=10) == [executing]

    async def test_stale_finish_owes_nothing(self, info: InfoStore, jobs: JobStore) -> None:
        """A finish that changed nothing adds no jobs, neither those of a done job again (I14)."""
        await finish(info, FIRST)
        await jobs.save_job(ended(FIRST))
        with pytest.raises(StaleWriter):
            await info.finish(last_step(), durable=True, jobs=[FIRST, SECOND])
        assert await jobs.list_jobs() == [ended(FIRST)]

    async def test_one_of_many_finishes_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """Finishes at the same time leave the jobs of one (I14)."""
        await info.insert(UploadInfo(id=ID, length=10), durable=False)
        results = await asyncio.gather(
            *(info.finish(last_step(), durable=True, jobs=[replace(FIRST, task=f"{n}")]) for n in range(5)),
            return_exceptions=True,
        )
        winners = [f"{n}" for n, result in enumerate(results) if result is None]
        assert [job.task for job in await jobs.due_jobs(NOW, limit=10)] == winners

    @pytest.mark.parametrize("state", list(JobState))
    async def test_save(self, info: InfoStore, jobs: JobStore, state: JobState) -> None:
        """Everything that can change of a job is stored; others do not change."""
        await finish(info, FIRST, SECOND)
        end = NOW + 9 if state.is_end else None
        fields = {
            name: getattr(SECOND, name) for name in ("attempt", "progress", "error", "output", "result", "history")
        }
        changed = replace(FIRST, state=state, scheduled_at=NOW + 60, ended_at=end, **fields)
        assert await jobs.save_job(changed)
        assert await jobs.list_jobs() == [changed, SECOND]
        assert await jobs.due_jobs(NOW + 60, limit=10) == ([SECOND] if state.is_end else [SECOND, changed])
        assert await jobs.next_job_at(after=NOW) == (None if state.is_end else NOW + 60)
        # Back as it was: nothing is left of it.
        assert await jobs.save_job(FIRST)
        assert await jobs.list_jobs() == [FIRST, SECOND]

    async def test_gone_jobs_stay_gone(self, info: InfoStore, jobs: JobStore) -> None:
        """Saving does not bring a job back, nor make one."""
        await finish(info, FIRST)
        assert not await jobs.save_job(SECOND)
        await info.mark_deleting(ID, durable=True)
        await info.delete(ID)
        assert not await jobs.save_job(FIRST)
        assert not await jobs.save_job(ended(FIRST))
        assert await jobs.list_jobs() == []

    async def test_rescue(self, info: InfoStore, jobs: JobStore) -> None:
        """What a dead process was executing is available at once, and keeps what is known of it."""
        executing = [replace(job, state=JobState.EXECUTING, scheduled_at=NOW + 60) for job in (FIRST, SECOND)]
        done, waiting = ended(replace(FIRST, task="done")), replace(FIRST, task="waiting", scheduled_at=NOW + 5)
        await finish(info, *executing, done, waiting)
        assert await jobs.rescue_jobs(NOW + 1) == 2
        available = [replace(job, state=JobState.AVAILABLE, scheduled_at=NOW + 1) for job in executing]
        assert await jobs.list_jobs() == [done, *available, waiting]
        assert await jobs.rescue_jobs(NOW + 1) == 0

    async def test_prune(self, info: InfoStore, jobs: JobStore) -> None:
        """Jobs that ended before a time are forgotten, the oldest first; waiting ones are not, however old."""
        old = [replace(ended(FIRST, NOW - n, state=JobState.DISCARDED), task=f"{n}") for n in range(1, 6)]
        waiting = replace(FIRST, scheduled_at=NOW - 100)
        await finish(info, *old, waiting)
        assert await jobs.prune_jobs(NOW - 2, limit=2) == 2
        assert await jobs.list_jobs() == [*old[:3], waiting]
        assert await jobs.prune_jobs(NOW - 2, limit=2) == 1
        assert await jobs.prune_jobs(NOW - 2, limit=2) == 0
        assert await jobs.list_jobs() == [*old[:2], waiting]

    async def test_list(self, info: InfoStore, jobs: JobStore) -> None:
        """Jobs are listed in the order of their keys, page by page, of an upload, of a task, in states."""
        every = []
        for upload_id in ("a", "b", "c"):
            owed = [
                ended(replace(FIRST, upload_id=upload_id)),
                replace(SECOND, upload_id=upload_id),
                ended(replace(TOLD, upload_id=upload_id), state=JobState.CANCELLED),
            ]
            await info.insert(UploadInfo(id=upload_id), durable=False, jobs=owed[::-1])
            every += owed
        assert await jobs.list_jobs() == every
        assert await jobs.list_jobs(after=("a", "second"), limit=3) == every[2:5]
        assert await jobs.list_jobs(upload_id="b") == every[3:6]
        assert await jobs.list_jobs(upload_id="b", limit=1) == every[3:4]
        assert await jobs.list_jobs(upload_id="b", after=("b", "first")) == every[4:6]
        assert await jobs.list_jobs(upload_id="b", after=("c", "")) == []
        assert await jobs.list_jobs(upload_id="c", task="told") == every[8:]
        assert await jobs.list_jobs(task="second", after=("a", "x")) == [every[4], every[7]]
        assert await jobs.list_jobs(states=[JobState.RETRYABLE], after=("a", "x"), limit=1) == [every[4]]
        assert await jobs.list_jobs(states=[JobState.COMPLETED, JobState.RETRYABLE], limit=3) == [*every[:2], every[3]]
        assert await jobs.list_jobs(upload_id="a", states=[JobState.CANCELLED]) == every[2:3]
        assert await jobs.list_jobs(states=[JobState.EXECUTING]) == []

    async def test_jobs_go_with_the_upload(self, info: InfoStore, jobs: JobStore) -> None:
        """A removed upload leaves no job behind but those that tell of it, and takes none of another along (I12)."""
        other = replace(FIRST, upload_id="other")
        await info.insert(UploadInfo(id="other", state=UploadState.FINISHED, length=0), durable=False, jobs=[other])
        await finish(info, FIRST, ended(SECOND))
        await info.delete(ID)
        assert len(await jobs.list_jobs()) == 3
        await info.mark_deleting(ID, durable=True, jobs=[TOLD])
        assert len(await jobs.list_jobs()) == 4
        await info.delete(ID)
        assert await jobs.due_jobs(NOW, limit=10) == [other, TOLD]
        assert await jobs.list_jobs() == [TOLD, other]
        assert await jobs.save_job(ended(TOLD))

    @pytest.mark.parametrize("state", [JobState.AVAILABLE, JobState.COMPLETED])
    async def test_a_name_that_is_used_again(self, info: InfoStore, jobs: JobStore, state: JobState) -> None:
        """What is still known of the end of an earlier upload of that name does not hide the end of the next one."""
        await finish(info)
        await info.mark_deleting(ID, durable=True, jobs=[TOLD])
        await jobs.save_job(replace(TOLD, state=state, ended_at=NOW if state.is_end else None))
        await info.delete(ID)
        await finish(info)
        again = replace(TOLD, event=replace(END, upload=replace(UPLOAD, created_at=NOW + 1)), scheduled_at=NOW + 2)
        await info.mark_deleting(ID, durable=True, jobs=[again])
        assert await jobs.list_jobs() == [again]

    async def test_jobs_of_what_falls_back(self, info: InfoStore, jobs: JobStore) -> None:
        """A job must not run for bytes that may be gone; ended ones go too, as they are owed again (I9)."""
        upload = replace(UPLOAD, synced_offset=3)
        await info.insert(upload, durable=False, jobs=[FIRST, ended(SECOND)])
        safe = replace(UPLOAD, id="safe", synced_offset=10)
        await info.insert(safe, durable=False, jobs=[replace(FIRST, upload_id="safe")])
        await info.fall_back()
        assert [job.upload_id for job in await jobs.list_jobs()] == ["safe"]
        await info.finish(last_step(expected=3), durable=True, jobs=[FIRST])
        assert await jobs.list_jobs(upload_id=ID) == [FIRST]
