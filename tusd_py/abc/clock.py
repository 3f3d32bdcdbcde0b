"""Time, as everybody asks for it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, injected so that tests can move it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""
