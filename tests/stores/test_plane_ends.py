"""How a body on the data plane ends before its end: everything that arrived is stored, and nothing else."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from tests.stores.moving import KINDS, MIB, Disk, Moving, Room, descriptors, piece
from tests.support.waiting import until
from tusd_py.errors import (
    ConnectionReset,
    ReadTimeout,
    ServerShutdown,
    TusError,
    UploadInterrupted,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [Moving.finish, Moving.reset], ids=["fin", "rst"])
@pytest.mark.parametrize("size", [0, 1, 5120, 700_000])
async def test_connection_lost(place: Room, disk: Disk, kind: str, end: Callable[[Moving], None], size: int) -> None:
    """A connection lost mid-body: what arrived is stored and told, even if it is read later (CORE-BODY-03, 04, 05)."""
    body = piece(1, size)
    disk.hold()
    blocking = await place.begin(1)
    await blocking.send(b"x")
    await disk.stood_still()
    moving = await place.begin(size + 1, b"before ", kind=kind)
    sending = asyncio.create_task(moving.send(body))
    if kind == "tcp" and size < 100_000:
        await sending
        end(moving)
    disk.let_go()
    await sending
    if not (kind == "tcp" and size < 100_000):
        await moving.stored(7 + size)
        end(moving)
    await moving.over()
    assert isinstance(moving.transfer.error, ConnectionReset)
    assert (moving.transfer.position, moving.transfer.is_complete) == (7 + size, False)
    assert place.content(moving) == b"before " + body


async def test_interrupted(place: Room) -> None:
    """Whoever interrupts a body leaves what has arrived, and the body ends with the reason given first (CONC-02)."""
    moving = await place.begin(MIB)
    await moving.send(b"0123456789")
    first, second = UploadInterrupted(), ServerShutdown()
    moving.transfer.interrupt(first)
    moving.transfer.interrupt(second)
    await moving.over()
    moving.transfer.interrupt(second)
    assert moving.transfer.error is first
    assert (moving.transfer.position, moving.transfer.is_complete) == (10, False)
    assert place.content(moving) == b"0123456789"


@pytest.mark.parametrize("kind", KINDS)
async def test_interrupted_before_the_thread_has_begun(place: Room, disk: Disk, kind: str) -> None:
    """Even one that nobody has looked at yet leaves what has arrived (CONC-02)."""
    disk.hold()
    blocking = await place.begin(1)
    await blocking.send(b"x")
    await disk.stood_still()
    moving = await place.begin(MIB, b"before ", kind=kind)
    await moving.send(b"0123456789")
    reason = ServerShutdown()
    moving.transfer.interrupt(reason)
    assert not moving.transfer.is_over
    disk.let_go()
    await moving.over()
    assert moving.transfer.error is reason
    assert place.content(moving) == b"before 0123456789"


async def test_interrupted_at_its_end(place: Room, disk: Disk) -> None:
    """A body that had arrived whole is whole, whoever interrupted it before it was stored (CORE-BODY-05)."""
    disk.hold()
    moving = await place.begin(10)
    await moving.send(b"0123456789")
    await disk.stood_still()
    moving.transfer.interrupt(UploadInterrupted())
    disk.let_go()
    await moving.over()
    assert (moving.transfer.error, moving.transfer.is_complete) == (None, True)


@pytest.mark.parametrize("kind", KINDS)
async def test_interrupted_while_the_disk_hangs(place: Room, disk: Disk, kind: str) -> None:
    """What arrives while the disk hangs, before the interruption, is stored: a client takes it for delivered.

    (CORE-BODY-05, CONC-02)
    """
    moving = await place.begin(MIB, kind=kind)
    disk.hold()
    await moving.send(b"first,")
    await disk.stood_still()
    body = piece(2, 50_000)
    await moving.send(body)
    moving.transfer.interrupt(UploadInterrupted())
    disk.let_go()
    await moving.over()
    assert isinstance(moving.transfer.error, UploadInterrupted)
    assert place.content(moving) == b"first," + body


async def test_interrupted_with_small_pieces(place: Room, disk: Disk) -> None:
    """Neither does it matter in how many pieces it came: a pipe holds few of them (CORE-BODY-05, CONC-02)."""
    moving = await place.begin(MIB, kind="unix")
    disk.hold()
    await moving.send(b"first,")
    await disk.stood_still()
    pieces = [b"%03d;" % number for number in range(270)]
    for each in pieces:
        await moving.send(each)
    moving.transfer.interrupt(UploadInterrupted())
    disk.let_go()
    await moving.over()
    assert place.content(moving) == b"first," + b"".join(pieces)


async def test_silence(place: Room) -> None:
    """A client that sends nothing for the timeout is given up; what it sent is kept (CORE-BODY-07)."""
    begun = time.monotonic()
    moving, none = await place.begin(MIB, b"before ", timeout=0.3), await place.begin(1, timeout=0.3)
    await moving.send(b"0123456789")
    for each, content in ((moving, b"before 0123456789"), (none, b"")):
        await each.over()
        assert isinstance(each.transfer.error, ReadTimeout)
        assert each.transfer.position == len(content)
        assert place.content(each) == content
    assert time.monotonic() - begun > 0.3


async def test_a_hanging_disk_is_not_silence(place: Room, disk: Disk) -> None:
    """A disk that hangs longer than the timeout ends nobody whose bytes wait, nor the one it hangs for (I11)."""
    disk.hold()
    hanging = await place.begin(20, timeout=0.2)
    await hanging.send(b"0123456789")
    await disk.stood_still()
    waiting, new = await place.begin(20, timeout=0.2), await place.begin(10, timeout=0.2)
    for moving in (waiting, new):
        await moving.send(b"0123456789")
    begun = time.monotonic()
    await until(lambda: _is(time.monotonic() > begun + 0.6))
    await new.send(b"and the next request")
    disk.let_go()
    for moving in (hanging, waiting):
        await moving.stored(10)
        await moving.send(b"abcdefghij")
        await moving.over()
        assert moving.transfer.error is None
        assert place.content(moving) == b"0123456789abcdefghij"
    await new.over()
    assert new.transfer.error is None
    assert place.content(new) == b"0123456789"


async def test_an_error_of_the_client_is_no_error_of_the_store(place: Room) -> None:
    """Ends that are the client's doing are `TusError`, so that what arrived is committed (CORE-BODY-03)."""
    moving = await place.begin(10)
    moving.finish()
    await moving.transfer.wait(sys.maxsize)
    assert isinstance(moving.transfer.error, TusError)


async def test_close_waits(place: Room, disk: Disk) -> None:
    """A handle is closed when the transfer is over: no late write comes behind it (I10)."""
    moving = await place.begin(10)
    disk.hold()
    await moving.send(b"01234")
    await disk.stood_still()
    closing = asyncio.create_task(moving.data.close())
    await asyncio.wait([closing], timeout=0.05)
    assert not closing.done()
    moving.finish()
    disk.let_go()
    await closing
    await moving.over()
    assert isinstance(moving.transfer.error, ConnectionReset)
    assert place.content(moving) == b"01234"


async def test_the_loop_is_gone(place: Room) -> None:
    """A transfer whose event loop was closed ends all the same, and takes nobody with it (I15)."""
    moving, other = await place.begin(10), await place.begin(5)
    gone = moving.transfer._loop = asyncio.new_event_loop()
    gone.close()
    await moving.send(b"0123456789")
    await until(lambda: _is(moving.transfer.is_over))
    assert moving.transfer.error is None
    moving.transfer._loop = asyncio.get_running_loop()
    await other.send(b"alive")
    await other.over()
    assert (place.content(moving), place.content(other)) == (b"0123456789", b"alive")


async def _is(value: bool) -> bool:
    return value


@pytest.mark.parametrize("complete", [True, False])
async def test_last_one_closes_its_file(place: Room, complete: bool) -> None:
    """What was opened for the last body is closed with its end, without another trip to a thread (I12)."""
    moving = await place.begin(5, last=True)
    await moving.send(b"five!" if complete else b"four")
    await moving.stored(4)
    if not complete:
        assert [each for each in descriptors() if moving.upload_id in each]
        moving.finish()
    await moving.over()
    assert moving.transfer.is_complete == complete
    assert not [each for each in descriptors() if moving.upload_id in each]
