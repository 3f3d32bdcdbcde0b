"""What the data plane moves: exactly the bytes of each body, to exactly where they belong."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.stores.moving import KINDS, MIB, Disk, Moving, Room, descriptors, piece, room, threads
from tests.support.waiting import until
from tusd_py.errors import ServerShutdown, UploadInterrupted
from tusd_py.stores import plane, planes, posix


@pytest.fixture
def no_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too little to wake the thread stays in the socket."""
    monkeypatch.setattr(plane, "TICK", 3600.0)


@pytest.mark.parametrize("kind", KINDS)
async def test_moves_a_body(place: Room, kind: str) -> None:
    """A body is stored at its absolute offset, behind what had arrived, over what is there, and nowhere else (I4)."""
    await place.store.create("there", durable=False)
    there = await place.store.write_to("there")
    await there.write(0, [b"=" * 4000])
    await there.close()
    body = piece(1, 2000)
    moving = await place.begin(1500, body[:200], b"", body[200:500], offset=1000, kind=kind, upload_id="there")
    await moving.send(body[500:])
    await moving.over()
    assert (moving.transfer.error, moving.transfer.is_complete) == (None, True)
    assert moving.transfer.position == 3000
    assert place.content(moving) == b"=" * 1000 + body + b"=" * 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5000, 3 * MIB + 7])
async def test_takes_not_one_byte_more(place: Room, kind: str, count: int) -> None:
    """What follows the body on the connection is left for the next request, to the byte (CORE-BODY-13)."""
    moving = await place.begin(count, b"first", kind=kind)
    body, following = piece(2, count), b"HEAD /files/next HTTP/1.1\r\n\r\n"
    await moving.send(body + following)
    await moving.over()
    assert moving.transfer.error is None
    assert moving.own.recv(1000) == following
    assert place.content(moving) == b"first" + body


@pytest.mark.parametrize("kind", KINDS)
async def test_connection_is_as_before(place: Room, kind: str) -> None:
    """A connection wakes its next reader at the first byte again (CORE-BODY-13)."""
    moving = await place.begin(2 * MIB, kind=kind)
    await moving.send(bytes(MIB))
    await moving.stored(MIB)
    assert moving.own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) > 1
    await moving.send(bytes(MIB))
    await moving.over()
    assert moving.own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    assert moving.own.getblocking() is False


async def test_nothing_to_take(place: Room) -> None:
    """A body that has arrived as a whole is stored without a look at the connection (CORE-BODY-13)."""
    moving = await place.begin(0, b"all of it")
    await moving.send(b"next")
    await moving.over()
    assert (moving.transfer.error, moving.transfer.is_complete) == (None, True)
    assert place.content(moving) == b"all of it"
    assert moving.own.recv(10) == b"next"


@pytest.mark.parametrize("kind", KINDS)
async def test_many_rounds(place: Room, kind: str) -> None:
    """A body far larger than what is moved at a time arrives whole (CORE-BODY-21)."""
    size = 3 * plane.ROUNDS * plane.ROUND + 4321
    body = piece(3, size)
    moving = await place.begin(size, kind=kind)
    await moving.send(body)
    await moving.over()
    assert moving.transfer.error is None
    assert place.content(moving) == body


@pytest.mark.parametrize("kind", KINDS)
async def test_many_at_once(place: Room, kind: str) -> None:
    """Fifty bodies that arrive in turns, in pieces of any size, each get their own bytes (CONC-13, I4)."""
    size = 300_000
    bodies = [piece(number, size) for number in range(50)]
    movings = [await place.begin(size, kind=kind) for _ in bodies]
    at = [0] * len(bodies)
    while any(done < size for done in at):
        for number, moving in enumerate(movings):
            step = 1 + 37 * (number * 7919 + at[number]) % 65_521
            await moving.send(bodies[number][at[number] : at[number] + step])
            at[number] = min(at[number] + step, size)
    for moving, body in zip(movings, bodies, strict=True):
        await moving.over()
        assert moving.transfer.error is None
        assert place.content(moving) == body


@pytest.mark.parametrize(("processors", "expected"), [({0}, 1), ({0, 1}, 2), (set(range(64)), planes.MOST)])
async def test_one_thread_for_each_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: set[int], expected: int
) -> None:
    """Bodies are spread over as many threads as there are processors, up to a number: each goes where fewest are."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: processors)
    async with room(tmp_path / "uploads") as place:
        movings = [await place.begin(5) for _ in range(2 * expected)]
        assert place.store._planes is not None
        assert [each.load for each in place.store._planes._planes] == [2] * expected
        for moving in movings:
            await moving.send(b"bytes")
            await moving.over()
            assert place.content(moving) == b"bytes"
        assert [each.load for each in place.store._planes._planes] == [0] * expected


@pytest.fixture
def one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """All bodies are moved by one thread."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


async def test_a_fast_client_does_not_starve_others(one_processor: None, place: Room, disk: Disk) -> None:
    """However much one client sends, the others get their turn after a few rounds (reliability I11)."""
    first = await place.begin(1)
    disk.hold()
    await first.send(b"x")
    await disk.stood_still()
    fast, slow = await place.begin(64 * plane.ROUND), await place.begin(10)
    await slow.send(b"0123456789")
    turns: list[str] = []

    def endless(source: int, target: int, count: int, **options: object) -> int:
        """Take from the fast client whatever is asked for."""
        if source != fast.transfer.socket.fileno():
            turns.append("slow")
            return disk.splice(source, target, count, **options)  # type: ignore[arg-type]
        turns.append("fast")
        return os.write(target, bytes(plane.ROUND))

    disk.from_socket = endless
    disk.let_go()
    for moving in (slow, fast):
        await moving.over()
    assert turns.index("slow") <= plane.ROUNDS
    assert turns.count("fast") == 64
    assert place.content(slow) == b"0123456789"


async def test_a_trickle_is_stored(place: Room) -> None:
    """Bytes too few to wake anybody are stored all the same, and nobody who sends them is cut (CORE-BODY-08)."""
    moving = await place.begin(MIB, timeout=0.6)
    begun = time.monotonic()
    sent = 0
    while time.monotonic() - begun < 1.5:
        await moving.send(b"x")
        sent += 1
        await moving.stored(sent)
    assert not moving.transfer.is_over
    assert place.content(moving) == b"x" * sent


@pytest.mark.usefixtures("no_ticks")
async def test_enough_wakes_the_thread(place: Room) -> None:
    """From some size on bytes are stored at once, and so is the end of a body (CORE-BODY-21)."""
    moving = await place.begin(2 * plane.WAKE_AT + 10)
    await until(lambda: _is(moving.transfer.wakes_at == plane.WAKE_AT))
    for position in (plane.WAKE_AT, 2 * plane.WAKE_AT):
        await moving.send(bytes(plane.WAKE_AT))
        await moving.stored(position)
    await moving.send(bytes(10))
    await moving.over()
    assert moving.transfer.error is None


async def test_wait(place: Room) -> None:
    """A wait ends where it was told to, at its timeout, when all is over, or when it is cancelled (CORE-BODY-05)."""
    moving = await place.begin(1000)
    transfer = moving.transfer
    waiting = asyncio.create_task(transfer.wait(10))
    await moving.send(b"x" * 4)
    await moving.send(b"y" * 6)
    await asyncio.wait_for(waiting, 10)
    assert transfer.position == 10
    await asyncio.wait_for(transfer.wait(5), 10)
    await asyncio.wait_for(transfer.wait(11, timeout=0.01), 10)
    assert (transfer.position, transfer.is_over) == (10, False)
    waiting = asyncio.create_task(transfer.wait(500))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    waiting = asyncio.create_task(transfer.wait(500))
    moving.finish()
    await asyncio.wait_for(waiting, 10)
    assert transfer.is_over
    await asyncio.wait_for(transfer.wait(sys.maxsize), 10)


async def test_a_wake_that_comes_late(place: Room) -> None:
    """Who waits again is not woken by what the thread had to tell to the wait before (CORE-BODY-05)."""
    moving = await place.begin(1000)
    transfer = moving.transfer

    async def follow() -> int:
        try:
            await transfer.wait(10)
        except asyncio.CancelledError:
            await transfer.wait(20)
        return transfer.position

    following = asyncio.create_task(follow())
    await until(lambda: _is(transfer._mark == 10))
    following.cancel()
    moving.peer.send(b"0123456789")
    while transfer._mark is not None:
        # The loop must not run before the thread has told it.
        os.sched_yield()
    await until(lambda: _is(following.done() or transfer._mark == 20))
    await moving.send(b"abcdefghij")
    assert await asyncio.wait_for(following, 10) == 20


async def test_what_is_told_is_stored(place: Room) -> None:
    """Whoever was told a position finds these bytes in the file (I7)."""
    body = piece(4, 8 * MIB)
    moving = await place.begin(len(body))
    sending = asyncio.create_task(moving.send(body))
    seen = 0
    while not moving.transfer.is_over:
        await moving.transfer.wait(seen + 1)
        seen = moving.transfer.position
        assert place.content(moving)[:seen] == body[:seen]
    await sending
    assert moving.transfer.position == len(body)


async def grows(moving: Moving) -> bool:
    return moving.transfer.idle() > 0.05


@pytest.mark.usefixtures("no_ticks")
async def test_idle_while_bytes_wait(place: Room) -> None:
    """A client is silent while nothing of it waits to be stored, and only then (CORE-HEAD-10)."""
    moving = await place.begin(MIB)
    await until(lambda: grows(moving))
    await moving.send(b"0123456789")
    assert moving.transfer.idle() == 0
    assert moving.transfer.position == 0
    await moving.send(bytes(plane.WAKE_AT))
    await moving.stored(plane.WAKE_AT)
    await until(lambda: grows(moving))
    moving.finish()
    await moving.over()
    assert moving.transfer.idle() == 0


async def test_idle_while_the_disk_hangs(place: Room, disk: Disk) -> None:
    """A client is not silent while the disk is: that would end its request (CORE-HEAD-10)."""
    moving = await place.begin(MIB)
    await until(lambda: grows(moving))
    disk.hold()
    await moving.send(b"0123456789")
    await disk.stood_still()
    moving.transfer.moved_at -= 60
    assert moving.transfer.idle() == 0
    disk.let_go()
    await moving.stored(10)
    assert place.content(moving) == b"0123456789"


async def test_idle_while_the_first_bytes_are_stored(place: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor while the disk hangs with what had arrived before, in this body or in another one (CORE-HEAD-10)."""
    hangs, goes_on = threading.Event(), threading.Event()
    write_buffers = posix.write_buffers

    def hang(*args: object) -> None:
        hangs.set()
        assert goes_on.wait(10)
        write_buffers(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(plane, "write_buffers", hang)
    first, second = await place.begin(MIB, b"first"), await place.begin(MIB, b"second")
    try:
        assert await asyncio.to_thread(hangs.wait, 10)
        for moving in (first, second):
            moving.transfer.moved_at -= 60
            assert moving.transfer.idle() == 0
    finally:
        goes_on.set()
    for moving, content in ((first, b"first"), (second, b"second")):
        await moving.stored(len(content))
        assert place.content(moving) == content


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [Moving.finish, Moving.reset], ids=["fin", "rst"])
async def test_is_ending(place: Room, disk: Disk, kind: str, end: object) -> None:
    """Who asks knows at once that the client has gone, although its last bytes are not stored yet (CORE-HEAD-10)."""
    moving = await place.begin(MIB, kind=kind)
    disk.hold()
    await moving.send(b"0123456789")
    await disk.stood_still()
    assert not moving.transfer.is_ending()
    end(moving)  # type: ignore[operator]
    assert moving.transfer.is_ending()
    assert not moving.transfer.is_over
    disk.let_go()
    await moving.over()
    assert moving.transfer.is_ending()
    assert place.content(moving) == b"0123456789"


async def test_is_ending_for_other_reasons(place: Room, disk: Disk) -> None:
    """Nothing more will arrive once the whole body was taken or somebody interrupted it (CORE-HEAD-10)."""
    whole, interrupted = await place.begin(10), await place.begin(MIB)
    disk.hold()
    await whole.send(b"0123456789")
    await disk.stood_still()
    assert not interrupted.transfer.is_ending()
    interrupted.transfer.interrupt(UploadInterrupted())
    assert interrupted.transfer.is_ending()
    assert whole.transfer.is_ending()
    disk.let_go()
    await whole.over()


async def test_descriptors_and_threads(tmp_path: Path, disk: Disk) -> None:
    """When a store is closed, no descriptor and no thread of it is left, whatever happened in it (I12)."""
    before = descriptors(), threads()
    for _ in range(3):
        async with room(tmp_path / "uploads") as place:
            whole, cut, lost = await place.begin(5), await place.begin(5), await place.begin(5, upload_id="missing")
            interrupted = await place.begin(5)
            await whole.send(b"whole")
            await cut.send(b"cu")
            cut.finish()
            interrupted.transfer.interrupt(ServerShutdown())
            for moving in (whole, cut, lost, interrupted):
                await moving.over()
            disk.fail(28, after=2)
            full = await place.begin(5)
            await full.send(b"12345")
            await full.over()
            disk.to_file = disk.splice
            assert "tusd-py data plane" in threads()
            for moving in (whole, cut, interrupted, full):
                await place.store.remove(moving.upload_id, durable=False)
    assert (descriptors(), threads()) == before


async def test_opened_again(place: Room) -> None:
    """A store that was closed moves bodies again when it is opened again (I16)."""
    store = place.store
    first = await place.begin(5)
    await first.send(b"first")
    await first.over()
    await first.data.close()
    await store.close()
    assert not store.can_transfer
    await store.close()
    await store.open()
    assert store.can_transfer
    second = await place.begin(6)
    await second.send(b"second")
    await second.over()
    assert (place.content(first), place.content(second)) == (b"first", b"second")


async def _is(value: bool) -> bool:
    return value
