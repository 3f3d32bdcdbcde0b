"""How fast the bytes of one body may come."""

from __future__ import annotations

BURST = 0.5
"""Seconds' worth of bytes that may be taken at once after a pause; no more is saved up."""


class Pace:
    """An allowance of bytes that grows with time. Owned by whoever takes the bytes, one at a time."""

    def __init__(self, rate: int) -> None:
        """Allow `rate` bytes a second, at least 1; half a second's worth may be taken at the beginning."""
        self._rate = rate
        self._most = max(1.0, rate * BURST)
        self._room = self._most
        self._at: float | None = None

    def room(self, now: float) -> int:
        """Return how many bytes may be taken now; `now` is a monotonic time in seconds."""
        if self._at is not None:
            self._room = min(self._most, self._room + (now - self._at) * self._rate)
        self._at = now
        return max(0, int(self._room))

    def spend(self, count: int) -> None:
        """Note that so many bytes were taken; more than there was room for is paid back by waiting longer."""
        self._room -= count

    def pause(self, now: float) -> float:
        """Return the seconds until there is room again; 0 = there is."""
        return 0.0 if self.room(now) else (1 - self._room) / self._rate
