"""Which tasks there are, and which of them an event is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from tusd_py.jobs.retry import RETRIES
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one attempt of a task is given."""

    event: HookEvent
    """What happened, as it was then."""
    attempt: int
    """1, and one more for every attempt that began before, whatever became of it."""
    key: str
    """The idempotency key: the same on every attempt of this job, unlike that of any other."""
    report: Callable[[float], None]
    """Takes how much is done, 0 to 1; stored about once a second. May be called from any thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to be done for uploads, and how."""

    name: str
    """Stored with every job: it should not change while jobs are waiting."""
    run: Callable[[Work], Awaitable[object]]
    """Does it. Returns a result that can be JSON of at most 64 KiB, or None; fails by raising.

    Cancelled at its deadline, by somebody's wish and when the worker stops. An exception may carry text as `output`:
    the end of what a command wrote, to be stored with the job.
    """
    moment: Moment = Moment.POST_FINISH
    """A durable one."""
    wants: Callable[[HookEvent], bool]
    """Whether an event of this moment is for it, decided when it happens. Does not raise, and does not wait."""
    priority: int = 0
    """Of two jobs that are due, the one with the higher number runs first."""
    retries: int = RETRIES
    """Attempts after the first one; when the last has failed the job is discarded."""
    timeout: float = 3600.0
    """Seconds of one attempt."""
    concurrency: int | None = None
    """How many of its jobs run at a time, in places of its own; None = it shares those of the worker."""


class Registry:
    """Tasks by name."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._moments: set[Moment] = set()

    def add(self, task: Task) -> None:
        """Register a task. Raises ValueError when its name is taken or its moment has no jobs."""
        if task.name in self._tasks:
            raise ValueError(f"a task named {task.name!r} is registered already")
        if not task.moment.is_durable:
            raise ValueError(
                f"the task {task.name!r} wants {task.moment}: only post-finish and post-terminate have jobs"
            )
        self._tasks[task.name] = task
        self._moments.add(task.moment)

    @property
    def names(self) -> Collection[str]:
        """Those of all tasks."""
        return self._tasks.keys()

    def get(self, name: str) -> Task | None:
        """Return the task of that name, or None."""
        return self._tasks.get(name)

    def heeds(self, moment: Moment) -> bool:
        """Whether any task is for such a moment. Cheap: asked at every finish."""
        return moment in self._moments

    def jobs_for(self, event: HookEvent) -> Sequence[Job]:
        """Return the jobs that an event makes, due at once."""
        return [
            Job(
                upload_id=event.upload.id,
                task=task.name,
                event=event,
                priority=task.priority,
                scheduled_at=event.at,
                created_at=event.at,
            )
            for task in self._tasks.values()
            if self._wanting(event, task)
        ]

    @staticmethod
    def _wanting(event: HookEvent, task: Task) -> bool:
        return task.moment is event.moment and task.wants(event)
