"""Lives begin, serve, note their jobs and end as they are told."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.faults.lives import Dead, lag_quantile, lives, read_jobs
from tests.support.client import Client
from tests.support.waiting import until


async def test_a_life(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What one life acknowledged, the next one has; jobs and lateness are counted over all of them (I1, I14)."""
    async with lives(tmp_path) as them:
        first = await them.begin(tmp_path / "data")
        url = await Client(session, first.url).upload(b"hello")
        await until(lambda: _jobs(them.jobs, 1))
        assert await first.kill() == -9
        second = await them.begin(tmp_path / "data", durability="none")
        name = url.rpartition("/")[2]
        assert (await Client(session, second.url + name).get(second.url + name)).body == b"hello"
        assert await second.end() == 0
        assert [job.upload for job in read_jobs(them.jobs)] == [name]
        assert 0 < lag_quantile(them.lag) < float("inf")


async def test_a_life_that_cannot_be(tmp_path: Path) -> None:
    """Whoever cannot serve says why."""
    async with lives(tmp_path) as them:
        await them.begin(tmp_path / "data")
        with pytest.raises(Dead, match="exit code 1: another server uses this data directory"):
            await them.begin(tmp_path / "data")


async def _jobs(path: Path, count: int) -> bool:
    return len(read_jobs(path)) >= count
