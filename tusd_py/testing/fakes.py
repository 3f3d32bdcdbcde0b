"""Stand-ins for what tests must control."""

from __future__ import annotations

from tusd_py.abc import Clock


class FakeClock(Clock):
    """Time that stands still until it is moved."""

    def __init__(self, now: float = 1_700_000_000.0, monotonic: float = 1000.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> float:
        """Return the seconds since the Unix epoch that were set."""
        return self._now

    def monotonic(self) -> float:
        """Return the steady seconds that were set."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back, as an operator does; the steady one does not notice."""
        self._now += seconds
