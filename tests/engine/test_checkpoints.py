"""Offsets that are committed inside a long body, so that a broken one costs little (reliability 3.3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from tests.engine.rooms import house
from tusd_py.errors import ConnectionReset
from tusd_py.models.limits import Durability, Limits
from tusd_py.protocol.intents import Checksum


def commits(steps: list[str]) -> list[str]:
    """Return what was committed, and whether it had been synced before."""
    return [
        " ".join(step.split()[:2]) + (" synced" if before == "sync" else "")
        for before, step in zip(["", *steps], steps, strict=False)
        if step.startswith(("advance", "finish "))
    ]


async def test_by_bytes() -> None:
    """The offset is committed whenever so many bytes have come since the last time, synced first. (3.3)"""
    async with house(checkpoint_bytes=8) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()
        await rooms.append(upload_id, 0, *[b"abcd"] * 5)
        assert commits(rooms.diary.take()) == ["advance 8 synced", "advance 16 synced", "advance 20 synced"]


@pytest.mark.parametrize("level", [Durability.NONE, Durability.FINISH])
async def test_without_sync(level: Durability) -> None:
    """Below level patch a checkpoint survives a killed process and syncs nothing. (3.3)"""
    async with house(level, checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"abcd", b"ef")
        assert commits(rooms.diary.take()) == ["advance 4", "advance 6"]
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (6, 0)


async def test_one_large_piece() -> None:
    """One piece that is larger than the distance of checkpoints is one commit. (3.3)"""
    async with house(checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"a" * 50)
        assert commits(rooms.diary.take()) == ["advance 50 synced"]


async def test_by_time() -> None:
    """A slow client's offset is committed when the interval has passed, counted from the last commit. (3.3)"""
    async with house(checkpoint_interval=2.0) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()

        def wait(seconds: float) -> Callable[[], None]:
            return lambda: rooms.clock.advance(seconds)

        await rooms.append(upload_id, 0, b"a", wait(1.9), b"b", wait(0.1), b"c", wait(1.9), b"d", wait(0.1), b"e", b"f")
        assert commits(rooms.diary.take()) == ["advance 3 synced", "advance 5 synced", "advance 6 synced"]


async def test_wall_clock_does_not_matter() -> None:
    """Setting the clock neither makes nor delays a checkpoint. (3.3, I13)"""
    async with house(checkpoint_interval=2.0) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()
        await rooms.append(
            upload_id, 0, b"a", lambda: rooms.clock.jump(9999), b"b", lambda: rooms.clock.jump(-99999), b"c"
        )
        assert commits(rooms.diary.take()) == ["advance 3 synced"]


async def test_last_byte_is_committed_once() -> None:
    """The piece that completes the upload is committed by its finish only. (3.1)"""
    async with house(checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(8)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"abcd", b"efgh")
        assert [step.split()[0] for step in rooms.diary.take()] == [
            "create", "write", "sync", "advance", "write", "seal", "finish", "finished", "answer",
        ]  # fmt: skip


async def test_checked_bytes_wait_for_their_check() -> None:
    """Bytes under a checksum are committed after it was verified, however long the body is. (CHK, 3.3)"""
    async with house(checkpoint_bytes=1, checkpoint_interval=0.001) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()
        checksum = Checksum("sha1", hashlib.sha1(b"abcdef").digest())
        later = lambda: rooms.clock.advance(60)  # noqa: E731
        await rooms.append(upload_id, 0, b"ab", later, b"cd", later, b"ef", checksum=checksum)
        assert commits(rooms.diary.take()) == ["advance 6 synced"]


async def test_checkpoints_are_seen() -> None:
    """While a body is being received, everybody sees the offset of the last checkpoint and nothing beyond. (I3)"""
    seen: list[int] = []
    async with house(checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(100)

        async def look() -> None:
            seen.append((await rooms.engine.inspect(upload_id)).offset)

        await rooms.append(upload_id, 0, look, b"ab", look, b"cd", look, b"ef", look, b"gh", look)
    assert seen == [0, 0, 4, 4, 8]


async def test_broken_body_keeps_everything_that_came() -> None:
    """A lost connection commits what came after the last checkpoint, too. (I1)"""
    async with house(checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(100)
        with pytest.raises(ConnectionReset):
            await rooms.append(upload_id, 0, b"abcd", b"ef", ConnectionReset())
        assert rooms.row(upload_id).offset == 6


async def test_declared_length_is_committed_with_the_first_bytes() -> None:
    """A length declared with a body is known from the first checkpoint on. (DEF-01, 3.3)"""
    lengths: list[int | None] = []
    async with house(checkpoint_bytes=2) as rooms:
        upload_id = await rooms.create(None)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"ab", lambda: lengths.append(rooms.row(upload_id).length), b"cd", length=100)
        assert lengths == [100]


async def test_expiry_slides_with_every_checkpoint() -> None:
    """An upload that is being filled does not run out of time, however long one request takes. (EXP-04, I13)"""
    limits = Limits(expire_after=60.0)
    async with house(checkpoint_interval=2.0) as rooms:
        upload_id = await rooms.create(100, limits=limits)
        later = lambda: rooms.clock.advance(50)  # noqa: E731
        await rooms.append(upload_id, 0, b"a", later, b"b", later, b"c", later, b"d", limits=limits)
        assert rooms.row(upload_id).expires_at == rooms.clock.now() + 60
