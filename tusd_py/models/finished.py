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
    """1, and one more for every attempt that failed; one that was killed with its process is not counted."""
    idempotency_key: str = ""
    """The same on every attempt of this job, different for every other job and upload."""
