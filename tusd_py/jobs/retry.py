"""When a failed job is tried again: a pure decision."""

from __future__ import annotations

FIRST_DELAY = 1.0
"""Seconds before the second attempt."""
LONGEST_DELAY = 3600.0
"""Seconds between two attempts at most."""


def delay_after(attempt: int, jitter: float) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1) failed.

    Doubles each time up to an hour; `jitter` in [0, 1) spreads jobs that failed together by up to a quarter.
    """
    delay = min(FIRST_DELAY * 2.0 ** min(attempt - 1, 20), LONGEST_DELAY)
    return delay * (1.0 + jitter / 4.0)
