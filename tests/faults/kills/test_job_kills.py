"""SIGKILL between the last byte of an upload and the end of its jobs: while a hook agrees, and while the jobs run."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from tests.faults.check import summary
from tests.faults.disks.trial import Trial, name_of, trial
from tests.faults.figures import OF_VIOLATIONS, Figures
from tests.faults.kills.finishers import Application, Finisher
from tests.faults.lives import NOTE, Dead, Life, Lives, lives, read_jobs
from tests.faults.oracle.checker import Violation
from tests.faults.oracle.history import Event
from tests.faults.oracle.rows import check_rows, read_rows
from tests.support.waiting import until

A_BATCH = 100
"""Kills with one data directory."""
LEVELS = ("none", "finish", "patch")
COMMAND, URL = "command", "post-finish:hear"
"""The tasks beside that of every life: every finished upload is for all three, a part only for the hook."""
UNTIL_ASKED_AGAIN = 0.97
"""Seconds for which a server waits before it asks again whether an upload may be finished."""
PATIENCE = 90.0
BUSY = "another server uses this data directory"
LOCKED = 1.0
"""Seconds within which a program that was being started has let go of the data directory."""

Moment = Literal["at once", "soon", "noted", "asked again"]


@dataclass
class Batch:
    """Lives of one data directory, those who finish uploads there, and those who are told of it."""

    one: Trial
    finisher: Finisher
    application: Application
    lives: Lives
    chance: random.Random
    refusals: int = 0
    """Starts that came too early."""


@contextlib.asynccontextmanager
async def batch(place: Path, seed: str) -> AsyncIterator[Batch]:
    """Have all of it; the log of the clients stays in `place` when something was wrong."""
    place.mkdir()
    chance = random.Random(seed)
    application = Application(place, random.Random(seed))
    async with application.listening(), lives(place) as them, trial(them, place / "data") as one:
        try:
            yield Batch(one, Finisher(one, chance), application, them, chance)
        finally:
            for life in one.lives:
                await life.kill()
            await application.gone()
    shutil.rmtree(place)


@pytest.mark.timeout(0)
async def test_job_kills(tmp_path: Path, volume_of: Callable[[str], int], seeds: list[int], figures: Figures) -> None:
    """Every finished upload has each of its jobs, under one key, and no other upload has any (I6, I14, I16)."""
    left = volume_of("T12")
    for number in range(-(-left // A_BATCH)):
        seed = f"{seeds[number % len(seeds)]}/{number}"
        async with batch(tmp_path / str(number), seed) as it:
            for kill in range(min(left, A_BATCH)):
                await _one_life(it, kill)
                figures.add("kills", of="jobs")
            violations = await _settle(it, figures)
            again = f"batch {seed}; again: --fault-seed {seed.partition('/')[0]}; the log is in {it.lives.place}"
            assert [] == violations[:20], again
        left -= A_BATCH


async def _one_life(it: Batch, number: int) -> None:
    asks = it.chance.random() < 1 / 3
    moment: Moment = it.chance.choices(("at once", "soon", "noted", "asked again"), (40, 30, 25, 5))[0]
    life = await _begin(it, **_settings(it, number), **it.application.settings(asks=asks))
    if moment == "asked again":
        await asyncio.sleep(UNTIL_ASKED_AGAIN)
    async with AsyncExitStack() as crowd:
        lasts = await it.finisher.almost(crowd)
        noted = _noted(it)
        creating = asyncio.create_task(it.finisher.at_once())
        for last in lasts:
            last.send()
        telling = [asyncio.create_task(last.told()) for last in lasts]
        await _wait(it, moment, noted)
        assert await life.kill() == -9, life.stderr.read_text()
        await asyncio.gather(creating, *telling)


async def _begin(it: Batch, **options: Any) -> Life:
    """Start a server. A program that the killed one was just starting may hold the data directory until it runs."""
    ends = asyncio.get_running_loop().time() + LOCKED
    while True:
        try:
            return await it.one.begin(**options)
        except Dead as refusal:
            if BUSY not in str(refusal) or asyncio.get_running_loop().time() > ends:
                raise
            it.refusals += 1


def _settings(it: Batch, number: int) -> dict[str, Any]:
    return {"durability": LEVELS[number % 3], "data_plane_from": it.chance.choice((1, "none"))}


async def _wait(it: Batch, moment: Moment, noted: int) -> None:
    """Wait until the server is to be killed: the last bytes are on their way."""
    if moment != "noted":
        await asyncio.sleep(it.chance.uniform(0, 0.005 if moment == "at once" else 0.04))
        return
    ends = asyncio.get_running_loop().time() + 0.1
    while _noted(it) == noted and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0)
    await asyncio.sleep(it.chance.uniform(0, 0.003))


def _noted(it: Batch) -> int:
    """Return a number that grows with every attempt of any job."""
    return len(read_jobs(it.lives.jobs)) + len(it.application.done()) + len(it.application.told)


async def _settle(it: Batch, figures: Figures) -> list[Violation]:
    """In a last life, wait for all jobs, and judge what there is; return what is wrong."""
    life = await _begin(it, **it.application.settings(asks=True))
    await until(lambda: _nothing_is_left(it), timeout=PATIENCE)
    kinds = _kinds(it.one.data_dir)
    finished = {upload for upload, (_, state) in kinds.items() if state == "finished"}
    refused = {key for upload, key in it.finisher.names().items() if kinds.get(upload, ("", ""))[1] == "rejected"}
    shown = await _shown(it, finished, refused)
    report = summary(_without_refusals(it.one.log.events(), refused), _bodies(it))
    assert await life.end() == 0, life.stderr.read_text()
    _check_logs(it)
    wrong = [*shown, *_of_jobs(it, kinds, finished, report.figures)]
    for each in wrong:
        report.figures.add(OF_VIOLATIONS[each.kind])
    for name, count in (("finished_uploads", len(finished)), ("unhandled_500s", _strange(it))):
        report.figures.counters[name].clear()
        report.figures.add(name, count)
    report.figures.add("rejected_uploads", len(refused))
    report.figures.add("refused_restarts", it.refusals)
    figures.merge(report.figures)
    assert not _strange(it)
    return [*report.violations, *wrong]


def _of_jobs(
    it: Batch, kinds: Mapping[str, tuple[str, str]], finished: Collection[str], figures: Figures
) -> list[Violation]:
    """Count the jobs; return what is wrong with them."""
    rows, whole = read_rows(it.one.data_dir), {upload for upload in finished if kinds[upload][0] != "partial"}
    assert {"completed"} >= {row.state for row in rows}, rows
    noted = {NOTE: read_jobs(it.lives.jobs), COMMAND: it.application.done(), URL: it.application.told}
    for name in ("jobs_missing", "jobs_early", "jobs_twice"):
        figures.add(name, 0)
    figures.add("jobs_done", len(rows))
    wrong = []
    for task, jobs in noted.items():
        owing = finished if task == URL else whole
        wrong += check_rows(owing, rows, jobs, task, others=kinds.keys() - owing)
        figures.add("duplicate_job_attempts", len(jobs) - len({job.event_id for job in jobs}))
    return wrong


def _strange(it: Batch) -> int:
    """Count the answers 500 but for those that are proper: nobody could be asked."""
    return sum(each.status == 500 and each.note != "ERR_HOOK_FAILED" for each in it.one.log.events())


async def _nothing_is_left(it: Batch) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{it.one.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        (waiting,) = db.execute(
            "select (select count(*) from jobs where ended_at is null)"
            " + (select count(*) from uploads where state in ('finishing', 'assembling', 'deleting'))"
        ).fetchone()
    return not waiting


def _kinds(data_dir: Path) -> dict[str, tuple[str, str]]:
    """Return the kinds and states of all uploads."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        return {row[0]: (row[1], row[2]) for row in db.execute("select id, kind, state from uploads")}


async def _shown(it: Batch, finished: Collection[str], refused: Collection[str]) -> list[Violation]:
    """Look at every upload as its client does, and download what is finished."""
    found = []
    for key, length in it.one.lengths.items():
        seen, upload = await it.one.head(key), name_of(it.one.urls[key])
        if key in refused:
            if seen.status != 410:
                found.append(Violation("undead", key, f"rejected, and HEAD is answered {seen.status}"))
        elif seen.status != 200:
            found.append(Violation("lost", key, f"HEAD is answered {seen.status}"))
        elif (seen.offset == length) != (upload in finished):
            found.append(Violation("job_missing", key, f"HEAD shows {seen.offset} of {length}, its end is another"))
        elif upload in finished and (await it.one.get(key)).status != 200:
            found.append(Violation("lost", key, "finished, and cannot be downloaded"))
    return found


def _bodies(it: Batch) -> dict[str, bytes]:
    """Return what was downloaded of uploads that are named in their bytes; the others are what their parts are."""
    bodies = it.one.bodies
    for key, parts in it.finisher.joined.items():
        if key in bodies:
            assert bodies[key] == b"".join(bodies[part] for part in parts), key
    return {key: body for key, body in bodies.items() if key not in it.finisher.joined}


def _without_refusals(events: list[Event], refused: Collection[str]) -> list[Event]:
    """Return what clients saw, where 410 says that somebody had deleted the upload."""
    known = [each for each in events if not (each.upload in refused and each.status == 410)]
    # The answer of whoever refused says nothing about the bytes.
    return [msgspec.structs.replace(each, offset=None) if each.upload in refused else each for each in known]


def _check_logs(it: Batch) -> None:
    for life in it.one.lives:
        told = life.stderr.read_text(errors="replace") if life.stderr.exists() else ""
        assert "Traceback" not in told, told
