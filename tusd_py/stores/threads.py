"""The threads on which a store waits for its disk.

An executor as the standard library has one, with a cheaper way in for an event loop: all that finished since the loop
looked last wakes it once, where `run_in_executor` wakes it for each.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = Callable[[], None]


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

    def run(self, func: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Call a blocking function on a thread. Cancelling does not stop it once it has begun."""
        future: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                self._finish(future, func(*args), None)
            except BaseException as error:  # noqa: BLE001 - whoever waits is to have it
                self._finish(future, None, error)

        self._put(work)
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

    def _finish(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._done.append((future, result, error))
        # Whoever finds the loop not woken yet wakes it: for everything that is done by the time it looks.
        if not self._waking:
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
