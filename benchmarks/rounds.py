"""Going round: every subject of a workload in turn, A B C A B C, so that what drifts burdens all of them alike."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.client import Failed
from benchmarks.processors import on
from benchmarks.remounting import synced
from benchmarks.site import Outcome, Site
from benchmarks.subjects import Subject, serving
from benchmarks.tus import Source
from benchmarks.workloads import MIB, Sizes, Workload
from conformance.peers import NotRun

RESERVE = 2**30
CALM = 0.05
LITTLE = 256 * MIB
"""So many bytes may stay until a workload is over: removing many small uploads takes longer than making them."""


@dataclass
class Row:
    """What came out for one subject."""

    subject: str
    version: str = ""
    note: str = ""
    reason: str = ""
    """Why there are no figures."""
    remarks: list[str] = field(default_factory=list)
    """What this subject did otherwise than the workload says."""
    rounds: list[Outcome] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@contextlib.contextmanager
def source_of(place: Path, size: int) -> Iterator[Source]:
    """Make a file of random bytes, in the page cache, until the block ends."""
    start = os.urandom(MIB)
    with tempfile.NamedTemporaryFile(dir=place) as file:
        file.write(start)
        for _ in range(MIB, size, MIB):
            file.write(os.urandom(MIB))
        file.flush()
        os.fsync(file.fileno())
        yield Source(file.fileno(), size, start, file.name)


def more_files() -> None:
    """Raise the soft limit of open files to the hard one; servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True)
class Stage:
    """Who plays, where, and how often."""

    rounds: int
    subjects: Mapping[str, Subject]
    """Servers that could take part, by name."""
    limits: Collection[str]
    """Limits without a server that are wanted."""
    place: Path
    """A directory for the data."""
    tell: Callable[[str], None]
    """Called with a line for each figure."""
    warm: Callable[[], None] = lambda: None
    """Called before each turn, to see to the memory."""
    processors: Collection[int] = frozenset(os.sched_getaffinity(0))
    """Those that servers run on."""


def play(workload: Workload, sizes: Sizes, stage: Stage) -> list[Row]:
    """Run one workload with everybody who takes part and return what came out, one row each."""
    rows = {name: Row(name) for name in workload.subjects if name in stage.subjects}
    rows |= {name: Row(name) for name in workload.limits if name in stage.limits}
    free = shutil.disk_usage(stage.place).free
    if (needed := sizes.space + RESERVE) > free:
        for row in rows.values():
            row.reason = f"{needed // MIB} MiB of free disk are needed, {free // MIB} MiB are there"
        return list(rows.values())
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(source_of(stage.place, max(sizes.size, MIB)))
        cast = _Cast(workload, sizes, stage, source, stack)
        players = {name: player for name, row in rows.items() if (player := cast.player(row)) is not None}
        for number in range(stage.rounds):
            for name, player in list(players.items()):
                try:
                    outcome = player()
                except (Failed, NotRun) as failed:
                    rows[name].reason, rows[name].rounds = str(failed), []
                    del players[name]
                    stage.tell(f"{workload.name} {name}: {failed}")
                    continue
                rows[name].rounds.append(outcome)
                stage.tell(f"{workload.name} round {number + 1} {name}: {outcome.wall:.3f} s")
    return list(rows.values())


@dataclass(frozen=True)
class _Cast:
    workload: Workload
    sizes: Sizes
    stage: Stage
    source: Source
    stack: contextlib.ExitStack
    """Ends the servers."""

    def player(self, row: Row) -> Callable[[], Outcome] | None:
        """Return what plays one round, or note why there is nothing."""
        if row.subject in self.workload.limits:
            return self._local(row.subject)
        subject = self.stage.subjects[row.subject]
        directory = self.stage.place / re.sub(r"\W", "-", f"{self.workload.name}-{row.subject}")
        try:
            with on(self.stage.processors):
                server = self.stack.enter_context(serving(subject, self.source, directory))
        except NotRun as reason:
            row.reason = f"missing: {reason}"
            return None
        row.version, row.note = server.peer.version, server.peer.note
        row.remarks += [f"without {each}" for each in self.workload.prefers if each not in server.speaker.extensions]
        return self._served(Site(server))

    def _served(self, site: Site) -> Callable[[], Outcome]:
        def play_once() -> Outcome:
            calm_down()
            self.stage.warm()
            try:
                with synced(self.stage.place) if site.server.subject.synced else contextlib.nullcontext():
                    return self.workload.run(site, self.sizes)
            finally:
                if self.sizes.space >= LITTLE:
                    with contextlib.suppress(Failed):
                        site.clear()

        return play_once

    def _local(self, name: str) -> Callable[[], Outcome]:
        place = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=self.stage.place)))

        def play_once() -> Outcome:
            calm_down()
            self.stage.warm()
            try:
                return self.workload.limits[name](self.source, self.sizes, place)
            finally:
                for path in place.iterdir():
                    path.unlink()

        return play_once


def calm_down() -> None:
    """Let the disk have what the one before wrote, so that it does not burden the next."""
    os.sync()
    time.sleep(CALM)
