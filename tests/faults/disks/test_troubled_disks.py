"""Disks that stand still, fail when they are synced, turn read-only or are gone: the rest of T7 (I8, I9, I11).

What the engine takes back after a failed sync is tested call by call in `tests/engine/test_failing_disk.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from benchmarks.memory.frozen import freezing
from tests.faults.disks import troubled_disks as disks
from tests.faults.disks.trial import Trial, trial
from tests.faults.figures import Figures
from tests.faults.lives import Life, Lives
from tests.faults.oracle.history import Event
from tests.support.database import rows
from tests.support.waiting import until

MIB = 2**20
SHORT = 32 * 1024
"""Bytes of a body that the journal takes."""
ENOUGH = 20
"""Requests that failed."""
LONGEST_FREEZE = 3
"""Seconds."""
LENGTHS = {"done": 1000, "quiet": 1000, "open": 4 * MIB}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a scenario mounts; it is unmounted whatever happens."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.needs_root("held-up disks")
async def test_frozen(
    stack: AsyncExitStack, them: Lives, tmp_path: Path, figures: Figures, volume_of: Callable[[str], int]
) -> None:
    """While writers hang in the disk, who only looks is answered, and a second writer gets 423 in time (I10, I11).

    A row that is not in memory is not known before the disk goes on: who asks for it gets 423 in time, too.
    """
    disks.make_ext4(tmp_path / "image", 64 * MIB)
    disk = stack.enter_context(disks.mounted(tmp_path / "image", tmp_path / "disk"))
    one = await stack.enter_async_context(trial(them, disk / "data"))
    await one.begin(lock_timeout="500ms")
    offsets = {"done": 100_000, "cold": 100_000, "open": 1000, "other": 1000}
    for key, offset in offsets.items():
        await one.made(key, 100_000)
        assert (await one.fill(key, offset)).status == 204
    await until(one.has_no_jobs)
    await one.life.end()
    life = await one.begin()
    del offsets["cold"]
    for key in offsets:
        await one.head(key)
    # A commit since the last read: the next one notes in the shared memory of the log how far it reads, and hangs.
    await one.made("new", 100_000)
    with freezing(disk):
        begun = time.monotonic()
        writers: list[asyncio.Task[Event]] = []
        for key in ("open", "other"):
            # One behind the other: two at a time may share a thread.
            writers.append(asyncio.create_task(one.fill(key)))
            await until(lambda: _hang(life, len(writers)))
        cold = [asyncio.create_task(one.head("cold")), asyncio.create_task(one.get("cold"))]
        assert (await one.patch("open", 1000, 100)).status == 423
        while time.monotonic() < begun + min(volume_of("T7"), LONGEST_FREEZE):
            for key, offset in offsets.items():
                assert await one.offset(key) == offset
            assert (await one.get("done")).status == 200
        assert [event.status for event in await asyncio.gather(*cold)] == [423, 423]
        assert not any(writer.done() for writer in writers)
    assert [event.status for event in await asyncio.gather(*writers)] == [204, 204]
    assert await one.offset("cold") == 100_000
    await one.judged(figures, "T7 frozen disk")


async def _hang(life: Life, count: int) -> bool:
    """Whether so many threads of a server wait for a disk."""
    stats = [path.read_text() for path in Path(f"/proc/{life.pid}/task").glob("*/stat")]
    return [text.rpartition(")")[2].split()[0] for text in stats].count("D") >= count


@pytest.mark.needs_root("disks that fail when they are synced")
@pytest.mark.parametrize("piece", [MIB, SHORT], ids=["each file", "everything"])
async def test_failing_syncs(piece: int, stack: AsyncExitStack, them: Lives, tmp_path: Path, figures: Figures) -> None:
    """Where syncs fail, nothing of what was lost counts until it was sent again (I1, I9).

    Short bodies are in the journal; what fails is the sync with which it is to be emptied, so that it stays full.

    Its journal takes the last room, and the file system turns read-only. Without that, a loop device of Linux 6.18 is
    no judge: it reports a write that fitted in part as done, and `fdatasync` succeeds for bytes that are nowhere.
    """
    backing = stack.enter_context(disks.tmpfs(tmp_path / "backing", size="12m"))
    disks.make_ext4(backing / "image", 64 * MIB)
    one = await stack.enter_async_context(trial(them, tmp_path / "data"))
    one.data_dir.mkdir(mode=0o700)
    with disks.mounted(backing / "image", one.data_dir / "uploads", errors="continue"):
        life = await one.begin(sweep_interval=1)
        for key in ("first", "second"):
            await one.made(key, 16 * MIB)
        statuses = []
        for _ in range(24 * MIB // piece):
            for key in ("first", "second"):
                at = await one.offset(key)
                statuses.append((await one.patch(key, at, min(piece, 16 * MIB - at))).status)
            if statuses.count(500) + statuses.count(507) > ENOUGH:
                break
        assert {500, 507} & set(statuses), "the disk never failed"
        assert None not in statuses
        if piece == SHORT:
            await until(partial(_tells, life, "settle_failed"))
        assert await life.kill() == -9
    # What the kernel still had in memory is gone with the mount; what was acknowledged must not be.
    disks.resize(backing, "100m")
    stack.enter_context(disks.mounted(backing / "image", one.data_dir / "uploads"))
    await one.begin()
    await one.judged(figures, "T7 failing syncs", failing_disk=True)


@pytest.mark.needs_root("disks that are made read-only")
async def test_read_only_meanwhile(stack: AsyncExitStack, them: Lives, tmp_path: Path, figures: Figures) -> None:
    """Of a file system that can only be read no sync is believed: what the journal has stays until it is (I1, I9)."""
    disks.make_ext4(tmp_path / "image", 64 * MIB)
    one = await stack.enter_async_context(trial(them, tmp_path / "data"))
    one.data_dir.mkdir(mode=0o700)
    point = stack.enter_context(disks.mounted(tmp_path / "image", one.data_dir / "uploads"))
    life = await one.begin(sweep_interval=0.2)
    await one.made("open", 2 * SHORT)
    disks.remount(point, "ro")
    assert (await one.patch("open", 0, SHORT)).status == 500
    disks.remount(point, "rw")
    await one.fill("open", SHORT)
    await until(partial(_kept, one, 0))
    await one.uploaded("done", SHORT)
    disks.remount(point, "ro")
    await until(partial(_tells, life, "settle_failed"))
    assert await _kept(one, 1)
    disks.remount(point, "rw")
    await until(partial(_kept, one, 0))
    await one.judged(figures, "T7 read-only meanwhile", failing_disk=True)


async def _tells(life: Life, action: str) -> bool:
    return action in life.stderr.read_text(errors="replace")


async def _kept(one: Trial, count: int) -> bool:
    """Whether the journal has so many entries."""
    return rows(one.data_dir, "select count(*) from journal") == [(count,)]


@pytest.mark.needs_root("disks that are gone")
@pytest.mark.parametrize("trouble", [disks.find_an_error, disks.shut_down], ids=["read-only", "gone"])
async def test_trouble_in_the_middle(
    trouble: Callable[[Path], None], stack: AsyncExitStack, them: Lives, tmp_path: Path, figures: Figures
) -> None:
    """A disk that fails for good: every request is answered, no offset is wrong, SIGTERM ends it; then all is there."""
    image, point = tmp_path / "image", tmp_path / "disk"
    disks.make_ext4(image, 64 * MIB)
    one = await stack.enter_async_context(trial(them, point / "data"))
    with disks.mounted(image, point):
        life = await one.begin(max_upload_rate="4MiB", checkpoint_bytes="512KiB")
        for key in ("done", "quiet", "open"):
            await one.made(key, LENGTHS[key])
        assert (await one.fill("done")).status == (await one.fill("quiet", 500)).status == 204
        writing = asyncio.create_task(one.fill("open"))
        await one.until_stored("open", MIB)
        trouble(point)
        assert (await writing).status == 500
        for number in range(5):
            seen = [await one.head("done"), await one.head("quiet"), await one.get("done")]
            tried = [await one.patch("quiet", 500, 100), await one.create(f"new-{number}", 10)]
            assert None not in [event.status for event in seen], seen
            assert [event.status for event in tried] == [500, 500]
        assert await life.end() == 0, life.stderr.read_text()
    stack.enter_context(disks.mounted(image, point))
    await one.begin()
    await one.judged(figures, f"T7 {trouble.__name__}", failing_disk=True)
