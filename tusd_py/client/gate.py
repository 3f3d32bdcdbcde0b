"""Where a pause holds up what runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Paused(Exception):
    """What ran was cut short by a pause. It is begun again when the gate is open."""


class Gate:
    """Open, or closed by a pause. Used by one event loop."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._opened.set()
        self._passing: set[asyncio.Timeout] = set()

    @property
    def closed(self) -> bool:
        """Whether there is a pause."""
        return not self._opened.is_set()

    def close(self) -> None:
        """Begin a pause: what is passing is cut short."""
        self._opened.clear()
        while self._passing:
            self._passing.pop().reschedule(asyncio.get_running_loop().time())

    def open(self) -> None:
        """End the pause."""
        self._opened.set()

    async def opened(self) -> None:
        """Return when there is no pause."""
        await self._opened.wait()

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Run a block that a pause cuts short, as a cancellation would. Raises `Paused` then, or when there is one."""
        if self.closed:
            raise Paused
        # A deadline that nobody has set yet is the cancel scope of the standard library.
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._passing.add(scope)
                yield
        except TimeoutError:
            if scope.expired():
                raise Paused from None
            raise
        finally:
            self._passing.discard(scope)
