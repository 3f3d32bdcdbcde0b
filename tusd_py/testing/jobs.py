"""What every job store must do. Subclass and give the fixtures `info` and `jobs`: open, empty, and of one store."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tusd_py.abc import InfoStore, JobStore
from tusd_py.errors import StaleWriter
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.testing.info import ID, NOW, last_step

FIRST = Job(upload_id=ID, task="first", scheduled_at=NOW - 10)
SECOND = Job(upload_id=ID, task="second", scheduled_at=NOW, attempt=3, error='it said "no"\nand left')


async def finish(info: InfoStore, *jobs: Job) -> None:
    """Insert the upload `ID` and finish it."""
    await info.insert(UploadInfo(id=ID, length=10), durable=False)
    await info.finish(last_step(), durable=True, jobs=jobs)


class JobStoreTests:
    """The contract of `tusd_py.abc.JobStore`, and how jobs come into being by `InfoStore`."""

    async def test_nothing_owed(self, info: InfoStore, jobs: JobStore) -> None:
        """Without a finished upload there is no job."""
        await info.insert(UploadInfo(id=ID, length=10), durable=False)
        assert await jobs.due_jobs(NOW, limit=10) == []
        assert await jobs.next_job_at() is None

    async def test_finish_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """Jobs come with the finish, every field as it was given, the earliest first (I14)."""
        await finish(info, SECOND, FIRST)
        assert await jobs.due_jobs(NOW, limit=10) == [FIRST, SECOND]
        assert await jobs.due_jobs(NOW, limit=1) == [FIRST]
        assert await jobs.next_job_at() == FIRST.scheduled_at
        assert await jobs.next_job_at(after=FIRST.scheduled_at) != FIRST.scheduled_at

    async def test_birth_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """An upload that is born finished owes its jobs too (I14)."""
        await info.insert(UploadInfo(id=ID, state=UploadState.FINISHED, length=0), durable=True, jobs=[FIRST])
        assert await jobs.due_jobs(NOW, limit=10) == [FIRST]

    async def test_not_before_its_time(self, info: InfoStore, jobs: JobStore) -> None:
        """A job is not due before it is scheduled."""
        await finish(info, replace(FIRST, scheduled_at=NOW + 1))
        assert await jobs.due_jobs(NOW, limit=10) == []
        assert await jobs.next_job_at() == NOW + 1

    async def test_stale_finish_owes_nothing(self, info: InfoStore, jobs: JobStore) -> None:
        """A finish that changed nothing adds no jobs, neither those of a done job again (I14)."""
        await finish(info, FIRST)
        await jobs.complete_job(FIRST)
        with pytest.raises(StaleWriter):
            await info.finish(last_step(), durable=True, jobs=[FIRST, SECOND])
        assert await jobs.next_job_at() is None

    async def test_one_of_many_finishes_owes_jobs(self, info: InfoStore, jobs: JobStore) -> None:
        """Finishes at the same time leave the jobs of one (I14)."""
        await info.insert(UploadInfo(id=ID, length=10), durable=False)
        results = await asyncio.gather(
            *(info.finish(last_step(), durable=True, jobs=[replace(FIRST, task=f"{n}")]) for n in range(5)),
            return_exceptions=True,
        )
        winners = [f"{n}" for n, result in enumerate(results) if result is None]
        assert [job.task for job in await jobs.due_jobs(NOW, limit=10)] == winners

    async def test_retry(self, info: InfoStore, jobs: JobStore) -> None:
        """A failed job waits for its next attempt and knows what went wrong; others do not change."""
        await finish(info, FIRST, SECOND)
        again = replace(FIRST, attempt=1, scheduled_at=NOW + 60, error="timed out")
        await jobs.retry_job(again)
        assert await jobs.due_jobs(NOW + 60, limit=10) == [SECOND, again]

    async def test_begin(self, info: InfoStore, jobs: JobStore) -> None:
        """A job whose attempt was counted before it runs is due as before, first come, first served (I14)."""
        await finish(info, FIRST, SECOND)
        await jobs.retry_job(replace(FIRST, attempt=1))
        assert await jobs.due_jobs(NOW, limit=10) == [replace(FIRST, attempt=1), SECOND]

    async def test_complete(self, info: InfoStore, jobs: JobStore) -> None:
        """A done job is forgotten, the other job of its upload is not."""
        await finish(info, FIRST, SECOND)
        await jobs.complete_job(replace(FIRST, attempt=5))
        await jobs.complete_job(FIRST)
        assert await jobs.due_jobs(NOW, limit=10) == [SECOND]

    async def test_gone_jobs_stay_gone(self, info: InfoStore, jobs: JobStore) -> None:
        """Neither retrying nor completing brings a job back."""
        await finish(info, FIRST)
        await jobs.complete_job(FIRST)
        await jobs.retry_job(FIRST)
        await jobs.complete_job(FIRST)
        assert await jobs.next_job_at() is None

    async def test_jobs_go_with_the_upload(self, info: InfoStore, jobs: JobStore) -> None:
        """A removed upload leaves no job behind, and takes none of another with it (I12)."""
        other = replace(FIRST, upload_id="other")
        await info.insert(UploadInfo(id="other", state=UploadState.FINISHED, length=0), durable=False, jobs=[other])
        await finish(info, FIRST, SECOND)
        await info.delete(ID)
        assert len(await jobs.due_jobs(NOW, limit=10)) == 3
        await info.mark_deleting(ID, durable=True)
        await info.delete(ID)
        assert await jobs.due_jobs(NOW, limit=10) == [other]
