"""Jobs as text for people, and as records for their programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tusd_py.cli.text import date, printable, round_span, table
from tusd_py.models.job import Attempt, Job, JobState

_COLUMNS = ("JOB", "STATE", "ATTEMPT", "WHEN", "PRIORITY", "PROGRESS", "ERROR")
_LONGEST_ERROR = 60
"""Characters of an error in a table."""
_EXECUTING, _DUE, _WAITING, _ENDED = range(4)


def urgency(job: Job, now: float) -> tuple[int, int, float, str]:
    """Return what sorts jobs: what runs, what is due, what waits, and then what has ended, the latest first."""
    if job.ended_at is not None:
        return _ENDED, 0, -job.ended_at, job.key
    if job.state is JobState.EXECUTING:
        return _EXECUTING, 0, job.scheduled_at, job.key
    if job.scheduled_at <= now:
        return _DUE, -job.priority, job.scheduled_at, job.key
    return _WAITING, 0, job.scheduled_at, job.key


def listing(jobs: Sequence[Job], now: float) -> str:
    """Return a table."""
    return table(_COLUMNS, [_row(job, now) for job in jobs])


def record(job: Job) -> dict[str, Any]:
    """Return a job as JSON names it: its key, its fields, and its result as the value that it is."""
    fields: dict[str, Any] = msgspec.to_builtins(job)
    return {"key": job.key} | fields | {"result": None if job.result is None else msgspec.json.decode(job.result)}


def description(job: Job) -> str:
    """Return everything known of a job, in lines of names and values."""
    width = max(map(len, job.__struct_fields__))
    return "\n".join(f"{name.ljust(width)}  {printable(value)}".rstrip() for name, value in _described(job))


def _row(job: Job, now: float) -> tuple[str, ...]:
    first_line = job.error.partition("\n")[0]
    short = first_line if len(first_line) <= _LONGEST_ERROR else first_line[: _LONGEST_ERROR - 1] + "…"
    return (
        printable(job.key),
        job.state,
        str(job.attempt),
        _when(job, now),
        str(job.priority),
        _percent(job),
        printable(short),
    )


def _when(job: Job, now: float) -> str:
    if job.ended_at is not None:
        return f"{round_span(now - job.ended_at)} ago"
    if job.state is JobState.EXECUTING or job.scheduled_at <= now:
        return "now"
    return f"in {round_span(job.scheduled_at - now)}"


def _percent(job: Job) -> str:
    """Return how much is done; never 100% of what is not."""
    return "-" if job.progress is None else f"{int(job.progress * 100)}%"


def _described(job: Job) -> Iterator[tuple[str, str]]:
    yield "key", job.key
    yield "state", job.state
    yield "attempt", str(job.attempt)
    yield "priority", str(job.priority)
    yield "progress", _percent(job)
    yield "created_at", date(job.created_at)
    yield "scheduled_at", date(job.scheduled_at)
    yield "ended_at", "-" if job.ended_at is None else date(job.ended_at)
    yield from _lines("error", job.error)
    yield from _lines("output", job.output)
    yield "result", job.result or "-"
    yield from _lines("history", "\n".join(map(_attempt, job.history)))
    yield "event", msgspec.json.encode(job.event).decode()


def _attempt(attempt: Attempt) -> str:
    error = " ".join(attempt.error.split()) or "succeeded"
    return f"{attempt.number}: {date(attempt.began_at)}, {round_span(attempt.ended_at - attempt.began_at)}, {error}"


def _lines(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield a line for each of a text's, of which the first has the name."""
    for line in text.rstrip("\n").split("\n"):
        yield name, line or "-"
        name = ""
