"""Every call with which the server changes or opens a file fails once: the n-th one, for all n (reliability T4)."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.faults.figures import Figures
from tests.faults.lives import Lives, lives
from tests.faults.syscalls.injection import Point, has_strace, points
from tests.faults.syscalls.story import ASKED, SYNCED
from tests.faults.syscalls.sweep import Strike, record, strike

AT_ONCE = 2
OPTIONS = {"plain": {}, "with hooks": ASKED, "without a journal": SYNCED}


@pytest.fixture
async def them(tmp_path: Path, not_run: Callable[[str, str], NoReturn]) -> AsyncIterator[Lives]:
    """Lives that can be swept."""
    if not has_strace():
        not_run("syscall sweep", "needs strace")
    async with lives(tmp_path, "tests.faults.syscalls.swept") as them:
        yield them


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
async def test_every_call_fails_once(
    options: Mapping[str, Any],
    them: Lives,
    *,
    tmp_path: Path,
    figures: Figures,
    seeds: list[int],
    volume_of: Callable[[str], int],
) -> None:
    """Whichever call fails, however: what was acknowledged is there, the rest can be repeated (I1, I5, I8, I9, I14)."""
    every = points(await record(them, tmp_path / "recorded", options))
    count = -(-volume_of("T4") // (len(OPTIONS) * len(seeds)))
    chosen = list(dict.fromkeys(point for seed in seeds for point in choose(every, count, random.Random(seed))))
    if only := os.environ.get("POINT"):
        chosen = [Point.parse(only)]
    turns = asyncio.Semaphore(AT_ONCE)

    async def take_turn(number: int, point: Point) -> Strike:
        async with turns:
            it = await strike(them, tmp_path / str(number), point, options)
        if not it.found:
            shutil.rmtree(it.place)
        return it

    strikes = await asyncio.gather(*(take_turn(number, point) for number, point in enumerate(chosen)))
    for it in strikes:
        figures.add("syscall_faults", int(it.fired), of=it.point.fault)
        figures.merge(it.figures)
    found = [sentence for it in strikes for sentence in it.found]
    assert not found, "\n".join([f"seeds {seeds}; POINT='<the words before the colon>' takes one again", *found])
    missed = Counter(it.point.call for it in strikes if not it.fired)
    # How often the kernel moves a body depends on how it arrives; nearly everything else happens as it was recorded.
    assert missed.total() <= 1 + len(strikes) // 8, missed


def choose(every: Sequence[Point], count: int, chance: random.Random) -> list[Point]:
    """Choose points of all sorts alike: the database writes so often that there would be little else."""
    sorts: dict[tuple[str, str, str], list[Point]] = {}
    for point in every:
        sorts.setdefault((point.fault, point.kind, point.call), []).append(point)
    ranked: list[tuple[int, float, Point]] = []
    for several in sorts.values():
        ranked += [(rank, chance.random(), each) for rank, each in enumerate(chance.sample(several, len(several)))]
    return [point for _, _, point in sorted(ranked)[:count]]
