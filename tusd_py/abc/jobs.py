"""The work that uploads owe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from tusd_py.models.job import Job, JobState


class JobStore(ABC):
    """The jobs that uploads owe. Rows come into being by `insert`, `finish` and `mark_deleting` of `InfoStore`.

    One worker at a time changes them, so the last change of a job counts.
    """

    @abstractmethod
    async def due_jobs(self, now: float, *, limit: int, busy: Collection[str] = ()) -> list[Job]:
        """Return jobs that have not ended and are scheduled at or before `now`, but those of `busy` tasks.

        The highest priority first, then the earliest. An executing job whose lease is over is due.
        """

    @abstractmethod
    async def next_job_at(self, *, after: float = float("-inf")) -> float | None:
        """Return when the earliest job behind `after` is scheduled (Unix epoch); None when there is none."""

    @abstractmethod
    async def save_job(self, job: Job) -> bool:
        """Store everything of a job that can change; False when it is gone, with its upload, say: it stays gone.

        Its end survives a power cut, unless finished uploads need not; anything else survives a killed process.
        """

    @abstractmethod
    async def rescue_jobs(self, now: float) -> int:
        """Make every executing job available at `now`: the process that ran it is gone. Returns how many."""

    @abstractmethod
    async def prune_jobs(self, before: float, *, limit: int) -> int:
        """Forget jobs that ended before a time, the oldest first, and return how many."""

    @abstractmethod
    async def list_jobs(
        self,
        *,
        upload_id: str | None = None,
        task: str | None = None,
        states: Collection[JobState] = (),
        after: tuple[str, str] = ("", ""),
        limit: int = 1000,
    ) -> list[Job]:
        """Return jobs in the order of (upload_id, task), beginning behind `after`; no condition = all of them."""
