"""What is judged of the rows of jobs: each way in which they can be wrong is found under its name."""

from __future__ import annotations

import pytest

from tests.faults.oracle.checker import Job
from tests.faults.oracle.rows import Row, check_rows

DONE = Row("u", "task", "completed", 2)
FIRST, SECOND = Job("u", "u:task", 1), Job("u", "u:task", 2)


def test_a_job_that_was_tried_again_is_fine() -> None:
    """Every attempt was counted, under one key; other tasks and uploads without jobs do not matter (I14)."""
    rows = [DONE, Row("other", "another task", "available", 0)]
    assert check_rows(["u"], rows, [FIRST, SECOND], "task", others=["open"]) == []
    # An attempt that its process did not live to note is no harm either.
    assert check_rows(["u"], [DONE], [SECOND], "task") == []


@pytest.mark.parametrize(
    ("rows", "noted", "kind"),
    [
        ([], [FIRST], "job_missing"),
        ([DONE], [], "job_missing"),
        ([Row("u", "task", "executing", 1)], [], "job_missing"),
        ([DONE], [FIRST, Job("u", "u:another", 2)], "job_twice"),
        ([DONE], [SECOND, SECOND], "job_twice"),
        ([DONE], [Job("u", "u:task", 3)], "job_twice"),
        ([DONE, Row("open", "task", "available", 0)], [FIRST], "job_early"),
        ([DONE], [FIRST, Job("open", "open:task", 1)], "job_early"),
    ],
)
def test_wrong(rows: list[Row], noted: list[Job], kind: str) -> None:
    """No row, a row without work, two keys, an attempt that was not counted, a job of what is not finished (I14)."""
    assert [each.kind for each in check_rows(["u"], rows, noted, "task", others=["open"])] == [kind]
