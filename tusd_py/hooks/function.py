"""Hooks that are Python functions of the application."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from contextvars import copy_context

from tusd_py.errors import HookFailed
from tusd_py.hooks.delivery import SelectiveHandler
from tusd_py.hooks.payload import checked
from tusd_py.models.hook import HookEvent, HookReply, Moment

THREADS = 4
"""Calls of one blocking function at the same time; further ones wait."""
LONGEST_REASON = 300
"""Characters of what an exception says that are kept."""

Result = HookReply | Awaitable[HookReply | None] | None
Function = Callable[[HookEvent], Result]


class FunctionHandler(SelectiveHandler):
    """Calls a function with every event: a coroutine function on the event loop, any other on a thread.

    The deadline ends a coroutine. A thread cannot be ended: its answer is no longer waited for, it keeps one of
    `THREADS` places until it returns, and it does not keep the process from ending.

    Args:
        function: returns a reply, or None when it wants nothing.
        timeout: seconds, with the time that a call waits for a thread.
    """

    def __init__(
        self,
        name: str,
        function: Function,
        *,
        moments: Collection[Moment],
        wants: Callable[[HookEvent], bool] = lambda _: True,
        timeout: float = 15.0,
    ) -> None:
        super().__init__(name, moments=moments, wants=wants)
        self._function = function
        self._timeout = timeout
        # The second is for an object whose `__call__` is a coroutine function.
        self._blocks = not any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))
        self._places = asyncio.Semaphore(THREADS)

    async def handle(self, event: HookEvent, *, key: str, attempt: int = 1) -> HookReply:
        """Call the function. Raises `HookFailed` when it raises, takes too long or returns something else."""
        del key, attempt  # the function sees the event, whose id says as much
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                reply = await self._call(event)
        except HookFailed:
            raise
        except Exception as error:
            if deadline.expired():
                raise HookFailed(f"the function took longer than {self._timeout:g} s") from error
            raise HookFailed(f"{type(error).__name__}: {error}"[:LONGEST_REASON]) from error
        if reply is None:
            return HookReply()
        if not isinstance(reply, HookReply):
            raise HookFailed(f"the function returned a {type(reply).__name__}, not a HookReply or None")
        return checked(reply, event.moment)

    async def _call(self, event: HookEvent) -> HookReply | None:
        result = await self._on_thread(event) if self._blocks else self._function(event)
        # A function that is none of the two may still return a coroutine: `lambda event: check(event)`.
        return await result if isinstance(result, Awaitable) else result

    async def _on_thread(self, event: HookEvent) -> Result:
        """Call the function on a thread of its own.

        Not on those of an executor: the interpreter joins them at its end, and one may hang for ever.
        """
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Result, BaseException | None]] = loop.create_future()

        def ended(result: Result, error: BaseException | None) -> None:
            self._places.release()
            if not future.done():
                future.set_result((result, error))

        def work() -> None:
            result: Result = None
            error: BaseException | None = None
            try:
                result = self._function(event)
            except BaseException as raised:  # noqa: BLE001 - whoever waits is to have it
                error = raised
            # Nobody waits any more when the loop is closed.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended, result, error)

        try:
            threading.Thread(target=copy_context().run, args=(work,), name=f"tusd-py {self.name}", daemon=True).start()
        except BaseException:
            self._places.release()
            raise
        result, error = await future
        if error is not None:
            raise error
        return result
