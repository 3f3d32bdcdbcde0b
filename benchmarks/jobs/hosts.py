"""The applications that run, and what their databases say of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.client import Failed
from benchmarks.own import Own, running
from benchmarks.tus import Source
from tusd_py.datadir import database_in
from tusd_py.models.job import Job, JobState
from tusd_py.models.limits import Durability
from tusd_py.stores.sqlite import SqliteInfoStore

APP = "benchmarks.jobs.app"
POLL = 0.05
PATIENCE = 300.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Host:
    """An application: what is registered with it, and its settings."""

    name: str
    tasks: int = 0
    endless: bool = False
    hook: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def at(self, data: Path, level: str) -> str:
        """Return what its process is given."""
        settings = {"data_dir": str(data), "durability": level, **self.settings}
        given = {"settings": settings, "tasks": self.tasks, "endless": self.endless, "hook": self.hook}
        return json.dumps(given)


@contextlib.contextmanager
def hosting(host: Host, level: str, place: Path, source: Source) -> Iterator[tuple[Own, Path]]:
    """Run an application until the block ends; yield it and its data directory, which may be there before.

    Raises:
        Failed: It did not start.
    """
    data = directory(host, level, place)
    with running([APP, host.at(data, level)], source, data.with_name(f"{data.name}.log")) as own:
        yield own, data


def directory(host: Host, level: str, place: Path) -> Path:
    """Return where the data of an application goes."""
    return place / re.sub(r"\W", "-", f"{host.name}-{level}")


@contextlib.contextmanager
def receiving(place: Path, source: Source) -> Iterator[str]:
    """Run a receiver until the block ends; yield its URL."""
    with running([APP], source, place / "receiver.log") as own:
        host, port = own.speaker.address
        yield f"http://{host}:{port}{own.speaker.path}"


def look(data: Path, question: Callable[[SqliteInfoStore], Awaitable[Answer]]) -> Answer:
    """Ask the database of an application; safe beside it."""

    async def ask() -> Answer:
        store = SqliteInfoStore(database_in(data), durability=Durability.NONE, read_only=True)
        await store.open()
        try:
            return await question(store)
        finally:
            await store.close()

    return asyncio.run(ask())


def wait_for_end(data: Path) -> None:
    """Wait until every job has ended.

    Raises:
        Failed: They took too long.
    """
    end = time.monotonic() + PATIENCE
    while look(data, lambda store: store.next_job_at()) is not None:
        if time.monotonic() > end:
            raise Failed(f"there were jobs left after {PATIENCE:.0f} s")
        time.sleep(POLL)


def completed(data: Path, count: int) -> list[Job]:
    """Return the jobs of an application, which has done every one at the first attempt.

    Raises:
        Failed: Something else became of them.
    """
    jobs = look(data, lambda store: store.list_jobs(states=(JobState.COMPLETED,), limit=count + 1))
    if len(jobs) != count or any(job.attempt != 1 for job in jobs):
        raise Failed(f"of {count} jobs, {len(jobs)} were completed")
    return jobs


def executing(data: Path) -> int:
    """Return how many jobs have begun and not ended."""
    return len(look(data, lambda store: store.list_jobs(states=(JobState.EXECUTING,))))
