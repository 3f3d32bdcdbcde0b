"""The jobs that uploads owe, in the same database as the uploads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection

import msgspec

from tusd_py.abc import JobStore
from tusd_py.errors import StoreError
from tusd_py.models.hook import HookEvent
from tusd_py.models.job import ENDS, Attempt, Job, JobState
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite.commits import Change, Commits
from tusd_py.stores.sqlite.database import Database, Parameters
from tusd_py.stores.sqlite.queries import QUERIES
from tusd_py.stores.sqlite.recent import After, Recent

_history = msgspec.json.Decoder(tuple[Attempt, ...])
_event = msgspec.json.Decoder(HookEvent)


class SqliteJobStore(JobStore):
    """The part of `SqliteInfoStore` that is about jobs."""

    _database: Database
    _durability: Durability
    _commits: Commits | None = None
    _recent: Recent

    async def due_jobs(self, now: float, *, limit: int, busy: Collection[str] = ()) -> list[Job]:
        """Return what is due; see `tusd_py.abc.JobStore.due_jobs`."""
        return await self._jobs("due_jobs", {"now": now, "limit": limit, "busy": as_json(busy)})

    async def next_job_at(self, *, after: float = float("-inf")) -> float | None:
        """Return when the earliest job behind `after` is scheduled."""
        rows = await self._database.read("next_job_at", {"after": after})
        scheduled_at: float | None = rows[0][0]
        return scheduled_at

    async def list_jobs(
        self,
        *,
        upload_id: str | None = None,
        task: str | None = None,
        states: Collection[JobState] = (),
        after: tuple[str, str] = ("", ""),
        limit: int = 1000,
    ) -> list[Job]:
        """Return jobs in the order of their keys; see `tusd_py.abc.JobStore.list_jobs`."""
        parameters: Parameters = {
            "task": task, "states": as_json(states), "after_id": after[0], "after_task": after[1], "limit": limit,
        }  # fmt: skip
        if upload_id is not None:
            return await self._jobs("list_upload_jobs", {**parameters, "upload_id": upload_id})
        return await self._jobs("list_open_jobs" if states and ENDS.isdisjoint(states) else "list_jobs", parameters)

    async def stray_jobs(self, *, after: Job | None, limit: int) -> list[Job]:
        """Return jobs that have not ended and are owed for no finished upload, for `tusd-py fsck`.

        In the order of their keys. Those that tell of an upload's end are owed for none, and not among them.
        """
        key = (after.upload_id, after.task) if after else ("", "")
        return await self._jobs("stray_jobs", {"after_id": key[0], "after_task": key[1], "limit": limit})

    async def save_job(self, job: Job) -> bool:
        """Store what can change of a job; see `tusd_py.abc.JobStore.save_job`.

        A power cut may take back a beginning, say: then the attempt is made again, and not counted.
        """
        durable = job.state.is_end and self._durability.syncs_finish
        return await self._open_commits().settle(Change(job.upload_id, [("save_job", job)], durable=durable))

    async def rescue_jobs(self, now: float) -> int:
        """Make every executing job available; see `tusd_py.abc.JobStore.rescue_jobs`."""
        return await self._count("rescue_jobs", {"now": now})

    async def prune_jobs(self, before: float, *, limit: int) -> int:
        """Forget jobs that ended before a time; see `tusd_py.abc.JobStore.prune_jobs`."""
        return await self._count("prune_jobs", {"before": before, "limit": limit})

    async def _jobs(self, name: str, parameters: Parameters) -> list[Job]:
        return [_job(row) for row in await self._database.read(name, parameters)]

    async def _count(self, name: str, parameters: Parameters) -> int:
        """Run one statement in a transaction of its own, and return how many rows it changed."""
        changed = 0

        def work(db: sqlite3.Connection) -> None:
            nonlocal changed
            changed = db.execute(QUERIES[name], parameters).rowcount

        await self._open_commits().settle(Change("", durable=False, work=work))
        return changed

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
        commits = self._open_commits()
        change = Change(upload_id, steps, durable=durable)
        if applied is not None:
            change.applied = applied
        row = after(self._recent.begin_change(upload_id))
        change.settled = lambda changed: self._recent.end_change(upload_id, row if changed else None)
        return await commits.settle(change)

    def _open_commits(self) -> Commits:
        if self._commits is None or self._commits.is_closing:
            raise StoreError("The info store is not open for writing")
        return self._commits


def as_json(values: Collection[str]) -> str:
    """Return a list as statements take it."""
    return msgspec.json.encode(list(values)).decode()


def _job(row: sqlite3.Row) -> Job:
    return Job(
        upload_id=row[0],
        task=row[1],
        state=JobState(row[2]),
        priority=row[3],
        attempt=row[4],
        scheduled_at=row[5],
        created_at=row[6],
        ended_at=row[7],
        progress=row[8],
        error=row[9],
        output=row[10],
        result=row[11],
        history=_history.decode(row[12]),
        event=_event.decode(row[13]),
    )
