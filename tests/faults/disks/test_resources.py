"""Full disks, failing disks, held-up disks, too few descriptors: T7 of reliability 6.3 (I8, I9, I11, I19).

One full disk through both ways in, start-up on one, and concatenation on one are tested by `tests/stores`,
`tests/web/test_body_full.py` and `tests/web/test_concatenation_crash.py` too, without anybody who judges the whole
story. Failing single calls are T4.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.disks import troubled_disks as disks
from tests.faults.disks.trial import Trial, name_of, trial
from tests.faults.figures import Figures
from tests.faults.lives import Lives
from tests.faults.networks.procfs import cpu_seconds, descriptors, resident_kib
from tests.stores.test_full_disk import fill_up
from tests.support.client import T
from tests.support.waiting import until
from tests.support.wire import Wire

MIB = 2**20
PATHS = {"portable": "none", "plane": 1}
"""Settings of `data_plane_from` by the way that bodies take."""
by_path = pytest.mark.parametrize("path", PATHS)
OFTEN = 300
"""Far more requests than it takes to fill what is left of a disk."""
SMALL = {"Upload_Metadata": "k " + "bWV0YWRhdGEg" * 3000}
"""A row of many pages."""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a scenario mounts; it is unmounted whatever happens."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def small(stack: AsyncExitStack, them: Lives, tmp_path: Path) -> Trial:
    """The client of a scenario on a small disk."""
    disk = stack.enter_context(disks.tmpfs(tmp_path / "disk", size="16m"))
    return await stack.enter_async_context(trial(them, disk / "data"))


async def until_full(one: Trial, word: str) -> None:
    """Create uploads until that is 507; those that were made are removed again."""
    made: list[str] = []
    for number in range(OFTEN):
        key = f"{word}-{number}"
        event = await one.create(key, 10, {"Upload-Metadata": SMALL["Upload_Metadata"]})
        if event.status == 507:
            break
        assert event.status == 201, event
        made.append(key)
    else:
        pytest.fail("the disk does not become full")
    for key in made:
        assert (await one.delete(key)).status == 204


def nothing_but(one: Trial, *keys: str) -> None:
    """Check that these uploads, and no others, have files."""
    found = {path.name for path in (one.data_dir / "uploads").glob("??/*") if path.is_file()}
    assert found == {name_of(one.urls[key]) for key in keys}


@pytest.mark.needs_root("full disks")
@by_path
async def test_full_in_the_middle(path: str, small: Trial, figures: Figures, volume_of: Callable[[str], int]) -> None:
    """507 with the true offset; HEAD, GET and DELETE go on; DELETE gives the space back, again and again (I5, I8)."""
    one = small
    life = await one.begin(data_plane_from=PATHS[path], checkpoint_bytes="1MiB")
    await one.uploaded("first", 100)
    open_before = descriptors(life.pid)
    rounds = volume_of("T7")
    for number in range(rounds):
        other, cut, gone = (f"{name}-{number}" for name in ("other", "cut", "gone"))
        await one.uploaded(other, 5 * MIB)
        await one.made(gone, 20 * MIB)
        await one.made(cut, 8 * MIB)
        assert (await one.fill(gone)).status == 507
        assert 0 < await one.offset(gone)
        assert (await one.fill(cut)).status == 507
        assert (await one.get(other)).status == 200
        await one.removed(gone)
        assert (await one.fill(cut)).status in (204, 507)
        await one.removed(other)
        assert (await one.fill(cut)).status == 204
        assert (await one.get(cut)).status == 200
        if number < rounds - 1:
            await one.removed(cut)
    nothing_but(one, "first", cut)
    await until(lambda: _at_most(lambda: descriptors(life.pid), open_before + 2))
    await until(lambda: _at_most(lambda: disks.unaccounted(one.data_dir.parent), MIB))
    await one.judged(figures, f"T7 full disk, {path}")


async def _at_most(measure: Callable[[], int], most: int) -> bool:
    return measure() <= most


@pytest.mark.needs_root("full disks")
async def test_full_at_the_creation(small: Trial, figures: Figures) -> None:
    """Creations are 507 and leave nothing behind; what is there can be read and removed (I8)."""
    one, filler = small, small.data_dir.parent / "filler"
    await one.begin()
    for key in ("done", "gone"):
        await one.uploaded(key, 10_000)
    await one.made("open", 100)
    fill_up(filler)
    await until_full(one, "more")
    nothing_but(one, "done", "gone")
    assert (await one.get("done")).status == 200
    assert await one.offset("open") == 0
    await one.removed("gone")
    filler.unlink()
    await one.uploaded("new", 1000, **SMALL)
    await one.judged(figures, "T7 full at creation")


@pytest.fixture
async def apart(stack: AsyncExitStack, them: Lives, tmp_path: Path) -> Trial:
    """A server whose database has a small disk of its own."""
    data_dir = stack.enter_context(disks.tmpfs(tmp_path / "data", size="12m"))
    stack.enter_context(disks.tmpfs(data_dir / "uploads", size="32m"))
    one = await stack.enter_async_context(trial(them, tmp_path / "data"))
    await one.begin()
    return one


@pytest.mark.needs_root("full disks")
async def test_full_for_the_database(apart: Trial, figures: Figures) -> None:
    """Where the log cannot grow, nothing is acknowledged that is not stored, and DELETE works (I1, I8)."""
    one = apart
    for key in ("gone", "other"):
        await one.uploaded(key, 1000)
    await one.made("steps", 10**6)
    fill_up(one.data_dir / "filler")
    await until_full(one, "more")
    for _ in range(OFTEN):
        at = await one.offset("steps")
        event = await one.patch("steps", at, 1000)
        if event.status == 507:
            assert await one.offset("steps") == at
            break
        assert event.status == 204, event
    assert (await one.get("other")).status == 200
    await one.removed("gone")
    (one.data_dir / "filler").unlink()
    await one.judged(figures, "T7 full database")


@pytest.mark.needs_root("full disks")
async def test_full_at_the_finish(apart: Trial, figures: Figures) -> None:
    """A finish that cannot be stored is none: no job, until it is sent again; then one event (I8, I14)."""
    one = apart
    keys = [f"last-{number}" for number in range(OFTEN)]
    for key in keys[:40]:
        await one.made(key, 100)
        assert (await one.fill(key, 99)).status == 204
    fill_up(one.data_dir / "filler")
    await until_full(one, "more")
    refused = [key for key in keys[:40] if (await one.patch(key, 99, 1)).status == 507]
    for key in refused:
        assert await one.offset(key) in (99, 100)
        assert (await one.get(key)).status == 404
    assert refused
    (one.data_dir / "filler").unlink()
    await one.judged(figures, "T7 full at the finish")


@pytest.mark.needs_root("full disks")
async def test_full_in_a_concatenation(stack: AsyncExitStack, them: Lives, tmp_path: Path, figures: Figures) -> None:
    """507, nothing of the final upload is left, its parts stay and can be joined when there is space (I8, CAT-20)."""
    disk = stack.enter_context(disks.tmpfs(tmp_path / "disk", size="24m"))
    one = await stack.enter_async_context(trial(them, disk / "data"))
    await one.begin()
    parts = ("left", "right")
    for key in parts:
        await one.uploaded(key, 4 * MIB, Upload_Concat="partial")
        one.partial.add(key)
    await one.uploaded("filler", 9 * MIB)
    for number in range(3):
        assert (await one.concat(f"refused-{number}", parts, 8 * MIB)).status == 507
        nothing_but(one, *parts, "filler")
    await one.removed("filler")
    assert (await one.concat("final", parts, 8 * MIB)).status == 201
    for key in (*parts, "final"):
        assert (await one.get(key)).status == 200
    assert one.bodies.pop("final") == one.bodies["left"] + one.bodies["right"]
    await one.judged(figures, "T7 full in a concatenation")


@pytest.mark.needs_root("full disks")
async def test_out_of_inodes(stack: AsyncExitStack, them: Lives, tmp_path: Path, figures: Figures) -> None:
    """Without inodes the first byte of an upload is 507 and all others go on; DELETE gives inodes back (I8)."""
    disk = stack.enter_context(disks.tmpfs(tmp_path / "disk", size="64m", nr_inodes=60))
    one = await stack.enter_async_context(trial(them, disk / "data"))
    await one.begin()
    keys = [f"file-{number}" for number in range(60)]
    for index, key in enumerate(keys):
        await one.made(key, 5000)
        if (await one.fill(key)).status == 507:
            made = keys[:index]
            break
    assert len(made) > 10
    nothing_but(one, *made)
    assert await one.offset(key) == 0
    for other in made[:3]:
        assert (await one.get(other)).status == 200
    # An upload may need a directory as well.
    for other in made[3:8]:
        await one.removed(other)
    assert (await one.fill(key)).status == 204
    await one.uploaded("new", 100)
    await one.judged(figures, "T7 inodes")


@by_path
async def test_limit_on_the_size_of_files(path: str, one: Trial, figures: Figures) -> None:
    """A file that may not grow is 507 with the true offset; the process lives, smaller uploads go on (I8)."""
    await one.begin(rlimits={"RLIMIT_FSIZE": 5 * MIB + 17}, data_plane_from=PATHS[path], checkpoint_bytes="1MiB")
    await one.made("large", 7 * MIB)
    for _ in range(2):
        assert (await one.fill("large")).status == 507
        assert await one.offset("large") == one.path_of("large").stat().st_size <= 5 * MIB + 17
    await one.uploaded("small", MIB)
    await one.life.end()
    await one.begin(data_plane_from=PATHS[path])
    await one.judged(figures, f"T7 size of files, {path}")


async def test_out_of_descriptors(one: Trial, figures: Figures) -> None:
    """More connections than descriptors: the server neither spins nor dies, and accepts when some are free (row 49)."""
    life = await one.begin(rlimits={"RLIMIT_NOFILE": 64})
    await one.uploaded("before", 5000)
    await one.made("open", 5000)
    # A job that finds no descriptor is tried again, and says so.
    await until(one.has_no_jobs)
    async with AsyncExitStack() as crowd:
        begun, computed = time.monotonic(), cpu_seconds(life.pid)
        wire = await crowd.enter_async_context(await Wire.open(life.url))
        wire.start("HEAD", one.urls["before"], T)
        assert (await wire.answer(head=True)).status == 200
        for _ in range(200):
            # Not awaited: some are not even let into the queue.
            guest = crowd.enter_context(socket.socket())
            guest.setblocking(False)
            guest.connect_ex(("127.0.0.1", urlsplit(life.url).port))
        await until(lambda: _is_out(one))
        wire.start("HEAD", one.urls["before"], T)
        assert (await wire.answer(head=True)).status == 200
        # It tries again every second; twice is enough to see whether it waits in between.
        await until(lambda: _passed(begun + 2.2))
        assert cpu_seconds(life.pid) - computed < 1, "the server computes although it has nothing to do"
        figures.sample("resident_kib", resident_kib(life.pid), of="200 connections, 64 descriptors")
    told = life.stderr.read_text()
    assert (told.count("action=accept_failed"), told.count("Traceback")) == (1, 0), "the log is flooded"
    await one.uploaded("after", 5000)
    await one.judged(figures, "T7 descriptors")


async def _is_out(one: Trial) -> bool:
    return "action=accept_failed" in one.life.stderr.read_text()


async def _passed(moment: float) -> bool:
    return time.monotonic() >= moment
