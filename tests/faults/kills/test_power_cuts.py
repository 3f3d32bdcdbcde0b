"""Power cuts on real file systems: what was promised at each level of durability is there after the next boot."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.faults.figures import Figures
from tests.faults.kills.inspection import Batch, Inspection, batch
from tests.faults.kills.power import SYSTEMS, Disk, NoDisk, System, disk
from tests.faults.lives import Dead, Life
from tusd_py.stores.sqlite.boot import BOOT_ID_VARIABLE

A_BATCH = 50
"""Power cuts on one file system before it is made new."""
LEVELS = ("none", "finish", "patch")
SHORTEST, LONGEST = 0.03, 0.15
"""Seconds of load before a cut."""

MakeDisk = Callable[[System, Path], Disk]


@pytest.fixture
def make_disk(not_run: Callable[[str, str], NoReturn]) -> Iterator[MakeDisk]:
    """Have disks; not left to the loop, which a Ctrl-C may never resume, they go whatever happens."""
    with ExitStack() as stack:

        def make(system: System, place: Path) -> Disk:
            try:
                return stack.enter_context(disk(system, place))
            except NoDisk as reason:
                not_run(f"power cuts on {system.name}", str(reason))

        yield make


@pytest.mark.needs_root("power cuts")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name.replace(" ", "-"))
async def test_power_cuts(
    system: System,
    make_disk: MakeDisk,
    *,
    tmp_path: Path,
    volume_of: Callable[[str], int],
    seeds: list[int],
    figures: Figures,
) -> None:
    """No level serves what was never sent, `finish` keeps finished uploads and jobs, `patch` all (I1, I3, I7, I14)."""
    left, number = _share(system, volume_of("T6")), 0
    its = make_disk(system, tmp_path / "disk")
    while left > 0:
        seed = f"{seeds[number % len(seeds)]}/{system.name}/{number}"
        async with batch(tmp_path / str(number), its.place / "data", seed) as it:
            await _cuts(it, its, min(left, A_BATCH), figures)
            figures.add("power_cuts", min(left, A_BATCH), of=system.name)
            figures.merge(it.inspection.figures())
            again = f"batch {seed}; again: --fault-seed {seed.partition('/')[0]}; the log is in {it.lives.place}"
            assert [] == it.inspection.violations[:20], again
            assert [] == it.complaints[:3], again
        left, number = left - A_BATCH, number + 1
        await its.renew()


async def _cuts(it: Batch, its: Disk, count: int, figures: Figures) -> None:
    level, boot = "", 1
    for number in range(count):
        # A clean boot takes nothing back at any level.
        cut, level = level, LEVELS[number % 3]
        environ = {BOOT_ID_VARIABLE: f"boot {boot}"}
        life = await it.begin(figures, environ=environ, durability=level, **_settings(it))
        await it.inspection.everything(cut)
        await _work(it, its)
        await _cut(it, its, life)
        # Where nothing may be lost, it does not matter whether the server knows.
        boot += level != "patch" or it.chance.random() < 0.5
    life = await it.begin(figures, environ={BOOT_ID_VARIABLE: f"boot {boot}"})
    await it.inspection.everything(level)
    await it.inspection.jobs_ran()
    assert await life.end() == 0


def _settings(it: Batch) -> dict[str, str]:
    """Return what this life is set to: short bodies are in a journal that stays, or is settled all the time, or not."""
    return {
        "journal_up_to": it.chance.choice(["64KiB", "64KiB", "none"]),
        "sweep_interval": it.chance.choice(["50ms", "1m", "1m"]),
    }


async def _work(it: Batch, its: Disk) -> None:
    """Let the clients work; the kernel may write anything back at any time, and now and then it is made to."""
    it.them.begin()
    for _ in range(2):
        await asyncio.sleep(it.chance.uniform(SHORTEST, LONGEST) / 2)
        _write_back(it, its)


async def _cut(it: Batch, its: Disk, life: Life) -> None:
    await it.freeze(life)
    its.cut()
    await it.bury(life)
    await it.them.quiet()
    await its.remount()


def _write_back(it: Batch, its: Disk) -> None:
    known = it.some(1)
    chosen = it.chance.choice(["", "", "the log of the database", "a file"])
    if chosen == "a file" and known:
        its.sync(it.them.path(known[0]))
    elif chosen:
        its.sync(it.data_dir / "uploads.sqlite3-wal")


def _share(system: System, cuts: int) -> int:
    """Return how many of all cuts this file system gets; one that cannot be made gets one, which says so."""
    able = [each for each in SYSTEMS if shutil.which(each.make[0])]
    if system not in able:
        return 1
    place = able.index(system)
    return cuts * (place + 1) // len(able) - cuts * place // len(able)


@pytest.mark.needs_root("power cuts")
@pytest.mark.timeout(0)
async def test_cuts_do_harm(
    make_disk: MakeDisk, tmp_path: Path, volume_of: Callable[[str], int], seeds: list[int], figures: Figures
) -> None:
    """A server that syncs nothing and is not told of the cut is found out, else no other result meant much (I1)."""
    cuts, found = max(4, volume_of("T6") // 10), 0
    its = make_disk(SYSTEMS[0], tmp_path / "disk")
    async with batch(tmp_path / "batch", its.place / "data", f"{seeds[0]}/unsafe") as it:
        for _ in range(cuts):
            life = await it.begin(Figures(), durability="none")
            await _work(it, its)
            await _cut(it, its, life)
            found += await _is_harmed(it)
            await its.renew()
    figures.fact("unsafe cuts found out", f"{found} of {cuts}")
    # Where hardly anything was acknowledged before the cut, hardly anything can be missed.
    assert found > 0


async def _is_harmed(it: Batch) -> bool:
    """Judge as if everything had been promised, and leave nothing to the next cut."""
    inspection = Inspection(it.them, it.lives.jobs)
    try:
        life = await it.begin(Figures(), durability="none")
        await inspection.everything()
        await it.bury(life)
    except Dead:
        return True
    finally:
        for key in list(it.them.uploads):
            it.them.forget(key)
    return bool(inspection.violations)
