"""The threads on which a store waits for its disk.

An executor as the standard library has one, with a cheaper way in for an event loop: all that finished since the loop
looked last wakes it once, where `run_in_executor` wakes it for each; and short calls share a trip to a thread, for
which the loop stands still a moment. What a trip costs is not the call, but threads that take the interpreter from each
other around every system call: while the loop waits, the thread has it for itself.
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
PATIENCE = 0.005
"""Seconds for which the event loop stands still at most while a thread does short calls ..."""
IMPATIENCE = 0.1
"""... and for which it never does after that was not enough: a disk that hangs must not hold up the loop."""

_Work = tuple[Callable[[], None], "threading.Lock | None"]
"""What a thread shall do, and what it releases then."""
_Call = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[object, ...]]


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
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._waking = False
        self._short: list[_Call] = []
        """Short calls that wait for the others of this turn of the loop."""
        self._patient_from = 0.0
        """When the loop may stand still again."""

    def run(self, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Call a blocking function on a thread. Cancelling does not stop it once it has begun."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(lambda: self._do([(future, func, args)]))
        return future

    def run_short(self, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """As `run`, for what takes microseconds unless the disk is slow: one call may have to wait for another.

        Those of one turn of the event loop share a trip, at most `SHARED` of them, and the loop waits for it, at most
        `PATIENCE` seconds.
        """
        if self._closed:
            raise RuntimeError("The store was closed")
        future: asyncio.Future[T] = self._loop.create_future()
        if not self._short:
            self._loop.call_soon(self._travel_together)
        self._short.append((future, func, args))
        return future

    async def run_now(self, func: Callable[..., T], *args: object) -> T:
        """As `run_short`, for what is many calls in one: it waits for no others, and the loop for it, if it can."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._travel([(future, func, args)])
        return await future

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
        if calls := self._short:
            self._short = []
            self._put(lambda: self._do(calls))
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        threads, self._threads = self._threads, []
        if wait:
            for thread in threads:
                thread.join()

    def _travel_together(self) -> None:
        calls, self._short = self._short[:SHARED], self._short[SHARED:]
        if not calls:
            return
        if self._short:
            self._loop.call_soon(self._travel_together)
        self._travel(calls)

    def _travel(self, calls: Sequence[_Call]) -> None:
        """Have a thread do short calls, and stand still for it unless the disk was slow a moment ago."""
        if self._loop.time() < self._patient_from or not self._has_idle():
            self._put(lambda: self._do(calls))
            return
        over = threading.Lock()
        over.acquire()
        # Nobody has to wake the loop, which looks for itself as soon as it goes on.
        self._waking = True
        self._put(lambda: self._do(calls), over)
        if not over.acquire(timeout=PATIENCE):
            self._patient_from = self._loop.time() + IMPATIENCE
        self._answer()

    def _do(self, calls: Sequence[_Call]) -> None:
        for future, func, args in calls:
            if future.cancelled():
                continue
            try:
                self._done.append((future, func(*args), None))
            except BaseException as error:  # noqa: BLE001 - whoever waits is to have it
                self._done.append((future, None, error))

    def _put(self, work: Callable[[], None], over: threading.Lock | None = None) -> None:
        if self._closed:
            raise RuntimeError("The store was closed")
        self._queue.put((work, over))
        try:
            self._idle.pop()
        except IndexError:
            self._grow()

    def _has_idle(self) -> bool:
        return bool(self._idle) or len(self._threads) < self._count

    def _grow(self) -> None:
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            work, over = item
            work()
            del item, work
            self._idle.append(None)
            if over is not None:
                over.release()
            # Whoever finds the loop not woken yet wakes it: for everything that is done by the time it looks.
            if self._done and not self._waking:
                self._waking = True
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        # Before the look at what is done: what comes later wakes the loop again.
        self._waking = False
        while self._done:
            future, result, error = self._done.popleft()
            if future.done():
                continue
            if error is None:
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
