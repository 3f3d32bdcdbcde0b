"""When a failed job is tried again."""

from __future__ import annotations

import pytest

from tusd_py.jobs.retry import FIRST_DELAY, LONGEST_DELAY, RETRIES, delay_after


@pytest.mark.parametrize(
    ("attempt", "delay"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (11, 1024.0), (12, 2048.0), (13, 3600.0), (14, 3600.0), (10**9, 3600.0)],
)
def test_doubles_up_to_an_hour(attempt: int, delay: float) -> None:
    """The wait doubles from a second to an hour and stays there, however often it failed (I14)."""
    assert delay_after(attempt, 0.0) == delay


@pytest.mark.parametrize("attempt", [1, 5, 100])
def test_jitter_adds_up_to_a_quarter(attempt: int) -> None:
    """Jobs that failed together come back spread over a quarter of the wait, never earlier (I14)."""
    bare = delay_after(attempt, 0.0)
    assert delay_after(attempt, 0.5) == bare * 1.125
    assert bare < delay_after(attempt, 0.999) < bare * 1.25


def test_bounds() -> None:
    """The documented bounds are those of the function (I14)."""
    assert delay_after(1, 0.0) == FIRST_DELAY
    assert delay_after(1000, 0.0) == LONGEST_DELAY


@pytest.mark.parametrize(("jitter", "hours"), [(0.0, 39), (1.0, 49)])
def test_all_waits_together(jitter: float, hours: int) -> None:
    """A job that always fails is given up after a day and a half to two days, as documented (I15)."""
    assert round(sum(delay_after(attempt, jitter) for attempt in range(1, RETRIES + 1)) / 3600) == hours
