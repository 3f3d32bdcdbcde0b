"""The threads on which a store waits for its disk.

An executor as the standard library has one, with a cheaper way in for an event loop: all that finished since the loop
looked last wakes it once, where `run_in_executor` wakes it for each; and short calls share a trip to a thread. What a
trip costs is not the call, but threads that take the interpreter from each other around every system call.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

SHARED = 32
"""Most short calls that share a trip: where the disk is slow, each may have to wait for all of them."""

_Work = Callable[[], None]
_Call = tuple["asyncio.Future[Any] | None", Callable[..., Any], tuple[object, ...]]


def _nothing() -> None:
    """Be a trip of its own."""


_END_OF_TRIP: _Call = (None, _nothing, ())


class DiskThreads(Executor):
    """At most so many threads, begun when they are needed. `run` is for one event loop only."""

    def __init__(self, count: int, *, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle: deque[None] = deque()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[asyncio.Future[Any] | None, Any, BaseException | None]] = deque()
        self._waking = False
        self._short: list[_Call] = []
        """Short calls that wait for the others of this turn of the loop."""
        self._trips = 0
        """Trips for short calls that are under way."""

    def run(self, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Call a blocking function on a thread. Cancelling does not stop it once it has begun."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(lambda: self._do([(future, func, args)]))
        return future

    def run_short(self, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """As `run`, for what takes microseconds unless the disk is slow: one call may have to wait for another.

        While some are under way, those of one turn of the event loop share a trip, at most `SHARED` of them.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._trips:
            self._travel([(future, func, args)])
        else:
            if not self._short:
                self._loop.call_soon(self._travel_together)
            self._short.append((future, func, args))
        return future

    def later(self, func: Callable[..., object], *args: object) -> None:
        """Call a blocking function on a thread some time; nobody hears what becomes of it."""

        def work() -> None:
            with suppress(OSError):
                func(*args)

        self._put(work)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call a blocking function on a thread, as every executor does."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - whoever waits is to have it
                future.set_exception(error)

        self._put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when everything that was asked for is done. Safe to call twice."""
        del cancel_futures  # a store wants everything done
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        threads, self._threads = self._threads, []
        if wait:
            for thread in threads:
                thread.join()

    def _travel_together(self) -> None:
        calls, self._short = self._short, []
        for start in range(0, len(calls), SHARED):
            self._travel(calls[start : start + SHARED])

    def _travel(self, calls: Sequence[_Call]) -> None:
        self._put(lambda: self._do([*calls, _END_OF_TRIP]))
        self._trips += 1

    def _do(self, calls: Sequence[_Call]) -> None:
        for future, func, args in calls:
            if future is not None and future.cancelled():
                continue
            try:
                self._done.append((future, func(*args), None))
            except BaseException as error:  # noqa: BLE001 - whoever waits is to have it
                self._done.append((future, None, error))
        # Whoever finds the loop not woken yet wakes it: for everything that is done by the time it looks.
        if not self._waking:
            self._waking = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer)

    def _put(self, work: _Work) -> None:
        if self._closed:
            raise RuntimeError("The store was closed")
        self._queue.put(work)
        try:
            self._idle.pop()
        except IndexError:
            self._grow()

    def _grow(self) -> None:
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            del work
            self._idle.append(None)

    def _answer(self) -> None:
        # Before the look at what is done: what comes later wakes the loop again.
        self._waking = False
        while self._done:
            future, result, error = self._done.popleft()
            if future is None:
                self._trips -= 1
            elif future.done():
                continue
            elif error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


async def to_the_end(work: Awaitable[object]) -> None:
    """Await something that must not be left half-way; a cancellation counts only afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()
