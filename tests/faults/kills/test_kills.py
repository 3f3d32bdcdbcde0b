"""SIGKILL at any moment, again and again: under load, while starting, while a job runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.faults.figures import Figures
from tests.faults.kills.inspection import Batch, batch
from tests.faults.lives import lag_quantile
from tests.support.servers import WAYS_OF_BODIES

A_BATCH = 100
"""Kills with one data directory."""
SAMPLE = 3
"""Uploads that are looked at after every kill."""
LEVELS = ("none", "finish", "patch")
WAYS = tuple(WAYS_OF_BODIES.values())
LAST_MOMENT = 0.06
"""Seconds of serving after which a life ends at the latest, unless it waits for a job."""

Moment = Literal["serving", "starting", "working"]


@pytest.mark.timeout(0)
async def test_kills(tmp_path: Path, volume_of: Callable[[str], int], seeds: list[int], figures: Figures) -> None:
    """Whatever was acknowledged outlives SIGKILL at any level, and no job is missing (I1, I3-I6, I12, I14, I16)."""
    left = volume_of("T5")
    for number in range(-(-left // A_BATCH)):
        seed = f"{seeds[number % len(seeds)]}/{number}"
        place = tmp_path / str(number)
        async with batch(place, place / "data", seed) as it:
            for kill in range(min(left, A_BATCH)):
                await _one_life(it, kill, figures)
            await _check(it, seed, figures)
        left -= A_BATCH


async def _one_life(it: Batch, number: int, figures: Figures) -> None:
    settings = _settings(it, number)
    moment: Moment = it.chance.choices(("serving", "starting", "working"), (70, 15, 15))[0]
    figures.add("kills", of=moment)
    if moment == "starting":
        life = await it.lives.begin(it.data_dir, ready=False, **settings)
        await asyncio.sleep(it.chance.choice([0.005, 0.05]) * it.chance.random())
        await it.bury(life)
        return
    life = await it.begin(figures, **settings)
    ends = asyncio.get_running_loop().time() + it.chance.uniform(0.005, LAST_MOMENT)
    noted = _noted(it)
    it.them.begin()
    await it.inspection.sample(it.some(SAMPLE))
    if moment == "working":
        # The job has noted its attempt, and nobody has yet stored that it ended.
        ends += LAST_MOMENT
        while _noted(it) == noted and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(max(0.0, ends - asyncio.get_running_loop().time()))
    await it.bury(life)


def _settings(it: Batch, number: int) -> dict[str, Any]:
    """Return what this life is set to: all levels of durability, and all ways of a body."""
    checkpoints = {"checkpoint_bytes": 20_000} if it.chance.random() < 0.3 else {}
    return {"durability": LEVELS[number % 3], **WAYS[number // 3 % 3], **checkpoints}


def _noted(it: Batch) -> int:
    return it.lives.jobs.stat().st_size if it.lives.jobs.exists() else 0


async def _check(it: Batch, seed: str, figures: Figures) -> None:
    """In a last life, look at everything that there is."""
    await it.them.quiet()
    life = await it.begin(figures)
    await it.inspection.everything()
    await it.inspection.jobs_ran(rows_in=it.data_dir)
    assert await life.end() == 0
    figures.merge(it.inspection.figures())
    figures.sample("loop_lag_p99_ms", lag_quantile(it.lives.lag), of="kills")
    again = f"batch {seed}; again: --fault-seed {seed.partition('/')[0]}; the log: {it.lives.place}/history.jsonl"
    assert [] == it.inspection.violations[:20], again
    assert [] == it.complaints[:3], again
