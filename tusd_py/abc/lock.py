"""Who may change an upload."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable


class Lock(ABC):
    """The exclusive right to change one upload."""

    @abstractmethod
    async def release(self) -> None:
        """Give it back; the next waiter has it. Safe to call twice."""


class Locker(ABC):
    """Gives out locks, at most one per upload at a time."""

    @abstractmethod
    async def acquire(
        self,
        upload_id: str,
        *,
        timeout: float,
        take_over: bool = False,
        interrupt: Callable[[], None] | None = None,
    ) -> Lock:
        """Wait for the lock of an upload, first come, first served.

        Args:
            upload_id: may also be `creation/` and a key: the right to make the upload of that key.
            timeout: seconds to wait at most; 0 = take it now or not at all.
            take_over: ask whoever holds it, now or while we wait, to stop soon.
            interrupt: called on the event loop, once, when somebody asks this holder to stop.

        Raises:
            UploadLocked: the wait is over.

        Cancelling gives up the place in the queue.
        """
