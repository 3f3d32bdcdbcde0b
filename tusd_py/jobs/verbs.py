"""What a person may do with a job: on the store alone, when no server runs; a running worker has the same verbs."""

from __future__ import annotations

from tusd_py.abc import JobStore
from tusd_py.jobs import steps
from tusd_py.models.job import Job

BY_WISH = "cancelled by somebody"
"""What is stored as the error of a job that was cancelled by a verb."""


class JobNotFound(LookupError):
    """There is no such job; the message is a sentence for a person."""


async def find(jobs: JobStore, upload_id: str, task: str) -> Job:
    """Return a job. Raises `JobNotFound`."""
    for job in await jobs.list_jobs(upload_id=upload_id, task=task, limit=1):
        return job
    raise _not_found(upload_id, task)


async def retry(jobs: JobStore, upload_id: str, task: str, now: float) -> Job:
    """Let a job begin anew at once, also one that has ended, and return it as it is then.

    Raises `JobNotFound`, `JobStateError` while it is executing, `StoreError`.
    """
    return await _save(jobs, steps.retried(await find(jobs, upload_id, task), now))


async def cancel(jobs: JobStore, upload_id: str, task: str, now: float) -> Job:
    """End a job before its time, and return it as it is then.

    Raises `JobNotFound`, `JobStateError` when it has ended, `StoreError`.
    """
    return await _save(jobs, steps.cancelled(await find(jobs, upload_id, task), now, BY_WISH))


async def _save(jobs: JobStore, job: Job) -> Job:
    if not await jobs.save_job(job):
        raise _not_found(job.upload_id, job.task)
    return job


def _not_found(upload_id: str, task: str) -> JobNotFound:
    return JobNotFound(f"There is no job {upload_id}:{task}")
