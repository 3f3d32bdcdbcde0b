"""Judges the rows of jobs: they are made with the finish of an upload and stay behind when the work is done (I14)."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.faults.oracle.checker import Job, Violation


class Row(NamedTuple):
    """One job as it is stored."""

    upload: str
    task: str
    state: str
    attempt: int


def read_rows(data_dir: Path) -> list[Row]:
    """Return all jobs of a data directory."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        return [Row(*row) for row in db.execute("select upload_id, task, state, attempt from jobs order by 1, 2")]


def check_rows(
    finished: Collection[str], rows: Sequence[Row], noted: Sequence[Job], task: str, *, others: Collection[str] = ()
) -> list[Violation]:
    """Return what is wrong with the jobs of one task, where no power went and nobody removed anything.

    `noted` is every attempt as the task itself wrote it down, `others` are uploads that are there and not finished.
    """
    mine = {row.upload: row for row in rows if row.task == task}
    keys: dict[str, set[str]] = {}
    for job in noted:
        keys.setdefault(job.upload, set()).add(job.event_id)
    found = [*_missing(finished, mine, keys, task), *_uncounted(mine, noted, task)]
    for upload, its in keys.items():
        if len(its) > 1:
            sentence = f"the job {task} ran under {len(its)} keys: {', '.join(sorted(its))}"
            found.append(Violation("job_twice", upload, sentence))
    early = [upload for upload in others if upload in mine or upload in keys]
    return found + [Violation("job_early", each, f"has a job {task}, but is not finished") for each in early]


def _missing(
    finished: Collection[str], rows: Mapping[str, Row], noted: Collection[str], task: str
) -> Iterator[Violation]:
    for upload in finished:
        if upload not in rows:
            yield Violation("job_missing", upload, f"finished, but has no job {task}")
        elif upload not in noted:
            yield Violation("job_missing", upload, f"its job {task} is {rows[upload].state}, but was never done")


def _uncounted(rows: Mapping[str, Row], noted: Sequence[Job], task: str) -> Iterator[Violation]:
    # A task that is not told the number of its attempt notes 0.
    times = Counter((job.upload, job.attempt) for job in noted if job.attempt)
    for (upload, attempt), count in times.items():
        if count > 1 or (upload in rows and attempt > rows[upload].attempt):
            yield Violation("job_twice", upload, f"attempt {attempt} of the job {task} was not counted when it began")
