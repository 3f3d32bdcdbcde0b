"""What the sweeper removes, and what never: what is finished, used or pinned, or old by a clock that jumped (I13)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.engine.rooms import House, house
from tests.support.waiting import until
from tusd_py.engine.concat import pinned
from tusd_py.engine.expire import CLOCK_JUMP, ORPHAN_AGE, Sweeper
from tusd_py.errors import StoreError
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadKind

LIMITS = Limits(expire_after=60.0)


def sweeper_of(rooms: House, interval: float = 60.0) -> Sweeper:
    return Sweeper(rooms.engine._ctx, interval)


async def test_expired_are_removed() -> None:
    """What ran out of time is removed, row and data, in the order of any removal. (EXP-05, 3.1)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        old = await rooms.create(8, b"old", limits=LIMITS)
        rooms.clock.advance(30)
        young = await rooms.create(8, b"young", limits=LIMITS)
        rooms.clock.advance(31)
        rooms.diary.take()
        assert await sweeper.sweep() == 1
        assert rooms.diary.take() == ["mark_deleting durable", "remove durable", "delete"]
        assert list(rooms.info._uploads) == list(rooms.data._contents) == [young]
        assert old != young


async def test_finished_stay() -> None:
    """A finished upload never expires; a finished part of an unfinished file does. (I13, EXP-06, EXP-09)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        whole = await rooms.create(4, b"abcd", limits=LIMITS)
        await rooms.create(4, b"abcd", limits=LIMITS, kind=UploadKind.PARTIAL)
        rooms.clock.advance(3000)
        assert await sweeper.sweep() == 1
        assert list(rooms.info._uploads) == [whole]


async def test_used_stay() -> None:
    """What somebody holds is left alone, without waiting, and looked at again the next time. (I13)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        used, other = [await rooms.create(limits=LIMITS) for _ in range(2)]
        rooms.clock.advance(61)
        lock = await rooms.locker.acquire(used, timeout=0)
        assert await sweeper.sweep() == 1
        assert list(rooms.info._uploads) == [used]
        await lock.release()
        assert await sweeper.sweep() == 1
        assert other not in rooms.info._uploads


async def test_pinned_stay() -> None:
    """A part that is being copied into a final upload is not removed under it. (I13, CAT-20)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        part = await rooms.create(4, b"abcd", limits=LIMITS, kind=UploadKind.PARTIAL)
        rooms.clock.advance(61)
        async with pinned(rooms.engine._ctx, [part]):
            assert await sweeper.sweep() == 0
        assert await sweeper.sweep() == 1


async def test_many() -> None:
    """All that is expired goes in one sweep, whatever cannot go now among it. (EXP-05)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        for _ in range(1100):
            await rooms.create(limits=LIMITS)
        held = sorted(rooms.info._uploads)[:600]
        for upload_id in held:
            await rooms.locker.acquire(upload_id, timeout=0)
        rooms.clock.advance(61)
        assert await sweeper.sweep() == 500
        assert sorted(rooms.info._uploads) == held


Move = Callable[[House], None]


@pytest.mark.parametrize("seconds", [7200, -7200, 86400 * 365], ids=["forward", "back", "a year"])
async def test_clock_jump(seconds: float) -> None:
    """When the wall clock leaves the steady one, nothing is removed for an hour of steady time; then life goes on.

    (I13)
    """
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        upload_id = await rooms.create(limits=LIMITS)
        rooms.clock.jump(seconds)
        assert await sweeper.sweep() == 0
        rooms.clock.advance(CLOCK_JUMP - 1)
        assert await sweeper.sweep() == 0
        assert upload_id in rooms.info._uploads
        rooms.clock.advance(7200 + 61)
        assert await sweeper.sweep() == 1


async def test_clock_that_is_corrected_a_little() -> None:
    """A correction below an hour, and an ordinary long pause, are no reason to stop. (I13)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        await rooms.create(limits=LIMITS)
        rooms.clock.jump(600)
        assert await sweeper.sweep() == 1
        await rooms.create(limits=LIMITS)
        rooms.clock.advance(86400)
        assert await sweeper.sweep() == 1


async def test_orphans() -> None:
    """Data that no row knows is removed when it is a day old, and nothing else is. (3.1 Create)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        known = await rooms.fill(b"abcd")
        await rooms.data.create("orphan", durable=True)
        rooms.clock.advance(ORPHAN_AGE - 1)
        await rooms.data.create("young", durable=True)
        assert await sweeper.sweep_orphans() == 0
        rooms.clock.advance(2)
        assert await sweeper.sweep_orphans() == 1
        assert sorted(rooms.data._contents) == sorted([known, "young"])
        assert rooms.row(known).is_finished


async def test_orphans_stay_while_the_clock_looks_wrong() -> None:
    """A clock that jumped a week ahead makes no file old. (I13)"""
    async with house() as rooms:
        sweeper = sweeper_of(rooms)
        await rooms.data.create("fresh", durable=True)
        rooms.clock.jump(7 * 86400)
        await sweeper.sweep()
        assert await sweeper.sweep_orphans() == 0
        assert "fresh" in rooms.data._contents
        rooms.clock.advance(CLOCK_JUMP + 1)
        await sweeper.sweep()
        assert await sweeper.sweep_orphans() == 1


@pytest.mark.parametrize("error", [StoreError(), OSError("broken")], ids=["StoreError", "OSError"])
async def test_failing_sweep_is_tried_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """A sweep that fails is reported, and the next one does the work. (I15, EXP-05)"""
    async with house() as rooms:
        await rooms.create(limits=LIMITS)
        rooms.clock.advance(61)
        rooms.diary.at("mark_deleting", error)
        task = asyncio.create_task(sweeper_of(rooms, interval=0.001).run())

        async def is_gone() -> bool:
            return not rooms.info._uploads

        await until(is_gone)
        task.cancel()
        await asyncio.wait([task])
    assert [record.action for record in caplog.records if record.levelname == "ERROR"] == ["sweep_failed"]
