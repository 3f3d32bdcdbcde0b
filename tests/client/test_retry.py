"""When a transfer that failed is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tusd_py.client.retry import FIRST_BOUND, LONGEST_BOUND, Backoff

ALMOST = 0.999999


def waits(jitter: float, *, retry_for: float = 86400.0, retry_after: float | None = None) -> Iterator[float]:
    """Wait after each failure of a server that never comes back, until it is given up."""
    now = 1000.0
    backoff = Backoff(retry_for, now, jitter=lambda: jitter)
    while (wait := backoff.failed(now, retry_after)) is not None:
        yield wait
        now += wait


def test_doubles_up_to_half_a_minute() -> None:
    """The bound of a wait doubles from a fifth of a second to 30 s and stays there."""
    first = list(islice(waits(ALMOST), 10))

    assert pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0], rel=1e-3) == first
    assert (FIRST_BOUND, LONGEST_BOUND) == (0.2, 30.0)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_jitter_is_full(jitter: float, failures: int) -> None:
    """Clients that failed together come back spread over the whole wait."""
    backoff = Backoff(1e9, 0.0, jitter=lambda: jitter)
    for _ in range(failures):
        backoff.failed(0.0)

    assert backoff.failed(0.0) == min(FIRST_BOUND * 2.0 ** min(failures, 20), LONGEST_BOUND) * jitter
    assert backoff.attempt == failures + 1


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, 60.0), (0.5, 67.5), (ALMOST, 75.0)])
def test_what_the_server_asks_for(jitter: float, expected: float) -> None:
    """Retry-After is never undercut, and spread by up to a quarter."""
    assert pytest.approx(expected, rel=1e-3) == next(waits(jitter, retry_after=60.0))


def test_what_the_server_asks_for_is_no_reason_to_hurry() -> None:
    """A server that always says `Retry-After: 0` is not asked in a loop."""
    assert 30.0 == pytest.approx(
        max(next(found) for found in [waits(ALMOST, retry_after=0.0)] for _ in range(20)), 1e-3
    )


@pytest.mark.parametrize("retry_after", [None, 0.0, 7.0, 3600.0])
@pytest.mark.parametrize("jitter", [0.25, 0.5, ALMOST])
def test_the_last_attempt_is_at_the_very_end(jitter: float, retry_after: float | None) -> None:
    """The time allowed is used up to the last moment, not to the last wait that fits in; then it is enough."""
    assert 100.0 == pytest.approx(sum(waits(jitter, retry_for=100.0, retry_after=retry_after)))


def test_no_time_no_second_attempt() -> None:
    """`retry_for=0` gives up at the first failure."""
    assert [] == list(waits(0.5, retry_for=0.0))


def test_progress_begins_anew() -> None:
    """A transfer that goes forward now and then is never given up, and waits as at first."""
    backoff = Backoff(100.0, 0.0, jitter=lambda: ALMOST)
    for now in range(0, 1000, 99):
        assert backoff.failed(float(now)) is not None
        assert backoff.failed(float(now)) == pytest.approx(0.4, rel=1e-3)
        assert 2 == backoff.attempt
        backoff.progressed(float(now))
        assert 0 == backoff.attempt

    assert backoff.failed(990.0 + 100.0) is None


def test_draws_of_its_own() -> None:
    """Without a source of its own, chance is chance."""
    backoff = Backoff(1e9, 0.0)

    assert 1 < len({backoff.failed(0.0) for _ in range(20)})
