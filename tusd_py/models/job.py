"""A durable piece of work that a finished upload owes to the application."""

from __future__ import annotations

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One task owed for one upload, written in the transaction that finishes the upload.

    `(upload_id, task)` is its idempotency key: the same on every attempt.
    """

    upload_id: str
    task: str
    """Name of the registered function that does the work."""
    attempt: int = 0
    """How many attempts have begun, whatever became of them."""
    scheduled_at: float = 0.0
    """Not before this time (seconds since the Unix epoch)."""
    error: str = ""
    """What went wrong at the last attempt."""
