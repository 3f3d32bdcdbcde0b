"""The jobs that finished uploads owe, in the same database as the uploads."""

from __future__ import annotations

from collections.abc import Callable

from tusd_py.abc import JobStore
from tusd_py.errors import StoreError
from tusd_py.models.job import Job
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite.commits import Change, Commits
from tusd_py.stores.sqlite.database import Database
from tusd_py.stores.sqlite.recent import After, Recent


class SqliteJobStore(JobStore):
    """The part of `SqliteInfoStore` that is about jobs."""

    _database: Database
    _durability: Durability
    _commits: Commits | None = None
    _recent: Recent

    async def due_jobs(self, now: float, *, limit: int) -> list[Job]:
        """Return jobs scheduled at or before `now`, the earliest first."""
        rows = await self._database.read("due_jobs", {"now": now, "limit": limit})
        return [Job(upload_id=row[0], task=row[1], attempt=row[2], scheduled_at=row[3], error=row[4]) for row in rows]

    async def next_job_at(self, *, after: float = float("-inf")) -> float | None:
        """Return when the earliest job behind `after` is scheduled."""
        rows = await self._database.read("next_job_at", {"after": after})
        scheduled_at: float | None = rows[0][0]
        return scheduled_at

    async def stray_jobs(self, *, after: Job | None, limit: int) -> list[Job]:
        """Return jobs that are owed for no finished upload, in the order of their keys, for `tusd-py fsck`."""
        key = (after.upload_id, after.task) if after else ("", "")
        rows = await self._database.read("stray_jobs", {"after_id": key[0], "after_task": key[1], "limit": limit})
        return [Job(upload_id=row[0], task=row[1]) for row in rows]

    async def retry_job(self, job: Job) -> None:
        """Store a job's new attempt, time and error; a job that is gone stays gone.

        A power cut may take it back, a killed process does not: then the attempt is made again, and not counted.
        """
        await self._change(job.upload_id, ("retry_job", job), durable=False)

    async def complete_job(self, job: Job) -> None:
        """Forget a job. Unless the level is `none` it stays forgotten after a power cut."""
        await self._change(job.upload_id, ("complete_job", job), durable=self._durability.syncs_finish)

    async def _change(
        self,
        upload_id: str,
        *steps: tuple[str, object],
        durable: bool,
        after: After = lambda _: None,
        applied: Callable[[UploadInfo | None], bool] | None = None,
    ) -> bool:
        """Commit one change; `after` makes the row as it is then out of the one before. Raises `StoreError`.

        `applied` tells a row that the change made, for a commit whose outcome is unknown.
        """
        if self._commits is None or self._commits.is_closing:
            raise StoreError("The info store is not open for writing")
        change = Change(upload_id, steps, durable=durable)
        if applied is not None:
            change.applied = applied
        row = after(self._recent.begin_change(upload_id))
        change.settled = lambda changed: self._recent.end_change(upload_id, row if changed else None)
        return await self._commits.settle(change)
