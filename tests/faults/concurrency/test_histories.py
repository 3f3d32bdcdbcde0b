"""T3: many clients at the same uploads, while server and clients are stopped, killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults.check import Plan, summary
from tests.faults.concurrency.bands import BANDS, Band, Board, Notice, Order
from tests.faults.figures import OF_VIOLATIONS, Figures
from tests.faults.lives import Life, Lives, lag_quantile, lives, read_jobs
from tests.faults.oracle.checker import Violation, check, check_jobs
from tests.faults.oracle.history import Event, History, by_upload, read
from tests.faults.oracle.model import GONE
from tests.support import database
from tests.support.servers import WAYS_OF_BODIES, Target
from tests.support.state import holdings
from tests.support.waiting import until

LEVELS = ("none", "finish", "patch")
WAYS = tuple(WAYS_OF_BODIES.values())
HARMS = ("stop client", "kill", "stop server", "stop client", "stop client", "stop server")
MANY = 1000
"""Operations from which on a run is worth one for every level of durability."""
Bandsman = asyncio.subprocess.Process


class Nemesis:
    """Stops the server and the bands for a while, and kills the server now and then."""

    def __init__(self, them: Lives, life: Life, settings: dict[str, Any], seed: int) -> None:
        self.kills = 0
        self.life = life
        self._them = them
        self._settings = settings
        self._chance = random.Random(seed)

    async def haunt(self, bands: Sequence[Bandsman]) -> None:
        """Do harm until all bands have done their work."""
        work = asyncio.gather(*(band.wait() for band in bands))
        for harm in itertools.cycle(HARMS):
            await asyncio.wait([work], timeout=self._chance.uniform(0.2, 0.5))
            if work.done():
                break
            if harm == "kill":
                await self.life.kill()
                self.life = await self._them.begin(self.life.data_dir, **self._settings)
                self.kills += 1
            elif harm == "stop server":
                await self._stop(self.life.pid)
            else:
                band = self._chance.choice(bands)
                if band.returncode is None:
                    await self._stop(band.pid)
        assert await work == [0] * len(bands), "a band broke down"

    async def _stop(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(0.05, 0.3))
            os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def band(order: Order) -> AsyncIterator[Bandsman]:
    """Let a process of clients begin; it goes away with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "tests.faults.concurrency.bands", msgspec.json.encode(order).decode()
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.timeout(3600)
async def test_histories(seeds: list[int], volume_of: Callable[[str], int], figures: Figures, tmp_path: Path) -> None:
    """Nobody sees, loses or mixes what he must not, whoever is stopped or killed (I1, I3-I5, I10-I12, I14)."""
    ops = volume_of("T3")
    for turn in range(len(LEVELS) if ops >= MANY else 1):
        seed = seeds[turn % len(seeds)] + turn // len(seeds)
        place = tmp_path / str(turn)
        place.mkdir()
        how = {"durability": LEVELS[(seeds[0] + turn) % len(LEVELS)], **WAYS[turn % len(WAYS)]}
        found = await _mingle(place, how, Plan(clients=4, uploads=40, ops=ops // BANDS, seed=seed), figures)
        assert ([], set()) == found, f"{how}; again: OPS={ops} pytest {__file__} --fault-seed {seeds[0]}"


async def _mingle(place: Path, how: dict[str, Any], plan: Plan, figures: Figures) -> tuple[list[Violation], set[str]]:
    settings = {"port": _free_port(), "checkpoint_bytes": 4000, **how}
    async with lives(place) as them, contextlib.AsyncExitStack() as stack:
        life = await them.begin(place / "data", **settings)
        nemesis = Nemesis(them, life, settings, plan.seed)
        orders = [Order(life.url, str(place), n, replace(plan, seed=plan.seed + n)) for n in range(BANDS)]
        await nemesis.haunt([await stack.enter_async_context(band(order)) for order in orders])
        last = stack.enter_context(_last(life.url, place))
        last.read_board()
        await last.work()
        violations = await _judge(last, them, place, figures)
        figures.add("kills", nemesis.kills)
        figures.sample("loop_lag_p99_ms", lag_quantile(them.lag), of="concurrent histories")
        return violations, _left(last, nemesis.life, place)


@pytest.mark.parametrize("plane", ["none", 1])
async def test_a_stopped_client_is_taken_over_from(plane: str | int, tmp_path: Path) -> None:
    """Whoever holds a body open in a process that stands still loses the upload to the next one (I10, I11)."""
    async with lives(tmp_path) as them:
        life = await them.begin(tmp_path / "data", data_plane_from=plane)
        with _last(life.url, tmp_path) as last:
            other = last.actors[0]
            await other.create("u", 100_000)
            holds = Notice("u", 100_000, other.urls["u"])
            async with band(Order(life.url, str(tmp_path), 0, Plan(clients=1), holds)) as process:
                await Target(life.url, life.data_dir, "process").until_stored(holds.url, 50_000)
                process.send_signal(signal.SIGSTOP)
                event = await other.patch("u", 50_000, 50_000)
                process.send_signal(signal.SIGCONT)
                assert await process.wait() == 0
            await other.get("u")
            events = _events(tmp_path)
    assert event.status == 204
    assert [] == check([each for each in events if each.upload == "u"], other.bodies["u"])
    assert [event.writer] == [each.writer for each in events if each.op == "patch" and each.status == 204]


@contextlib.contextmanager
def _last(url: str, place: Path) -> Iterator[Band]:
    """Be one more client, who takes no part."""
    log, board = History(place / f"history-{BANDS}.jsonl"), Board(place)
    try:
        yield Band(Order(url, str(place), BANDS, Plan(clients=1, ops=0)), log, board)
    finally:
        log.close()
        board.close()


async def _judge(last: Band, them: Lives, place: Path, figures: Figures) -> list[Violation]:
    """Check what everybody saw, the bytes of every upload and the jobs."""
    notices = last.notices
    # A final upload that was refused for a part that is gone says nothing about itself.
    events = [each for each in _events(place) if each.op != "create" or each.status not in GONE]
    report = summary(events, {key: body for key, body in last.bodies.items() if not notices[key].parts})
    figures.merge(report.figures)
    violations = [*report.violations, *_check_finals(last, events)]
    owing = {key.rpartition("/")[2] for key in (notices[k].url for k in last.bodies if not notices[k].partial)}

    async def jobs_ran() -> bool:
        return owing <= {job.upload for job in read_jobs(them.jobs)}

    with contextlib.suppress(TimeoutError):
        await until(jobs_ran)
    jobs = read_jobs(them.jobs)
    violations += check_jobs(owing, jobs)
    again = [each for each, count in Counter((job.upload, job.attempt) for job in jobs).items() if count > 1]
    violations += [Violation("job_twice", upload, f"attempt {attempt} was made twice") for upload, attempt in again]
    for each in violations[len(report.violations) :]:
        figures.add(OF_VIOLATIONS[each.kind])
    figures.add("finished_uploads", sum(bool(notices[key].parts) for key in last.bodies))
    figures.add("duplicate_job_attempts", sum(job.attempt > 1 for job in jobs))
    assert violations or not report.figures.total("unhandled_500s"), report.statuses
    assert violations or {"patch 204", "patch 409", "patch unknown", "get 200"} <= set(report.statuses)
    return violations


def _check_finals(last: Band, events: Sequence[Event]) -> list[Violation]:
    """Each piece of a final upload is what was stored of its part."""
    uploads, violations = by_upload(events), []
    for notice in (last.notices[key] for key in last.bodies):
        start = 0
        for part in notice.parts:
            end = start + last.lengths[part]
            violations += check(uploads[part], last.bodies[notice.key][start:end], events)
            start = end
    return violations


def _left(last: Band, life: Life, place: Path) -> set[str]:
    """Return what is left of uploads that were deleted, and what has data or a row only (I12).

    A creation without bytes makes no data. All uploads that somebody knows of are full by now, so that such a row is of
    a creation whose answer never came.
    """
    events, urls = _events(place), last.actors[0].urls
    deleted = {urls[e.upload].rpartition("/")[2] for e in events if e.op == "delete" and e.status == 204}
    held = [each.split() for each in holdings(Target(life.url, life.data_dir, "process"))]
    files = {name for kind, name in held if kind == "file"}
    rows = {name for kind, name in held if kind == "row"}
    empty = {name for (name,) in database.rows(life.data_dir, "select id from uploads where offset = 0")}
    strangers = rows - {url.rpartition("/")[2] for url in urls.values()}
    unknown = sum(e.op == "create" and e.status is None for e in events)
    assert len(strangers | (files - rows)) <= unknown
    return (deleted & (files | rows)) | (rows - (strangers & empty) - files)


def _events(place: Path) -> list[Event]:
    return [event for path in sorted(place.glob("history-*.jsonl")) for event in read(path)]


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
