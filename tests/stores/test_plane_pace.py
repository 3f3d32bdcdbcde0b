"""Bodies on the data plane that may not come faster than so many bytes a second."""

from __future__ import annotations

import asyncio

import pytest

from tests.stores.moving import MIB, Moving, Room, descriptors, piece
from tests.support.waiting import until
from tusd_py.errors import ConnectionReset, UploadInterrupted
from tusd_py.models.pace import Pace
from tusd_py.stores import plane


async def _paused(moving: Moving) -> None:
    async def is_paused() -> bool:
        return moving.transfer.paused

    await until(is_paused)


async def test_takes_what_it_may(place: Room) -> None:
    """A body that comes too fast is left in its connection, what had arrived before counts; it is not idle.

    Others are moved meanwhile. (performance: section 2)
    """
    body = piece(1, 300_000)
    moving = await place.begin(299_000, body[:1000], pace=Pace(10_000))
    sending = asyncio.create_task(moving.send(body[1000:]))
    await _paused(moving)
    assert 5000 <= moving.transfer.position < 200_000
    assert moving.transfer.idle() == 0
    other = await place.begin(MIB)
    await other.send(piece(2, MIB))
    await other.over()
    assert place.content(other) == piece(2, MIB)
    assert not moving.transfer.is_over
    assert place.content(moving) == body[: moving.transfer.position]
    sending.cancel()


async def test_goes_on(place: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that had to wait is moved to its end, every byte of it, and nothing behind it (I4)."""
    monkeypatch.setattr(plane, "TICK", 0.01)
    body = piece(1, 400_000)
    moving = await place.begin(len(body), pace=Pace(2_000_000 // 4))
    await moving.send(body + b"next")
    await _paused(moving)
    await moving.over()
    assert (moving.transfer.error, place.content(moving)) == (None, body)
    assert moving.own.recv(100) == b"next"


async def test_interrupted(place: Room) -> None:
    """An interruption does not wait for the pace: what has arrived is stored at once (CONC-04)."""
    body = piece(1, 60_000)
    moving = await place.begin(100_000, pace=Pace(1000))
    await moving.send(body)
    await _paused(moving)
    moving.transfer.interrupt(UploadInterrupted())
    await moving.over()
    assert isinstance(moving.transfer.error, UploadInterrupted)
    assert place.content(moving) == body


@pytest.mark.parametrize("end", [Moving.finish, Moving.reset], ids=["fin", "rst"])
async def test_client_gone(place: Room, monkeypatch: pytest.MonkeyPatch, end: object) -> None:
    """A client that leaves while its body waits is noticed soon: what it sent is stored, nothing is left open."""
    monkeypatch.setattr(plane, "TICK", 0.01)
    before = descriptors()
    moving = await place.begin(100_000, pace=Pace(1))
    await moving.send(piece(1, 15_000))
    await _paused(moving)
    assert callable(end)
    end(moving)
    await moving.over()
    assert isinstance(moving.transfer.error, ConnectionReset)
    assert place.content(moving) == piece(1, 15_000)
    moving.own.close()
    moving.peer.close()
    await moving.data.close()
    assert descriptors() <= before
