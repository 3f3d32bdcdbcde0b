"""What becomes of a job: pure steps from one state to the next."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from tusd_py.errors import DataLost, HookFailed
from tusd_py.jobs.retry import delay_after
from tusd_py.models.job import HISTORY, Attempt, Job, JobState

LARGEST_RESULT = 64 * 1024
"""Bytes of JSON."""
LONGEST_ERROR = 1000
"""Characters of an error that are stored."""
LONGEST_OUTPUT = 4096
"""Characters at the end of a command's output that are stored."""
LEASE_MARGIN = 60.0
"""Seconds that an attempt may need beyond its deadline to come to an end."""


class JobStateError(Exception):
    """A job cannot be retried or cancelled where it stands; the message is a sentence for a person."""


class AttemptFailed(Exception):
    """An attempt broke a rule of ours; the message says which."""


SPEAKING = (AttemptFailed, DataLost, HookFailed)
"""Failures whose message says everything: neither a type nor a traceback would add to it."""


def begun(job: Job, now: float, timeout: float) -> Job:
    """Return a job whose next attempt begins."""
    return replace(
        job,
        state=JobState.EXECUTING,
        attempt=job.attempt + 1,
        scheduled_at=now + timeout + LEASE_MARGIN,
        ended_at=None,
        progress=None,
    )


def completed(job: Job, began_at: float, now: float, result: str | None) -> Job:
    """Return a job whose attempt succeeded."""
    return replace(
        job,
        state=JobState.COMPLETED,
        ended_at=now,
        error="",
        output="",
        result=result,
        history=_history(job, began_at, now, ""),
    )


def failed(job: Job, began_at: float, now: float, error: Exception, *, retries: int, jitter: float) -> Job:
    """Return a job whose attempt failed: retryable, or discarded when that was the last one."""
    message = describe(error)
    output = getattr(error, "output", "")
    job = replace(
        job,
        error=message,
        output=_storable(output)[-LONGEST_OUTPUT:] if isinstance(output, str) else "",
        history=_history(job, began_at, now, message),
    )
    if job.attempt > retries:
        return replace(job, state=JobState.DISCARDED, ended_at=now)
    return replace(job, state=JobState.RETRYABLE, scheduled_at=now + delay_after(job.attempt, jitter))


def cancelled(job: Job, now: float, why: str) -> Job:
    """Return a job that is not to be done any more. Raises `JobStateError` when it has ended."""
    if job.state.is_end:
        raise JobStateError(f"The job {job.key} is {job.state} and cannot be cancelled")
    return replace(job, state=JobState.CANCELLED, ended_at=now, error=why)


def interrupted(job: Job, began_at: float, now: float, why: str) -> Job:
    """Return a job that was cancelled in the middle of an attempt."""
    return replace(cancelled(job, now, why), history=_history(job, began_at, now, why))


def retried(job: Job, now: float) -> Job:
    """Return a job that begins anew, whatever became of it. Raises `JobStateError` while it is executing."""
    if job.state is JobState.EXECUTING:
        raise JobStateError(f"The job {job.key} is executing and cannot be retried")
    return replace(
        job, state=JobState.AVAILABLE, attempt=0, scheduled_at=now, ended_at=None, progress=None, result=None
    )


def set_aside(job: Job, until: float) -> Job:
    """Return a job that nobody here can do, to be looked at again later."""
    error = f"no task named {job.task!r} is registered"
    return replace(job, state=JobState.AVAILABLE, scheduled_at=until, error=error)


def describe(error: Exception) -> str:
    """Return what is stored of an exception."""
    message = str(error) if isinstance(error, SPEAKING) else f"{type(error).__name__}: {error}"
    return _storable(message)[:LONGEST_ERROR]


def encode_result(result: object) -> str | None:
    """Return what a task returned as it is stored. Raises `AttemptFailed`: it cannot be."""
    if result is None:
        return None
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise AttemptFailed(f"the task's result cannot be stored as JSON: {error}") from error
    if len(encoded) > LARGEST_RESULT:
        raise AttemptFailed(f"the task's result has {len(encoded)} bytes as JSON, at most {LARGEST_RESULT} are stored")
    return encoded.decode()


def _storable(text: str) -> str:
    """Return text without what databases cut it at or refuse: NUL, and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _history(job: Job, began_at: float, now: float, error: str) -> tuple[Attempt, ...]:
    latest = Attempt(number=job.attempt, began_at=began_at, ended_at=now, error=error)
    return (*job.history, latest)[-HISTORY:]
