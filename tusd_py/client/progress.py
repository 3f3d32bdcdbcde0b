"""How far a transfer is, told as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tusd_py.client.records import OnEvent, Progress

INTERVAL = 0.1
"""Seconds between two looks."""


@contextmanager
def telling(look: Callable[[], Progress], tell: OnEvent) -> Iterator[None]:
    """Tell how far it is, each time that has changed, until the block ends."""
    ticker = _Ticker(look, tell)
    ticker.begin()
    try:
        yield
    finally:
        ticker.end()


class _Ticker:
    """A timer, not a task: what `tell` raises is the event loop's to report, and ends no upload."""

    def __init__(self, look: Callable[[], Progress], tell: OnEvent) -> None:
        self._look = look
        self._tell = tell
        self._told: Progress | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._tick)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.begin()
        now = self._look()
        if now != self._told:
            self._told = now
            self._tell(now)
