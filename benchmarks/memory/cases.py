"""What is measured: a fresh server each time, what it has at rest, and the most that it has under a load."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Script
from benchmarks.measure import forget_peaks
from benchmarks.memory.clients import Body, Crowd, crowd, idlers
from benchmarks.memory.frozen import disk, freezing
from benchmarks.own import Own, created, serving
from benchmarks.prober import probing
from benchmarks.site import spread
from benchmarks.subjects import LEVELS
from benchmarks.tus import Source

KIB, MIB, GIB = 2**10, 2**20, 2**30
SLOW, FAST, FROZEN = "slow", "fast", "disk held up"
FIRST, DROP = 300 * KIB, KIB
"""What a slow client sends at once, and then each second."""
BLOCK = 4 * KIB
"""What a small file takes of the disk."""
CONNECTIONS = 16
"""Over so many uploads are made."""
FILLER = 15_000
"""Uploads made before those that count at rest: more than the server remembers, so that its memory of them, and what
its allocator keeps, is full."""


@dataclass(frozen=True)
class Way:
    """A way in which bodies come in."""

    name: str
    flags: Sequence[str]
    chunked: bool


WAYS = (
    Way("data plane", (), chunked=False),
    Way("portable", ("--data-plane-from", "none"), chunked=False),
    Way("portable, chunked body", (), chunked=True),
)


@dataclass(frozen=True)
class Sizes:
    """How much of it."""

    crowds: Sequence[tuple[int, int]] = ((100, 20 * MIB), (1_000, 4 * MIB))
    """Clients at once, and the bytes that each fast one sends; slow ones announce the first of these sizes."""
    hold: float = 8.0
    """Seconds for which slow clients trickle, and a disk is held up."""
    connections: int = 1_000
    uploads: int = 10_000
    bodies: Sequence[int] = (64 * MIB, GIB)
    filler: int = FILLER


@dataclass
class Round:
    """What one round of a case was like, in bytes."""

    base: int
    """Resident, at rest."""
    peak: int
    """The most resident under the load; at rest what there was afterwards."""
    head: dict[str, float]
    """Milliseconds that a HEAD of another client took meanwhile."""


@dataclass(frozen=True)
class Case:
    """One line of a table."""

    table: str
    what: str
    way: str
    level: str
    count: int
    """Among how many the memory is divided."""
    size: int
    """Bytes of one upload."""
    space: int
    """Bytes that it takes of the disk."""
    measure: Callable[[Path, Source], Round]

    def as_json(self) -> dict[str, Any]:
        """Return what it is, as JSON has it."""
        told = {name: value for name, value in vars(self).items() if name not in ("measure", "space")}
        return told | {"rounds": [], "reason": ""}


def cases(sizes: Sizes) -> Iterator[Case]:
    """Return everything there is to measure."""
    yield Case("rest", "connection, idle", "", "", sizes.connections, 0, 0, _idle(sizes.connections))
    for what, finished in (("open upload, not touched", False), ("finished upload, not touched", True)):
        yield Case("rest", what, "", "", sizes.uploads, 0, sizes.uploads * BLOCK, _resting(sizes, finished=finished))
    for kind in (SLOW, FAST, FROZEN):
        for count, size in sizes.crowds:
            announced = sizes.crowds[0][1] if kind == SLOW else size
            space = count * {SLOW: 2 * FIRST, FAST: size, FROZEN: 0}[kind]
            for way in WAYS:
                for level in LEVELS:
                    measure = _crowded(kind, way, level, count=count, size=announced, hold=sizes.hold)
                    yield Case("crowd", kind, way.name, level, count, announced, space, measure)
    for way in WAYS:
        for size in sizes.bodies:
            measure = _crowded(FAST, way, LEVELS[0], count=1, size=size, hold=sizes.hold)
            yield Case("body", FAST, way.name, LEVELS[0], 1, size, size, measure)


def as_json(played: Round) -> dict[str, Any]:
    """Return a round as JSON has it."""
    return asdict(played)


def _idle(count: int) -> Callable[[Path, Source], Round]:
    def measure(place: Path, source: Source) -> Round:
        with _fresh(place, source) as own:
            [path] = created(own, 1, 1)
            with idlers(own.speaker.address, CONNECTIONS, path):
                pass
            base = own.resident()
            with idlers(own.speaker.address, count, path):
                return Round(base, own.resident(), {})

    return measure


def _resting(sizes: Sizes, *, finished: bool) -> Callable[[Path, Source], Round]:
    def measure(place: Path, source: Source) -> Round:
        with _fresh(place, source, "--durability", "none") as own:
            _make(own, sizes.filler, finished=finished)
            base = own.resident()
            _make(own, sizes.uploads, finished=finished)
            return Round(base, own.resident(), {})

    return measure


def _make(own: Own, count: int, *, finished: bool) -> None:
    if not finished:
        created(own, count, MIB, CONNECTIONS)
        return
    numbers, made = iter(range(count)), list[str]()
    scripts: list[Script] = [own.speaker.files(numbers, KIB, made) for _ in range(CONNECTIONS)]
    own.drive(*scripts)


def _crowded(
    kind: str, way: Way, level: str, *, count: int, size: int, hold: float
) -> Callable[[Path, Source], Round]:  # fmt: skip
    def measure(place: Path, source: Source) -> Round:
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(disk(place)) if kind == FROZEN else place
            own = stack.enter_context(_fresh(root, source, *way.flags, "--durability", level, log=place / "log"))
            content = memoryview(source.start)
            warm, idle, *paths = created(own, count + 2, size, CONNECTIONS)
            # What comes once, with the first upload, is no memory per upload.
            with crowd(own.speaker.address, [warm], Body(size, way.chunked, content), min(size, MIB)) as one:
                one.push_for(0.5)
            base = own.resident()
            forget_peaks([own.pid])
            body = Body(size, way.chunked, content)
            first = min(size, FIRST) if kind == SLOW else size
            with probing(own.speaker.address, idle) as times, crowd(own.speaker.address, paths, body, first) as clients:
                _load(clients, kind, root, hold)
                peak = own.resident("VmHWM")
            return Round(base, peak, spread(times))

    return measure


def _load(clients: Crowd, kind: str, root: Path, hold: float) -> None:
    if kind == SLOW:
        clients.trickle(hold, DROP)
    elif kind == FAST:
        clients.finish()
    else:
        with freezing(root):
            clients.push_for(hold)


@contextlib.contextmanager
def _fresh(place: Path, source: Source, *flags: str, log: Path | None = None) -> Iterator[Own]:
    """Run a server on an empty directory until the block ends; give back the space that it took."""
    data = place / "data"
    try:
        with serving(data, source, *flags, log=log) as own:
            yield own
    finally:
        # Emptied, not removed: see `benchmarks.subjects.serving`.
        for path in data.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)
