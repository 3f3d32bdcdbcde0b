"""A sweep: how fast what ran out of time goes, what that costs, and what other clients feel meanwhile."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.client import Failed
from benchmarks.growth.fill import Filled, left
from benchmarks.measure import cpu_of
from benchmarks.own import Own, serving
from benchmarks.prober import probing
from benchmarks.site import spread
from benchmarks.tus import Source

INTERVAL = 2.0
"""Seconds after the start at which the first sweep begins."""
PATIENCE = 60.0
"""Seconds after which nobody waits for the end: so much as was removed by then is told."""
POLL = 0.25


@dataclass
class Swept:
    """What a sweep was like."""

    expired: int
    """How many uploads were to go."""
    removed: int
    """How many were gone when the sweep was over, or patience at its end."""
    wall: float
    """Seconds from the first removal to the last."""
    cpu: float
    """CPU seconds of the server, those of the HEADs meanwhile taken off."""
    head: dict[str, float]
    """Milliseconds that a HEAD of another client took meanwhile."""
    idle: dict[str, float]
    """The same before it began."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def sweep(filled: Filled, source: Source) -> Swept:
    """Watch a server remove what is expired.

    Raises:
        Failed: It did not start, or removed nothing.
    """
    flags = ("--sweep-interval", f"{INTERVAL:g}s", "--log-format", "json")
    expired = left(filled)
    with serving(filled.path, source, *flags) as own:
        idle_upload = own.speaker.path + filled.known[0]
        with probing(own.speaker.address, idle_upload) as idle:
            rate = _rate(own, INTERVAL / 2)
        with probing(own.speaker.address, idle_upload) as times:
            began, cpu = time.perf_counter(), cpu_of([own.pid])
            removals = _until_over(own, filled, expired)
            used = cpu_of([own.pid]) - cpu - rate * (time.perf_counter() - began)
    if len(removals) < min(expired, 1):
        raise Failed("the sweep removed nothing")
    wall = removals[-1] - removals[0] if removals else 0.0
    return Swept(
        expired=expired, removed=len(removals), wall=wall, cpu=max(0.0, used),
        head=spread(times), idle=spread(idle),
    )  # fmt: skip


def _rate(own: Own, seconds: float) -> float:
    """Return what the server uses per second while only the prober asks."""
    cpu, began = cpu_of([own.pid]), time.perf_counter()
    time.sleep(seconds)
    return (cpu_of([own.pid]) - cpu) / (time.perf_counter() - began)


def _until_over(own: Own, filled: Filled, expired: int) -> Sequence[float]:
    """Wait until nothing is left to remove; return when uploads were removed, as the server logged it."""
    end = time.monotonic() + INTERVAL + PATIENCE
    removals: list[float] = []
    with own.log.open(encoding="utf-8") as log:
        partial = ""
        while time.monotonic() < end:
            time.sleep(POLL)
            partial += log.read()
            *lines, partial = partial.split("\n")
            removals += [_moment(line) for line in lines if '"upload_expired"' in line]
            if len(removals) >= expired:
                break
    return removals


def _moment(line: str) -> float:
    return datetime.datetime.fromisoformat(json.loads(line)["time"]).timestamp()
