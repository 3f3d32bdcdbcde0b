"""One server during one workload: what is prepared, what is timed, what is checked and cleared away afterwards."""

from __future__ import annotations

import contextlib
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.client import Failed, Load, Script, drive
from benchmarks.measure import memory_of, tree, watching
from benchmarks.prober import probing
from benchmarks.subjects import Server

MILLI = 1000
SAMPLE = 5


@dataclass
class Outcome:
    """What one round of one subject was like. Seconds and bytes."""

    wall: float
    bytes: int = 0
    operations: int = 0
    cpu: float | None = None
    """CPU seconds of the server; not of the kernel's own threads, which write pages to the disk later."""
    client: float | None = None
    """CPU seconds of the load generator: close to `wall` means that the generator was the limit."""
    idle: int | None = None
    """Resident bytes of the server right after it started."""
    peak: int | None = None
    uploads: int = 0
    """How many were open at a time."""
    steal: float = 0.0
    latency: dict[str, float] = field(default_factory=dict)
    """Milliseconds from request to answer."""
    head: dict[str, float] = field(default_factory=dict)
    """Milliseconds that a HEAD of another client took meanwhile."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return how long things took, in milliseconds."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    rank = min(len(ordered) - 1, int(len(ordered) * 0.99))
    return {
        "count": len(ordered),
        "p50": statistics.median(ordered) * MILLI,
        "p99": ordered[rank] * MILLI,
        "max": ordered[-1] * MILLI,
    }


class Site:
    """Runs scripts against one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.speaker = server.speaker
        self.made: list[str] = []
        """Uploads that this round made."""
        self.turns = itertools.count()
        """Names for files where the client names them."""
        self._stored = 0
        self._stored_before = 0
        self._idle_upload = ""
        # Of the fresh server: what it keeps after a round is no less taken than what it takes in one.
        self._base = memory_of(tree(server.pid), "VmRSS")

    def create(self, count: int, length: int, *more: str) -> list[str]:
        """Make uploads outside of the time that counts."""
        made: list[str] = []
        self._untimed(self.speaker.create(iter(range(count)), length, made, *more))
        self.made += made
        return made

    def fill(self, path: str, size: int, *more: str) -> None:
        """Fill an upload outside of the time that counts."""
        self._untimed(self.speaker.fill(path, size, size, *more))

    def _untimed(self, script: Script) -> None:
        drive(self.speaker.address, [script])

    def timed(self, scripts: Sequence[Script], *, size: int = 0, operations: int = 0, uploads: int = 0) -> Outcome:
        """Run scripts side by side and measure.

        Args:
            scripts: One for each connection.
            size: How many bytes they store.
            operations: How many things they do, where that is what counts.
            uploads: How many are open at a time.
        """
        self._stored, self._stored_before = size, self._on_disk()
        with self._probing() as times, watching(self.server.pid) as (watch, begin):
            load: Load = drive(self.speaker.address, scripts, begin)
        return Outcome(
            wall=load.wall, bytes=size, operations=operations, cpu=watch.cpu, client=load.busy, idle=self._base,
            peak=watch.peak, uploads=uploads, steal=watch.steal, latency=spread(load.times), head=spread(times),
        )  # fmt: skip

    @contextlib.contextmanager
    def _probing(self) -> Iterator[Sequence[float]]:
        if not self.server.subject.heads:
            yield ()
            return
        if not self._idle_upload:
            made: list[str] = []
            self._untimed(self.speaker.create(iter(range(1)), 1, made))
            self._idle_upload = made[0]
        with probing(self.speaker.address, self._idle_upload) as times:
            yield times

    def _on_disk(self) -> int:
        total = 0
        for path in self.server.data.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    total += path.stat().st_size
        return total

    def check(self, paths: Sequence[str], size: int) -> None:
        """Fail when what was sent is not there: a server that drops bytes must not win.

        Raises:
            Failed: It is not.
        """
        if not self.server.subject.stores:
            return
        grown = self._on_disk() - self._stored_before
        if grown < self._stored:
            raise Failed(f"{self._stored - grown} of {self._stored} bytes are not on disk")
        if self.server.subject.heads:
            self._untimed(self.speaker.check(paths[:: max(1, len(paths) // SAMPLE)], size))

    def clear(self) -> None:
        """Remove what this round made: by the protocol where it can, else the files."""
        if "termination" in self.speaker.extensions:
            self._untimed(self.speaker.remove(self.made))
        else:
            for path in self.server.data.rglob("*"):
                if path.is_file():
                    path.unlink()
        self.made.clear()


def shared(count: int) -> Iterator[int]:
    """Return numbers that several scripts draw from, so that all of them end at about the same time."""
    return iter(range(count))
