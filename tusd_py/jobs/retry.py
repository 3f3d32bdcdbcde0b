"""When a failed job is tried again: a pure decision."""

from __future__ import annotations

RETRIES = 50
"""Attempts after the first one, unless a task says otherwise: they spread over 39 to 49 hours.

Twelve waits double from a second to 34 minutes and make 68 minutes together, 38 are of an hour; each up to a quarter
longer.
"""
FIRST_DELAY = 1.0
"""Seconds before the second attempt."""
LONGEST_DELAY = 3600.0
"""Seconds between two attempts at most, before they are spread."""


def delay_after(attempt: int, jitter: float) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1) failed.

    Doubles each time up to an hour; `jitter` in [0, 1) spreads jobs that failed together by up to a quarter.
    """
    delay = min(FIRST_DELAY * 2.0 ** min(attempt - 1, 20), LONGEST_DELAY)
    return delay * (1.0 + jitter / 4.0)
