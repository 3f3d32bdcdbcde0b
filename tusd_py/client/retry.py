"""When what failed is tried again: a pure decision."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_BOUND = 0.2
"""Seconds within which the second attempt begins."""
LONGEST_BOUND = 30.0
"""Seconds within which every later one begins, unless the server asks for more."""


class Backoff:
    """How long to wait after each failure, until nothing has gone forward for too long.

    Waits are drawn evenly from zero to a bound that doubles with each failure, so that clients that a server lost at
    once do not come back at once. Times are monotonic, in seconds.
    """

    def __init__(self, retry_for: float, now: float, *, jitter: Callable[[], float] = random.random) -> None:
        """Allow `retry_for` seconds without progress, from `now` on; `jitter` draws from [0, 1)."""
        self._retry_for = retry_for
        self._since = now
        self._jitter = jitter
        self.attempt = 0
        """Failures since something last went forward."""

    def failed(self, now: float, retry_after: float | None = None) -> float | None:
        """Note a failure. Return the seconds to wait before the next attempt, or None = it is enough.

        The wait is not shorter than `retry_after`, which the server asked for, and never goes beyond the time allowed:
        at its very end comes one last attempt.
        """
        left = self._since + self._retry_for - now
        self.attempt += 1
        if left <= 0:
            return None
        jitter = self._jitter()
        bound = min(FIRST_BOUND * 2.0 ** min(self.attempt - 1, 20), LONGEST_BOUND)
        # What was asked for is spread, too, by up to a quarter: all the clients of a server were told the same.
        return min(max(bound * jitter, (retry_after or 0.0) * (1.0 + jitter / 4.0)), left)

    def progressed(self, now: float) -> None:
        """Note that something went forward: the next failure is the first one again."""
        self._since = now
        self.attempt = 0
