"""A finished upload, as an application's job sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


def _tell_nobody(_: float) -> None:
    """Be the listener of an upload that is not given to a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedUpload:
    """What a job needs to know of an upload whose every byte arrived."""

    id: str
    length: int
    """Bytes."""
    metadata: dict[str, str]
    """The client's metadata, decoded. Not trustworthy: a filename may hold anything."""
    path: Path | None
    """Where the data is, to be read only; None when the store is not a file system."""
    created_at: float
    """Seconds since the Unix epoch."""
    finished_at: float
    """Seconds since the Unix epoch."""
    attempt: int = 1
    """1, and one more for every attempt that began before: it failed, or ended with its process."""
    idempotency_key: str = ""
    """Names this job: the same on every attempt, also after a restart; different for every other job and upload."""
    _report: Callable[[float], None] = field(default=_tell_nobody, repr=False, compare=False)

    def report(self, fraction: float) -> None:
        """Say how much of the work is done, from 0 to 1; what is beyond counts as the nearer of them.

        Call it as often as you like, also from another thread: it is stored about once a second. Outside a job it does
        nothing.
        """
        self._report(fraction)
