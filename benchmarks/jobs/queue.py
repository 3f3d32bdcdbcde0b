"""How fast jobs are worked off that have been waiting: a server is started on a database that is full of them."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.growth.fill import GROUP
from benchmarks.jobs.app import NOOPS
from benchmarks.jobs.hosts import Host, completed, directory, hosting, receiving, wait_for_end
from benchmarks.options import tell
from benchmarks.rounds import calm_down
from benchmarks.tus import Source
from tusd_py.datadir import database_in, uploads_in
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore

LEVEL = Durability.PATCH
PLACES = (4, 32)
"""Jobs at a time."""
ROUNDS = 5
"""Parts of a queue, one after the other, in which the rate is looked at: working it off again takes too long."""
NAME = NOOPS[0]
SIZE = 10 * 2**10


@dataclass(frozen=True)
class Sizes:
    """How many jobs wait, by what they are."""

    python: int
    http: int
    command: int


def measure(sizes: Sizes, place: Path, source: Source) -> dict[str, Any]:
    """Have each queue worked off once; a round is a part of it.

    Raises:
        Failed: A server did not start, or jobs did not succeed.
    """
    for count in set(asdict(sizes).values()):
        fill(_filled(place, count), count)
    rows = []
    with receiving(place, source) as url:
        for host, count in _kinds(sizes, url):
            for places in PLACES:
                played = _work_off(host, places, count, place, source)
                rows.append({"subject": host.name, "places": places, "count": count, "rounds": played})
                tell(f"queue, {host.name}, {places} at a time")
    return {"level": str(LEVEL), "rows": rows}


def _kinds(sizes: Sizes, url: str) -> Iterator[tuple[Host, int]]:
    yield Host("Python task", tasks=1), sizes.python
    yield Host("HTTP URL", settings={"jobs": {NAME: {"url": url}}}), sizes.http
    yield Host("command `true`", settings={"jobs": {NAME: {"command": ["true"]}}}), sizes.command


def _filled(place: Path, count: int) -> Path:
    return place / f"filled-{count}"


def _work_off(host: Host, places: int, count: int, place: Path, source: Source) -> list[dict[str, float]]:
    own = Host(f"{host.name} {places}", host.tasks, settings={**host.settings, "job_concurrency": places})
    data = directory(own, LEVEL, place)
    shutil.copytree(_filled(place, count), data)
    calm_down()
    with hosting(own, LEVEL, place, source):
        wait_for_end(data)
    jobs = completed(data, count)
    # By their own times: the server works before it says that it listens.
    began = min(job.history[0].began_at for job in jobs)
    ends = sorted(job.ended_at or began for job in jobs)
    bounds = [count * number // ROUNDS for number in range(ROUNDS + 1)]
    times = [began, *(ends[each - 1] for each in bounds[1:])]
    return [
        {"wall": times[number + 1] - times[number], "operations": bounds[number + 1] - bounds[number]}
        for number in range(ROUNDS)
    ]


def fill(path: Path, count: int) -> None:
    """Make a data directory with so many finished uploads, each of which owes one job."""
    path.mkdir(mode=0o700)
    uploads_in(path).mkdir(mode=0o700)
    asyncio.run(_insert(path, count))
    os.sync()


async def _insert(path: Path, count: int) -> None:
    store = SqliteInfoStore(database_in(path), durability=Durability.NONE)
    await store.open()
    try:
        jobs = _jobs(count)
        while group := [each for _, each in zip(range(GROUP), jobs, strict=False)]:
            await asyncio.gather(*(store.insert(each.event.upload, durable=False, jobs=[each]) for each in group))
    finally:
        await store.close()


def _jobs(count: int) -> Iterator[Job]:
    now = time.time()
    for number in range(count):
        upload = UploadInfo(
            id=f"{number:032x}", state=UploadState.FINISHED, offset=SIZE, synced_offset=SIZE, length=SIZE, epoch=1,
            created_at=now, finished_at=now,
        )  # fmt: skip
        event = HookEvent(moment=Moment.POST_FINISH, upload=upload, at=now)
        yield Job(upload_id=upload.id, task=NAME, event=event, scheduled_at=now, created_at=now)
