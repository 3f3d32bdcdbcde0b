"""A durable piece of work that an upload owes to the application."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tusd_py.models.hook import HookEvent

HISTORY = 10
"""Attempts of a job that are remembered, the latest ones."""


class JobState(StrEnum):
    """Where a job stands.

    `scheduled` and `available` wait for their first attempt, `retryable` for another one; `executing` has begun.
    The others are ends: `completed`, `cancelled` by somebody, `discarded` after its last attempt failed.
    """

    SCHEDULED = "scheduled"
    AVAILABLE = "available"
    EXECUTING = "executing"
    RETRYABLE = "retryable"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"

    @property
    def is_end(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self in ENDS


ENDS = frozenset({JobState.COMPLETED, JobState.CANCELLED, JobState.DISCARDED})


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a job that has ended."""

    number: int
    began_at: float
    """Seconds since the Unix epoch."""
    ended_at: float
    error: str = ""
    """What went wrong; empty = nothing."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One task owed for one upload, written in the transaction that makes the event a fact.

    `(upload_id, task)` is its idempotency key: the same on every attempt.
    """

    upload_id: str
    task: str
    """Name of the registered task that does the work."""
    event: HookEvent
    """What happened to the upload, as it was then."""
    state: JobState = JobState.AVAILABLE
    priority: int = 0
    """Of two jobs that are due, the one with the higher number runs first."""
    attempt: int = 0
    """How many attempts have begun, whatever became of them."""
    scheduled_at: float = 0.0
    """Not before this time (seconds since the Unix epoch). Of an executing job: when its lease ends."""
    created_at: float = 0.0
    """Seconds since the Unix epoch."""
    ended_at: float | None = None
    """Seconds since the Unix epoch; None = it has not come to an end."""
    progress: float | None = None
    """0 to 1, as the task reports it; None = it does not."""
    error: str = ""
    """What went wrong at the last attempt."""
    output: str = ""
    """The end of what the last attempt wrote to its standard error and output."""
    result: str | None = None
    """What the task made of the upload: JSON, to be given to the client."""
    history: tuple[Attempt, ...] = ()
    """The latest attempts, the oldest first; at most `HISTORY`."""

    @property
    def is_delivery(self) -> bool:
        """Whether it tells a hook, rather than being work of its own: no other name has a colon."""
        return ":" in self.task

    @property
    def key(self) -> str:
        """The idempotency key, and its name on the command line."""
        return f"{self.upload_id}:{self.task}"
