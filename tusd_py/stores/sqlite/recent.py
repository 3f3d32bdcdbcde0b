"""The rows of uploads that were used lately, as the last commit left them: no trip to the database for the next look.

There is one writer to the database, the one beside us, so a row is right until a change of it is asked for. From then
on it is not known here, until the change is settled: committed, refused or failed, whether or not its caller waited.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

from tusd_py.models.upload import UploadInfo

MOST = 4096
"""Uploads that are remembered."""
LONGEST_TEXT = 1024
"""Characters of metadata and parts with which one is remembered: together they bound the memory to some MiB."""

After = Callable[[UploadInfo | None], UploadInfo | None]
"""Makes the row behind a change out of the row before it; None = unknown."""


class Recent:
    """A bounded memory of rows; the least recently remembered one goes first."""

    def __init__(self, most: int = MOST) -> None:
        """Begin with nothing; `most` is 0 for somebody beside whom another process writes."""
        self._most = most
        self._rows: OrderedDict[str, UploadInfo] = OrderedDict()
        self._changing: Counter[str] = Counter()
        self._reading: dict[str, object] = {}

    def get(self, upload_id: str) -> UploadInfo | None:
        """Return a row if it is known here."""
        return self._rows.get(upload_id)

    def begin_read(self, upload_id: str) -> object:
        """Note that a row is being read from the database; the token is for `end_read`."""
        token = object()
        if upload_id not in self._changing:
            self._reading[upload_id] = token
        return token

    def end_read(self, upload_id: str, token: object, upload: UploadInfo | None) -> None:
        """Remember what was read, unless the row may have changed meanwhile."""
        if self._reading.get(upload_id) is token:
            del self._reading[upload_id]
            if upload is not None:
                self._remember(upload)

    def begin_change(self, upload_id: str) -> UploadInfo | None:
        """Forget a row whose change is asked for; return it."""
        self._changing[upload_id] += 1
        self._reading.pop(upload_id, None)
        return self._rows.pop(upload_id, None)

    def end_change(self, upload_id: str, upload: UploadInfo | None) -> None:
        """Note that a change is settled. `upload` is the row as it is now, None when that is not known."""
        self._changing[upload_id] -= 1
        if not self._changing[upload_id]:
            del self._changing[upload_id]
            if upload is not None:
                self._remember(upload)

    def clear(self) -> None:
        """Forget everything, also what is being read: many rows have changed."""
        self._rows.clear()
        self._reading.clear()

    def _remember(self, upload: UploadInfo) -> None:
        if len(upload.metadata) + len(upload.concat or "") > LONGEST_TEXT:
            return
        self._rows.pop(upload.id, None)
        self._rows[upload.id] = upload
        if len(self._rows) > self._most:
            self._rows.popitem(last=False)
