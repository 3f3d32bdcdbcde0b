"""A finished upload, as an application's job sees it."""

from __future__ import annotations

from pathlib import Path

import msgspec


class FinishedUpload(msgspec.Struct, frozen=True, kw_only=True):
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
