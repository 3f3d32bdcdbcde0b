"""Which functions run when an upload finishes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from tusd_py.abc import Clock
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, UploadKind

Task = Callable[[FinishedUpload], Awaitable[None]]


class Registry:
    """Tasks by name. The name is stored with every job, so it should not change while jobs are waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[str, Task] = {}

    def add(self, task: Task, name: str | None = None) -> None:
        """Register a coroutine function, by default under its qualified name. Raises ValueError when it is taken."""
        name = name or f"{task.__module__}.{task.__qualname__}"
        if name in self._tasks:
            raise ValueError(f"a task named {name!r} is registered already")
        self._tasks[name] = task

    def get(self, name: str) -> Task | None:
        """Return the task of that name, or None."""
        return self._tasks.get(name)

    def owes(self, upload: UploadInfo) -> bool:
        """Whether an upload owes any jobs when it finishes.

        A partial one does not: the application sees one finished file, the final upload (CAT-24).
        """
        return bool(self._tasks) and upload.kind is not UploadKind.PARTIAL

    def jobs_for(self, upload: UploadInfo) -> Sequence[Job]:
        """Return the jobs that an upload owes when it finishes."""
        if not self.owes(upload):
            return ()
        now = self._clock.now()
        return [Job(upload_id=upload.id, task=name, scheduled_at=now) for name in self._tasks]
