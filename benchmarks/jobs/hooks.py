"""What it costs that somebody has to agree before an upload is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.jobs.hosts import Host, hosting, receiving
from benchmarks.options import tell
from benchmarks.own import Own
from benchmarks.rounds import calm_down
from benchmarks.site import shared, spread
from benchmarks.subjects import LEVELS
from benchmarks.tus import Source

NONE = "no hook"
SIZE = 2**20


@dataclass(frozen=True)
class Sizes:
    """How many uploads are made in a round."""

    creations: int
    commands: int
    """The same where a program is started for each."""
    connections: int = 32


def measure(sizes: Sizes, rounds: int, place: Path, source: Source) -> dict[str, Any]:
    """Make uploads in applications that run side by side, in turns, at each level of durability.

    Raises:
        Failed: One of them did not start, or refused.
    """
    rows: list[dict[str, Any]] = []
    with receiving(place, source) as url:
        for level in LEVELS:
            with contextlib.ExitStack() as stack:
                found: list[dict[str, Any]] = []
                owns = []
                for host, count in _hosts(sizes, url):
                    owns.append(stack.enter_context(hosting(host, level, place, source))[0])
                    found.append({"level": level, "subject": host.name, "count": count, "rounds": []})
                for number in range(rounds):
                    for own, row in zip(owns, found, strict=True):
                        row["rounds"].append(_create(own, row["count"], sizes.connections))
                    tell(f"creations, durability {level}, round {number + 1} of {rounds}")
            rows += found
    return {"sizes": asdict(sizes), "rows": rows}


def _hosts(sizes: Sizes, url: str) -> Iterator[tuple[Host, int]]:
    yield Host(NONE), sizes.creations
    yield Host("Python", hook=True), sizes.creations
    yield Host("HTTP", settings=_asking(url=url)), sizes.creations
    yield Host("command `true`", settings=_asking(command=["true"])), sizes.commands


def _asking(**whom: object) -> dict[str, Any]:
    return {"hooks": {"noop": {**whom, "events": ["pre-create"]}}}


def _create(own: Own, count: int, connections: int) -> dict[str, Any]:
    calm_down()
    numbers, made = shared(count), list[str]()
    load = own.drive(*(own.speaker.create(numbers, SIZE, made) for _ in range(connections)))
    return {"wall": load.wall, "operations": count, "latency": spread(load.times)}
