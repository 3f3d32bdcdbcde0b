"""Hooks that are functions."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from tests.hooks.events import event
from tusd_py.errors import HookFailed
from tusd_py.hooks.function import THREADS, FunctionHandler
from tusd_py.models.hook import HookEvent, HookReply, Moment

REPLY = HookReply(refuses=True, status=418)


def handler(function: Any, **options: Any) -> FunctionHandler:
    return FunctionHandler("mine", function, moments=[Moment.PRE_CREATE], **options)


async def ask(function: Any, **options: Any) -> HookReply:
    return await handler(function, **options).handle(event(Moment.PRE_CREATE), key="k")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Threads that wait for it go on at the end of the test at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


def sync_reply(told: HookEvent) -> HookReply:
    assert threading.current_thread() is not threading.main_thread()
    assert Moment.PRE_CREATE is told.moment
    return REPLY


async def async_reply(told: HookEvent) -> HookReply:
    assert threading.current_thread() is threading.main_thread()
    assert Moment.PRE_CREATE is told.moment
    return REPLY


class Callable:
    async def __call__(self, told: HookEvent) -> HookReply:
        return await async_reply(told)


@pytest.mark.parametrize(
    "function",
    [
        sync_reply,
        async_reply,
        functools.partial(async_reply),
        Callable(),
        Callable().__call__,
        lambda told: async_reply(told),  # noqa: PLW0108 - not a coroutine function, but returns a coroutine
    ],
    ids=["sync", "async", "partial", "object", "method", "lambda"],
)
async def test_function_is_called_and_answers(function: Any) -> None:
    """A blocking one on a thread, a coroutine function on the loop, in whatever shape it comes."""
    assert await ask(function) == REPLY


async def test_none_wants_nothing() -> None:
    """A function need not answer."""
    assert HookReply() == await ask(lambda _: None)


async def test_context_reaches_the_thread() -> None:
    """Context variables of the request, tracing say, are there."""
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("here")
    assert HookReply(body="here") == await ask(lambda _: HookReply(body=variable.get()))


def test_handler_serves_its_moments_and_its_uploads() -> None:
    """Both count; the condition is not asked at other moments."""
    mine = handler(lambda _: None, wants=lambda told: told.upload.length == 11)
    assert mine.heeds(Moment.PRE_CREATE)
    assert not mine.heeds(Moment.POST_CREATE)
    assert mine.wants(event(Moment.PRE_CREATE))
    assert not mine.wants(event(Moment.PRE_CREATE, length=12))
    assert not mine.wants(event(Moment.POST_CREATE))


def fails(_: HookEvent) -> HookReply:
    raise StopIteration("no more")


async def fails_async(_: HookEvent) -> HookReply:
    raise TimeoutError("of its own")


@pytest.mark.parametrize(("function", "said"), [(fails, "StopIteration"), (fails_async, "TimeoutError: of its own")])
async def test_exception_is_a_failure(function: Any, said: str) -> None:
    """Also those with a meaning of their own to coroutines; a failed hook agreed to nothing."""
    with pytest.raises(HookFailed, match=said):
        await ask(function)


@pytest.mark.parametrize(
    "reply",
    [True, {}, HookReply(upload_id="../../etc/cron.d/x"), HookReply(body=b"bytes")],
    ids=repr,  # type: ignore[arg-type]
)
async def test_reply_is_checked(reply: Any) -> None:
    """Row 22: the same rules as for every other transport."""
    with pytest.raises(HookFailed):
        await ask(lambda _: reply)


async def test_a_coroutine_that_takes_too_long_is_cancelled() -> None:
    """The deadline ends it."""
    cancelled = asyncio.Event()

    async def hangs(_: HookEvent) -> HookReply:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        raise AssertionError

    with pytest.raises(HookFailed, match=r"longer than 0\.01 s"):
        await ask(hangs, timeout=0.01)
    assert cancelled.is_set()


async def test_a_function_that_takes_too_long_is_not_waited_for(gate: threading.Event) -> None:
    """Its thread cannot be ended, but the request goes on; what it says later is lost."""
    with pytest.raises(HookFailed, match="longer than"):
        await ask(lambda _: gate.wait() and REPLY, timeout=0.01)


async def test_hanging_functions_take_a_bounded_number_of_threads(gate: threading.Event) -> None:
    """Waiting for a thread counts against the deadline; when a thread is free again, so is the place."""
    mine = handler(lambda _: gate.wait() and REPLY, timeout=0.05)
    before = threading.active_count()
    told = event(Moment.PRE_CREATE)
    calls = [mine.handle(told, key="k") for _ in range(3 * THREADS)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, HookFailed) for result in results)
    assert THREADS >= threading.active_count() - before
    gate.set()
    again = handler(mine._function)
    again._places = mine._places
    assert await again.handle(told, key="k") == REPLY


@pytest.mark.parametrize("blocks", [True, False])
async def test_cancelling_passes(blocks: bool, gate: threading.Event) -> None:
    """Whoever cancels the call is not told that the hook failed."""
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hangs(_: HookEvent) -> HookReply:
        loop.call_soon_threadsafe(began.set)
        gate.wait()
        return REPLY

    async def hangs_async(_: HookEvent) -> HookReply:
        began.set()
        await loop.create_future()
        raise AssertionError

    call = asyncio.create_task(ask(hangs if blocks else hangs_async))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


def test_a_function_that_hangs_for_ever_does_not_keep_the_process() -> None:
    """The interpreter ends without its thread."""
    script = """
        import asyncio, threading
        from tusd_py.errors import HookFailed
        from tusd_py.hooks.function import FunctionHandler
        from tusd_py.models.hook import HookEvent, Moment
        from tusd_py.models.upload import UploadInfo

        async def main():
            hangs = lambda event: threading.Event().wait()
            handler = FunctionHandler("mine", hangs, moments=list(Moment), timeout=0.01)
            try:
                await handler.handle(HookEvent(moment=Moment.PRE_CREATE, upload=UploadInfo(id="a")), key="k")
            except HookFailed:
                print("failed")

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (0, "failed\n", "") == (done.returncode, done.stdout, done.stderr)
