"""Locks for one process: a queue of waiters per upload, with take-over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tusd_py.abc import Lock, Locker
from tusd_py.errors import UploadLocked

Interrupt = Callable[[], None]


class _Line:
    """Everybody who has, or wants, one upload: the holder's wish to be told, and the waiters in order."""

    __slots__ = ("interrupt", "waiters")

    def __init__(self, interrupt: Interrupt | None) -> None:
        self.interrupt = interrupt
        self.waiters: deque[_Waiter] = deque()

    def ask_holder(self) -> None:
        """Ask the holder to stop, once."""
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()


class _Waiter:
    __slots__ = ("granted", "interrupt", "take_over")

    def __init__(self, granted: asyncio.Future[Lock], take_over: bool, interrupt: Interrupt | None) -> None:
        self.granted = granted
        self.take_over = take_over
        self.interrupt = interrupt


class MemoryLock(Lock):
    """A lock that lives as long as the process."""

    __slots__ = ("_locker", "_upload_id")

    def __init__(self, locker: MemoryLocker, upload_id: str) -> None:
        self._locker: MemoryLocker | None = locker
        self._upload_id = upload_id

    async def release(self) -> None:
        """Give the lock to the next waiter. Never suspends, so it cannot be cancelled half-way."""
        self.pass_on()

    def pass_on(self) -> None:
        """As `release`, for callers that cannot await."""
        locker, self._locker = self._locker, None
        if locker is not None:
            locker._pass_on(self._upload_id)


class MemoryLocker(Locker):
    """Locks of one process. The operating system frees them with the process, so a kill leaves none behind."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    async def acquire(
        self,
        upload_id: str,
        *,
        timeout: float,
        take_over: bool = False,
        interrupt: Interrupt | None = None,
    ) -> Lock:
        """Wait for the lock of an upload; see `tusd_py.abc.Locker.acquire`."""
        line = self._lines.get(upload_id)
        if line is None:
            self._lines[upload_id] = _Line(interrupt)
            return MemoryLock(self, upload_id)
        if take_over:
            line.ask_holder()
        if timeout <= 0:
            raise UploadLocked
        waiter = _Waiter(asyncio.get_running_loop().create_future(), take_over, interrupt)
        line.waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter.granted
        except BaseException as error:
            self._give_up(line, waiter)
            if isinstance(error, TimeoutError):
                raise UploadLocked from None
            raise

    def _give_up(self, line: _Line, waiter: _Waiter) -> None:
        granted = waiter.granted
        if granted.done() and not granted.cancelled():
            # The lock came in the very moment in which the wait ended: hand it on.
            lock = granted.result()
            assert isinstance(lock, MemoryLock)
            lock.pass_on()
        elif waiter in line.waiters:
            line.waiters.remove(waiter)

    def _pass_on(self, upload_id: str) -> None:
        line = self._lines[upload_id]
        while line.waiters:
            waiter = line.waiters.popleft()
            if waiter.granted.done():
                continue
            line.interrupt = waiter.interrupt
            waiter.granted.set_result(MemoryLock(self, upload_id))
            if any(other.take_over for other in line.waiters):
                # Somebody behind wants to take over from whoever holds: the newest request wins.
                line.ask_holder()
            return
        del self._lines[upload_id]
