"""The threads on which a store waits for its disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from tusd_py.stores.threads import SHARED, DiskThreads


@pytest.fixture
async def threads() -> AsyncIterator[DiskThreads]:
    threads = DiskThreads(3, name="test")
    yield threads
    await asyncio.to_thread(threads.shutdown)


async def test_results_and_errors(threads: DiskThreads) -> None:
    """Whoever asked has the result or the error of just what was asked, however many are under way."""
    results = await asyncio.gather(*(threads.run(divmod, n, n % 3) for n in range(300)), return_exceptions=True)
    for n, result in enumerate(results):
        if n % 3:
            assert result == divmod(n, n % 3)
        else:
            assert isinstance(result, ZeroDivisionError)


async def test_as_an_executor(threads: DiskThreads) -> None:
    """Libraries that want an executor of the standard library can have it."""
    assert await asyncio.get_running_loop().run_in_executor(threads, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await asyncio.get_running_loop().run_in_executor(threads, divmod, 7, 0)


async def test_as_many_threads_as_are_needed(threads: DiskThreads) -> None:
    """One caller after the other needs one thread; more than there may be have to wait (I11)."""
    for _ in range(20):
        await threads.run(threading.get_ident)
    assert len(threads._threads) <= 2
    together, entered = threading.Event(), threading.Semaphore(0)

    def meet() -> int:
        entered.release()
        assert together.wait(10)
        return threading.get_ident()

    meeting = [threads.run(meet) for _ in range(7)]
    for _ in range(3):
        assert await asyncio.to_thread(entered.acquire, timeout=10)
    assert not entered.acquire(blocking=False)
    together.set()
    assert len(set(await asyncio.gather(*meeting))) <= 3
    assert len(threads._threads) == 3


async def test_cancelled_before_it_began(threads: DiskThreads) -> None:
    """What was given up before a thread took it is not done; what had begun is (I10)."""
    go_on, begun, done = threading.Event(), threading.Semaphore(0), []

    def work(name: str) -> None:
        begun.release()
        assert go_on.wait(10)
        done.append(name)

    busy = [threads.run(work, name) for name in "abc"]
    waiting = threads.run(work, "late")
    for _ in range(3):
        assert await asyncio.to_thread(begun.acquire, timeout=10)
    busy[0].cancel()
    waiting.cancel()
    go_on.set()
    await asyncio.gather(*busy, return_exceptions=True)
    await asyncio.to_thread(threads.shutdown)
    assert sorted(done) == ["a", "b", "c"]


async def test_shutdown_does_what_was_asked_for(threads: DiskThreads) -> None:
    """Nothing that was asked for before is dropped at the end; later ones are refused (I17)."""
    done: list[int] = []
    for n in range(50):
        threads.later(done.append, n)
    await asyncio.to_thread(threads.shutdown)
    assert sorted(done) == list(range(50))
    with pytest.raises(RuntimeError, match="closed"):
        threads.later(done.append, 50)


async def test_later_says_nothing(threads: DiskThreads) -> None:
    """An error of what nobody waits for ends no thread."""

    def fail() -> None:
        raise OSError

    threads.later(fail)
    assert await threads.run(divmod, 7, 2) == (3, 1)


async def test_short_calls_share_a_trip(threads: DiskThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one turn of the loop are done by one thread, one after the other, up to a number (I11)."""
    trips: list[object] = []
    put = threads._put
    monkeypatch.setattr(threads, "_put", lambda *args: trips.append(args) or put(*args))
    order: list[int] = []
    await asyncio.gather(*(threads.run_short(order.append, n) for n in range(SHARED + 1)))
    assert order == list(range(SHARED + 1))
    assert len(trips) == 2


async def test_slow_trip_does_not_hold_up_the_loop(threads: DiskThreads) -> None:
    """The loop waits a moment for a trip; for one that takes longer it does not, nor for the next ones (I19)."""
    go_on, begun = threading.Event(), threading.Event()

    def first() -> int:
        begun.set()
        assert go_on.wait(10)
        return threading.get_ident()

    slow = threads.run_short(first)
    assert await asyncio.to_thread(begun.wait, 10)
    assert not slow.done()
    patience = threads._patient_from
    assert patience > 0
    others = await asyncio.gather(*(threads.run_short(threading.get_ident) for _ in range(SHARED + 1)))
    assert len(set(others[:SHARED])) == 1
    go_on.set()
    assert await slow not in others
    assert threads._patient_from == patience


async def test_quick_trip_needs_no_wake(threads: DiskThreads) -> None:
    """What a thread does in no time is answered before the loop looks at anything else."""
    order: list[str] = []
    short = threads.run_short(order.append, "call")
    short.add_done_callback(lambda _: order.append("answer"))
    await short
    assert order == ["call", "answer"]
    assert not threads._waking


async def test_shutdown_takes_short_calls_along(threads: DiskThreads) -> None:
    """Those that wait for their turn are done, too, and no later one (I17)."""
    done: list[int] = []
    last = threads.run_short(done.append, 1)
    threads.shutdown()
    await last
    assert done == [1]
    with pytest.raises(RuntimeError, match="closed"):
        threads.run_short(done.append, 2)


async def test_short_calls_are_on_their_own(threads: DiskThreads) -> None:
    """Of those that share a trip each has its own answer; one that is given up is not done, the others are (I10)."""

    def fail() -> None:
        raise ValueError

    done: list[int] = []
    calls = [threads.run_short(done.append, 0), threads.run_short(fail)]
    calls += [threads.run_short(done.append, n) for n in range(1, 4)]
    calls[3].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [
        type(None), ValueError, type(None), asyncio.CancelledError, type(None),
    ]  # fmt: skip
    assert done == [0, 1, 3]
    assert await threads.run_short(divmod, 7, 2) == (3, 1)


async def test_run_now(threads: DiskThreads) -> None:
    """What is done now is done by a thread before the loop goes on, unless that takes too long (I19)."""
    task = asyncio.ensure_future(threads.run_now(threading.get_ident))
    await asyncio.sleep(0)
    assert task.done()
    assert task.result() != threading.get_ident()
    go_on = threading.Event()
    slow = asyncio.ensure_future(threads.run_now(go_on.wait, 10))
    await asyncio.sleep(0)
    assert not slow.done()
    go_on.set()
    assert await slow
    with pytest.raises(ZeroDivisionError):
        await threads.run_now(divmod, 7, 0)
