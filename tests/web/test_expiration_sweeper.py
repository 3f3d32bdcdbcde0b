"""The sweeper: what makes it wait, what it tries again, and what it finishes for others (reliability I12, I13)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Client
from tests.support.timed import NEVER, STORES, Timed, name_of, timed
from tests.support.waiting import until
from tusd_py.engine.expire import Sweeper

PERIOD = 3600.0
DAY = 86400.0


@pytest.fixture(params=STORES)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Timed]:
    """A server whose time stands still, with uploads that live for an hour."""
    async with timed(request.param, tmp_path, expire_after=PERIOD) as house:
        yield house


@pytest.fixture
def guest(session: aiohttp.ClientSession, house: Timed) -> Client:
    """A client of that server."""
    return Client(session, house.url)


@pytest.mark.parametrize("jump", [8 * DAY, -8 * DAY, 3601.0])
async def test_a_jumping_clock_removes_nothing(house: Timed, guest: Client, jump: float) -> None:
    """After the wall clock jumped nothing is removed for an hour of steady time; then the sweep goes on (I13)."""
    url = await guest.create(10)
    await guest.patch(url, 0, b"x")
    house.clock.jump(jump)
    assert await house.sweeper.sweep() == 0
    house.clock.advance(3599)
    house.clock.jump(PERIOD)
    assert await house.sweeper.sweep() == 0
    assert await house.stored() == {name_of(url)}
    house.clock.advance(abs(jump) + 2 * PERIOD)
    house.clock.advance(16 * DAY)
    assert await house.sweeper.sweep() == 1
    assert await house.stored() == set()


async def test_a_clock_that_jumps_back_in_time_brings_uploads_back(house: Timed, guest: Client) -> None:
    """Once the clock was set right again, uploads that only seemed expired go on (I13)."""
    url = await guest.create(10)
    house.clock.jump(8 * DAY)
    assert await house.sweeper.sweep() == 0
    assert (await guest.head(url)).status == 410
    house.clock.jump(-8 * DAY)
    assert await house.sweeper.sweep() == 0
    assert (await guest.patch(url, 0, b"x")).offset == 1


async def test_a_small_correction_of_the_clock_is_no_jump(house: Timed, guest: Client) -> None:
    """What NTP does to a clock keeps nothing from being swept (I13)."""
    await guest.create(10)
    house.clock.jump(30)
    house.clock.advance(PERIOD)
    assert await house.sweeper.sweep() == 1


async def test_a_failing_sweep_is_tried_again(house: Timed, guest: Client) -> None:
    """A disk error ends neither the sweeper nor its work: the next round removes what was left (EXP-05)."""
    await guest.create(10)
    house.clock.advance(PERIOD)
    house.data.removing.error = OSError(5, "Input/output error")
    running = asyncio.create_task(Sweeper(house.engine._ctx, 0.01).run())
    try:
        await until(lambda: _is_empty(house))
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()


async def test_a_failed_delete_is_finished_later(house: Timed, guest: Client) -> None:
    """When the data cannot be removed DELETE says so, the upload is unknown, and the next round goes on (I12)."""
    url = await guest.upload(b"hello")
    house.data.removing.error = OSError(5, "Input/output error")
    assert (await guest.delete(url)).status == 500
    assert {answer.status for answer in (await guest.head(url), await guest.get(url), await guest.delete(url))} == {404}
    assert await house.stored() == {name_of(url)}
    assert await house.sweeper.finish_removals() == 1
    assert await house.stored() == await house.rows() == set()


async def test_orphaned_data_is_removed_after_a_day(house: Timed, guest: Client) -> None:
    """Data that no row owns, left by a crash, is removed when it is old; that of uploads stays (I12)."""
    url = await guest.upload(b"hello")
    await house.data.create("f" * 32, durable=False)
    orphans = Sweeper(house.engine._ctx, NEVER)
    # Files have the time of the real world.
    house.clock.jump(time.time() - house.clock.now())
    assert await orphans.sweep_orphans() == 0
    house.clock.jump(1000 * DAY)
    assert await orphans.sweep_orphans() == 1
    assert await house.stored() == {name_of(url)}
    assert (await guest.get(url)).body == b"hello"


async def _is_empty(house: Timed) -> bool:
    return not await house.stored() and not await house.rows()
