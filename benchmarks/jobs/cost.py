"""What a finish costs when jobs are stored with it: requests, CPU time, and how long the jobs take afterwards."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Failed, Script
from benchmarks.jobs.app import ENDLESS, NOOPS
from benchmarks.jobs.hosts import PATIENCE, POLL, Host, completed, executing, hosting, wait_for_end
from benchmarks.measure import cpu_of
from benchmarks.options import tell
from benchmarks.own import Own, created
from benchmarks.rounds import calm_down
from benchmarks.site import shared, spread
from benchmarks.subjects import LEVELS
from benchmarks.tus import Source

SIZE = 10 * 2**10
CREATING = 32
"""Connections over which uploads are made that are finished later."""
NONE = "no task"
ROW = "one task, no worker"
HOSTS = (
    Host(NONE),
    Host(ROW, tasks=1, endless=True, settings={"job_concurrency": 1}),
    Host("one task", tasks=1),
    Host("three tasks", tasks=len(NOOPS)),
)


@dataclass(frozen=True)
class Sizes:
    """How much of it."""

    alone: int
    """Uploads that are finished one after the other."""
    uploads: int
    """Uploads that are finished over several connections, in each of two ways."""
    connections: int = 32


WARM = Sizes(10, 50, 8)


@dataclass
class Turn:
    """What finishing some uploads was like. Seconds."""

    wall: float
    """From the first request to the last answer."""
    operations: int
    cpu: float
    """CPU time of the server, until all jobs were done."""
    after: float
    """From the last answer until all jobs were done."""
    latency: dict[str, float]
    """Milliseconds of a request that finishes an upload."""
    bytes: int = 0
    """CPU time is told for each operation."""


class _Player:
    """One application, and how many uploads it has."""

    def __init__(self, host: Host, own: Own, data: Path) -> None:
        self.host, self.own, self.data = host, own, data
        self.uploads = 0
        if host.endless:
            self._block()

    def _block(self) -> None:
        """Have the only place of the worker taken by a job that never ends."""
        metadata = f"Upload-Metadata: {ENDLESS} {base64.b64encode(b'yes').decode()}"
        created(self.own, 1, 0, 1, metadata)
        end = time.monotonic() + PATIENCE
        while not executing(self.data):
            if time.monotonic() > end:
                raise Failed("the job that never ends did not begin")
            time.sleep(POLL)

    def turns(self, sizes: Sizes) -> dict[str, Any]:
        """Play one round."""
        return {
            "alone": asdict(self._patches(sizes.alone, 1)),
            "posts": asdict(self._posts(sizes.uploads, sizes.connections)),
            "patches": asdict(self._patches(sizes.uploads, sizes.connections)),
        }

    def _posts(self, count: int, connections: int) -> Turn:
        numbers, made = shared(count), list[str]()
        return self._timed([self.own.speaker.files(numbers, SIZE, made) for _ in range(connections)], count)

    def _patches(self, count: int, connections: int) -> Turn:
        paths = iter(created(self.own, count, SIZE, CREATING))

        def finish() -> Script:
            for path in paths:
                yield self.own.speaker.patch(path, 0, SIZE)

        return self._timed([finish() for _ in range(connections)], count)

    def _timed(self, scripts: Sequence[Script], count: int) -> Turn:
        calm_down()
        cpu = cpu_of([self.own.pid])
        load = self.own.drive(*scripts)
        answered = time.perf_counter()
        if not self.host.endless:
            # What is owed must not burden whoever comes next.
            wait_for_end(self.data)
        after = time.perf_counter() - answered if self.host.tasks and not self.host.endless else 0.0
        self.uploads += count
        return Turn(load.wall, count, cpu_of([self.own.pid]) - cpu, after, spread(load.times))

    def check(self) -> None:
        """Look whether there were as many jobs as there should be.

        Raises:
            Failed: There were not.
        """
        completed(self.data, 0 if self.host.endless else self.uploads * self.host.tasks)
        if self.host.endless and executing(self.data) != 1:
            raise Failed("jobs were begun that should not")


def measure(sizes: Sizes, rounds: int, place: Path, source: Source) -> dict[str, Any]:
    """Finish uploads in applications that run side by side, in turns, at each level of durability.

    Raises:
        Failed: One of them did not do what it should.
    """
    rows: list[dict[str, Any]] = []
    for level in LEVELS:
        with contextlib.ExitStack() as stack:
            players = list(_players(level, place, source, stack))
            found: list[dict[str, Any]] = [
                {"level": level, "subject": each.host.name, "rounds": []} for each in players
            ]
            # What comes once, with the first uploads, belongs to no round.
            for player in players:
                player.turns(WARM)
            for number in range(rounds):
                for player, row in zip(players, found, strict=True):
                    row["rounds"].append(player.turns(sizes))
                tell(f"finishes, durability {level}, round {number + 1} of {rounds}")
            for player in players:
                player.check()
        rows += found
    return {"sizes": asdict(sizes), "rows": rows}


def _players(level: str, place: Path, source: Source, stack: contextlib.ExitStack) -> Iterator[_Player]:
    for host in HOSTS:
        yield _Player(host, *stack.enter_context(hosting(host, level, place, source)))
