"""How fast bodies may go."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.wiring import hashing, of_bytes, patch_head, peer
from tusd_py.client.pace import SMALLEST_PIECE, Bucket, Meter
from tusd_py.client.records import Options
from tusd_py.client.wire import Wire


@pytest.mark.parametrize(("rate", "piece"), [(None, None), (10**6, 10**5), (1000, SMALLEST_PIECE), (1, SMALLEST_PIECE)])
def test_pieces(rate: int | None, piece: int | None) -> None:
    """A tenth of what may go in a second goes at once, so that it is even, and never so little that it is all heads."""
    assert Bucket(rate).piece == piece


async def turns(bucket: Bucket, *counts: int) -> list[int]:
    """Take all of these at once; return their places in the order in which they were granted."""
    order: list[int] = []

    async def take(place: int, count: int) -> None:
        await bucket.take(count)
        order.append(place)

    async with asyncio.TaskGroup() as group:
        for place, count in enumerate(counts):
            group.create_task(take(place, count))
    return order


async def test_one_rate_for_all() -> None:
    """Whoever takes waits for those before, in the order of asking, and all of them get no more than the rate."""
    loop = asyncio.get_running_loop()
    bucket, began = Bucket(10_000), loop.time()
    assert await turns(bucket, 1000, 10, 1000, 500, 0) == [0, 1, 2, 3, 4]
    assert loop.time() - began >= 0.25


async def test_no_limit() -> None:
    assert await turns(Bucket(None), 10**12, 10**12) == [0, 1]


async def test_what_is_not_used_is_not_saved() -> None:
    """After a pause it goes on at the rate, not in a flood."""
    loop, ahead = asyncio.get_running_loop(), 0.0
    bucket = Bucket(10_000, clock=lambda: loop.time() + ahead)
    await bucket.take(100)
    ahead = 3600.0
    began = loop.time()
    await turns(bucket, 1000, 1000, 0)
    assert loop.time() - began >= 0.2


async def test_what_was_given_up_is_for_others() -> None:
    """Who is cancelled while it waits takes nothing."""
    bucket = Bucket(1000)
    await bucket.take(10)
    waiting = asyncio.create_task(bucket.take(10**9))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(turns(bucket, 10, 10), 10)


async def test_bodies_keep_to_it() -> None:
    """Bodies of one client share the rate, however many there are."""
    loop, bucket = asyncio.get_running_loop(), Bucket(400_000)
    async with peer(hashing) as there, Wire(there.url, Options()) as wire:
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                body = of_bytes(bytes(100_000), bucket=bucket)
                group.create_task(wire.ask("PATCH", there.url, patch_head(), body))
    # All but the last piece had to wait for those before.
    assert loop.time() - began >= (200_000 - bucket.piece) / 400_000


def test_a_meter_without_a_connection() -> None:
    """Nothing has gone out."""
    meter = Meter()
    assert (meter.handed, meter.acknowledged, meter.unsent(), meter.is_connected) == (0, 0, 0, False)
    meter.detach()
    assert meter.acknowledged == 0


async def test_a_meter_looks_at_its_own_request_only() -> None:
    """What the next request on the connection does changes nothing."""
    async with peer(hashing) as there, Wire(there.url, Options()) as wire:
        first, second = of_bytes(bytes(1000)), of_bytes(bytes(2000))
        for body in (first, second):
            await wire.ask("PATCH", there.url, patch_head(), body)
        assert len(there.callers) == 1
    assert (first.meter.acknowledged, second.meter.acknowledged) == (1000, 2000)
    assert not first.meter.is_connected
