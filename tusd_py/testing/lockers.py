"""What every locker must do. Subclass and give a `locker` fixture."""

from __future__ import annotations

import asyncio

import pytest

from tusd_py.abc import Locker
from tusd_py.errors import UploadLocked


class LockerTests:
    """The contract of `tusd_py.abc.Locker`."""

    async def test_excludes(self, locker: Locker) -> None:
        """Two cannot hold one upload at once; with no time to wait the second is refused (I10)."""
        lock = await locker.acquire("a", timeout=1)
        with pytest.raises(UploadLocked):
            await locker.acquire("a", timeout=0)
        await lock.release()

    async def test_is_per_upload(self, locker: Locker) -> None:
        """Different uploads do not wait for each other, nor for the making of one (CONC-13)."""
        locks = [await locker.acquire(name, timeout=0) for name in ("a", "b", "creation/a")]
        for lock in locks:
            await lock.release()

    async def test_can_be_taken_again(self, locker: Locker) -> None:
        """After release the upload is free at once, and releasing twice frees it once."""
        first = await locker.acquire("a", timeout=0)
        await first.release()
        second = await locker.acquire("a", timeout=0)
        await first.release()
        with pytest.raises(UploadLocked):
            await locker.acquire("a", timeout=0)
        await second.release()

    async def test_first_come_first_served(self, locker: Locker) -> None:
        """Waiters get the lock in the order in which they came."""
        order: list[int] = []
        held = await locker.acquire("a", timeout=1)

        async def wait(number: int) -> None:
            lock = await locker.acquire("a", timeout=5)
            order.append(number)
            await lock.release()

        waiters = []
        for number in range(3):
            waiters.append(asyncio.create_task(wait(number)))
            await asyncio.sleep(0)
        await held.release()
        await asyncio.gather(*waiters)
        assert order == [0, 1, 2]

    async def test_gives_up_in_time(self, locker: Locker) -> None:
        """A wait that is over is UploadLocked, and leaves no place in the queue behind (I11)."""
        held = await locker.acquire("a", timeout=1)
        with pytest.raises(UploadLocked):
            await locker.acquire("a", timeout=0.01)
        await held.release()
        await (await locker.acquire("a", timeout=0)).release()

    async def test_a_cancelled_waiter_leaves_no_trace(self, locker: Locker) -> None:
        """A waiter whose client went away is out of the queue; the next one gets the lock (CONC-12)."""
        held = await locker.acquire("a", timeout=1)
        gone = asyncio.create_task(locker.acquire("a", timeout=5))
        next_one = asyncio.create_task(locker.acquire("a", timeout=5))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await held.release()
        await (await next_one).release()

    async def test_a_lock_granted_to_a_cancelled_waiter_goes_on(self, locker: Locker) -> None:
        """A waiter cancelled in the moment of the grant hands the lock on instead of keeping it for ever."""
        held = await locker.acquire("a", timeout=1)
        gone = asyncio.create_task(locker.acquire("a", timeout=5))
        await asyncio.sleep(0)
        await held.release()
        gone.cancel()
        await asyncio.wait([gone])
        if not gone.cancelled():
            await gone.result().release()
        await (await locker.acquire("a", timeout=1)).release()

    async def test_take_over_asks_the_holder_once(self, locker: Locker) -> None:
        """Whoever takes over makes the holder be asked to stop, exactly once (CONC-02, CONC-04)."""
        asked: list[str] = []
        held = await locker.acquire("a", timeout=1, interrupt=lambda: asked.append("stop"))
        waiters = [asyncio.create_task(locker.acquire("a", timeout=5, take_over=True)) for _ in range(2)]
        await asyncio.sleep(0)
        assert asked == ["stop"]
        await held.release()
        for waiter in waiters:
            await (await waiter).release()

    async def test_waiting_without_take_over_does_not_disturb(self, locker: Locker) -> None:
        """An ordinary waiter leaves the holder alone."""
        asked: list[str] = []
        held = await locker.acquire("a", timeout=1, interrupt=lambda: asked.append("stop"))
        waiter = asyncio.create_task(locker.acquire("a", timeout=5))
        await asyncio.sleep(0)
        await held.release()
        await (await waiter).release()
        assert asked == []

    async def test_the_newest_take_over_wins(self, locker: Locker) -> None:
        """Whoever becomes the holder while somebody behind wants to take over is asked to stop at once."""
        asked: list[str] = []
        held = await locker.acquire("a", timeout=1)
        second = asyncio.create_task(
            locker.acquire("a", timeout=5, take_over=True, interrupt=lambda: asked.append("second"))
        )
        await asyncio.sleep(0)
        third = asyncio.create_task(
            locker.acquire("a", timeout=5, take_over=True, interrupt=lambda: asked.append("third"))
        )
        await asyncio.sleep(0)
        await held.release()
        await (await second).release()
        await (await third).release()
        assert asked == ["second"]
