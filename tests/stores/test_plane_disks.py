"""Disks that are full, broken, strange or gone, and systems that lack something: what the data plane makes of it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stores.moving import MIB, Disk, Room, descriptors, piece, room, threads
from tests.stores.placed import located
from tests.support.disks import small_disk
from tusd_py.errors import ConnectionReset, DataLost, InsufficientStorage
from tusd_py.stores import plane, planes
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.planes import Planes


async def is_moved(place: Room, body: bytes) -> bool:
    """Move a body into a new upload; return whether this body, and nothing else, is there afterwards."""
    moving = await place.begin(len(body))
    sending = asyncio.create_task(moving.send(body))
    await moving.over()
    await sending
    return moving.transfer.error is None and place.content(moving) == body


@pytest.mark.parametrize("stored", [None, 1, 70_000], ids=lambda at: f"{at} bytes fit")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_no_space(place: Room, disk: Disk, stored: int | None, code: int) -> None:
    """Space that runs out ends a body behind the last byte that fitted; the next body has only its own (I5, I8)."""
    disk.fail(code, after=stored)
    body = piece(3, 300_000)
    moving = await place.begin(len(body), b"before ")
    sending = asyncio.create_task(moving.send(body))
    await moving.over()
    sending.cancel()
    assert isinstance(moving.transfer.error, InsufficientStorage)
    assert moving.transfer.position == 7 + (stored or 0)
    assert place.content(moving)[: moving.transfer.position] == (b"before " + body)[: moving.transfer.position]
    disk.to_file = disk.splice
    assert await is_moved(place, piece(4, 400_000))


async def test_no_space_and_no_pipe(place: Room, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when no descriptor is left meanwhile, the next body has only its own bytes, and all of them (I4, I8)."""

    def none_left() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "too many open files")

    disk.fail(errno.ENOSPC, after=100)
    with monkeypatch.context() as patch:
        patch.setattr(plane, "_make_pipe", none_left)
        moving = await place.begin(1000)
        await moving.send(piece(5, 1000))
        await moving.over()
    assert isinstance(moving.transfer.error, InsufficientStorage)
    disk.to_file = disk.splice
    assert await is_moved(place, piece(6, 100_000))


async def test_full_disk(tmp_path: Path) -> None:
    """A disk that is really full: what is told is stored, and with new space the next body is right (I5, I8)."""
    with small_disk(tmp_path / "disk", "4m") as mounted:
        async with room(mounted / "uploads") as place:
            body = piece(7, 8 * MIB)
            moving = await place.begin(len(body), b"before ")
            sending = asyncio.create_task(moving.send(body))
            await moving.over()
            sending.cancel()
            position = moving.transfer.position
            assert isinstance(moving.transfer.error, InsufficientStorage)
            assert 3 * MIB < position <= 4 * MIB
            assert place.content(moving)[:position] == (b"before " + body)[:position]
            await moving.data.truncate(0)
            assert await is_moved(place, piece(8, 2 * MIB))
            await moving.data.close()


@pytest.mark.parametrize("copies", [False, True], ids=["spliced", "copied"])
async def test_broken_disk(place: Room, disk: Disk, monkeypatch: pytest.MonkeyPatch, copies: bool) -> None:
    """A broken disk ends the body with its error, which is no refusal of the client, and ends no other (I5, I9)."""
    other = await place.begin(10)
    if copies:
        disk.from_socket = refuse
        broken = await place.begin(20)
        await broken.send(b"0123456789")
        await broken.stored(10)
        monkeypatch.setattr(plane, "write_buffers", refuse_to_write)
    else:
        broken = await place.begin(20, b"0123456789")
        disk.fail(errno.EIO)
    await broken.send(b"abcdefghij")
    await broken.over()
    assert isinstance(broken.transfer.error, OSError)
    assert broken.transfer.error.errno == errno.EIO
    assert broken.transfer.position == 10
    monkeypatch.undo()
    await other.send(b"0123456789")
    await other.over()
    assert place.content(other) == b"0123456789"


async def test_a_file_that_takes_nothing(place: Room, disk: Disk) -> None:
    """A write of no bytes at all is an error and no endless loop (I11)."""
    disk.to_file = lambda *args, **options: 0
    moving = await place.begin(10)
    await moving.send(b"0123456789")
    await moving.over()
    assert isinstance(moving.transfer.error, OSError)
    assert moving.transfer.position == 0


async def test_a_bug_ends_one_body(place: Room, disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong, it ends one body, is in the log, and the thread goes on (I20)."""

    def bug(*args: object, **options: object) -> int:
        raise ZeroDivisionError

    disk.from_socket = bug
    moving = await place.begin(10)
    await moving.send(b"0123456789")
    await moving.over()
    assert isinstance(moving.transfer.error, OSError)
    assert "moving a body failed" in caplog.text
    caplog.clear()
    disk.from_socket = disk.splice
    assert await is_moved(place, piece(9, 100_000))


def refuse(*_: object, **__: object) -> int:
    raise OSError(errno.EINVAL, "no splice here")


def refuse_to_write(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "broken")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP])
@pytest.mark.parametrize("where", ["from_socket", "to_file", "half-way"])
async def test_no_splice(place: Room, disk: Disk, where: str, code: int) -> None:
    """Where the kernel does not splice, bytes are copied with the same result, for all that follow (I4)."""
    waiting = await place.begin(100_000)
    await waiting.send(piece(10, 99_999))
    await waiting.stored(99_999)

    def no(*_: object, **__: object) -> int:
        raise OSError(code, "no splice here")

    if where == "half-way":
        disk.fail(code, after=777)
    else:
        setattr(disk, where, no)
    body = piece(11, 3 * MIB)
    moving = await place.begin(len(body), b"before ")
    sending = asyncio.create_task(moving.send(body + b"next"))
    await moving.over()
    await sending
    assert moving.transfer.error is None
    assert place.content(moving) == b"before " + body
    assert moving.own.recv(10) == b"next"
    await waiting.send(piece(10, 100_000)[-1:])
    await waiting.over()
    assert place.content(waiting) == piece(10, 100_000)
    cut = await place.begin(10)
    await cut.send(b"01234")
    cut.reset()
    await cut.over()
    assert isinstance(cut.transfer.error, ConnectionReset)
    assert place.content(cut) == b"01234"


def _missing(path: Path) -> None:
    path.unlink()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _symlink(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _second_name(path: Path) -> None:
    path.with_name("second").hardlink_to(path)


def _shorter(path: Path) -> None:
    os.truncate(path, 9)


@pytest.mark.parametrize("spoil", [_missing, _fifo, _symlink, _second_name, _shorter])
async def test_data_lost(place: Room, spoil: Callable[[Path], None]) -> None:
    """Data that is gone, short or not ours is not written to, and the connection is given back (I7, rows 17, 18)."""
    store = place.store
    await store.create("spoilt", durable=False)
    data = await store.write_to("spoilt")
    await data.write(0, [b"0123456789"])
    await data.close()
    spoil(located(store, "spoilt"))
    before = {path: path.stat().st_size for path in located(store, "spoilt").parent.iterdir()}
    moving = await place.begin(5, b"more", offset=10, upload_id="spoilt", holds=10)
    await moving.send(b"bytes")
    await moving.over()
    assert isinstance(moving.transfer.error, DataLost)
    assert (moving.transfer.position, moving.transfer.is_complete) == (10, False)
    assert moving.own.recv(10) == b"bytes"
    assert {path: path.stat().st_size for path in located(store, "spoilt").parent.iterdir()} == before


@pytest.mark.parametrize("lacking", ["another system", "epoll", "eventfd", "pipe"])
async def test_no_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lacking: str
) -> None:
    """Where the system cannot do it, or has nothing left, the store says so, works, and keeps nothing open (I16)."""

    def none_left(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    before = descriptors(), threads()
    match lacking:
        case "another system":
            monkeypatch.setattr(planes.sys, "platform", "darwin")
        case "epoll":
            monkeypatch.setattr(select, "epoll", none_left)
        case "eventfd":
            monkeypatch.setattr(os, "eventfd", none_left)
        case "pipe":
            monkeypatch.setattr(os, "pipe2", none_left)
    with caplog.at_level(logging.WARNING):
        assert Planes.make() is None
    assert ("without the data plane" in caplog.text) == (lacking != "another system")
    store = FileDataStore(tmp_path / "uploads")
    await store.open()
    assert not store.can_transfer
    await store.create("read", durable=True)
    data = await store.write_to("read")
    await data.write(0, [b"here"])
    await data.close()
    await store.close()
    assert located(store, "read").read_bytes() == b"here"
    monkeypatch.undo()
    assert (descriptors(), threads()) == before


async def test_a_small_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may have no large pipes gets the same bytes through a small one (I4)."""

    def refused(*_: Any) -> int:
        raise PermissionError

    monkeypatch.setattr(plane.fcntl, "fcntl", refused)
    async with room(tmp_path / "uploads") as place:
        assert await is_moved(place, piece(12, 3 * MIB))
