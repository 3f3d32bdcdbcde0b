"""What an engine owes, noted when it is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tusd_py.abc import OwedJobs
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo


class NotingJobs(OwedJobs):
    """One job for every finish, and a note of each that was committed."""

    def __init__(self, look: Callable[[str], UploadInfo | None], note: Callable[[UploadInfo], None]) -> None:
        self._look = look
        self._note = note
        self._promised: list[HookEvent] = []

    def heeds(self, moment: Moment) -> bool:
        return moment is Moment.POST_FINISH

    def owed(self, event: HookEvent) -> Sequence[Job]:
        self._promised.append(event)
        return [Job(upload_id=event.upload.id, task="task", event=event, scheduled_at=event.at, created_at=event.at)]

    def wake(self) -> None:
        promised, self._promised = self._promised, []
        for event in promised:
            stored = self._look(event.upload.id)
            if stored is not None and stored.is_finished:
                self._note(event.upload)
