"""One fault in one life of the server: what its client sees then, what it finds in the next life, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.check import summary
from tests.faults.figures import OF_VIOLATIONS, Figures
from tests.faults.lives import ENDED, NOTE, Dead, Life, Lives, read_jobs
from tests.faults.oracle.checker import Job, check_jobs
from tests.faults.oracle.history import Event, History
from tests.faults.syscalls.injection import INJECTED, Point, counted, injecting, recorded, traced
from tests.faults.syscalls.story import FINAL, SETTINGS, Teller
from tests.faults.syscalls.swept import VARIABLE, jobs_of
from tests.support.waiting import until

TRIES = 3
"""So often the story is told before it must have come true: the n-th call comes once in each thread."""
ANSWERS = frozenset({200, 201, 204, 404, 423, 500, 503, 507})
"""404 only to whoever asks for what is deleted; the checker knows."""
WORKS = [201, 204, 200, 204]
"""The answers to an upload that is made, filled, looked at and removed."""
UNHANDLED = ("a request failed", "never retrieved", "Exception in", "Exception ignored", "Error handling", "Unhandled")
"""What is logged of errors that nobody had thought of; of all others the server speaks in words of its own."""

VISIBLE = "select id, state, offset from uploads where state in ('open', 'finished')"


@dataclass
class Strike:
    """A fault and what came of it."""

    point: Point
    place: Path
    options: Mapping[str, Any]
    """Of its lives, beside the settings of the story."""
    log: History
    teller: Teller
    fired: bool = False
    found: list[str] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)

    def find(self, sentence: str) -> None:
        """Add something that was broken."""
        self.found.append(f"{self.point}: {sentence}")

    @property
    def data_dir(self) -> Path:
        return self.place / "data"


async def record(them: Lives, place: Path, options: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Tell the story to a server that nothing happens to; return how many calls of each kind it makes."""
    place.mkdir()
    data_dir = place / "data"
    life = await them.begin(data_dir, environ={VARIABLE: "{}"}, ready=False, **SETTINGS, **options)
    log = History(place / "history.jsonl")
    try:
        async with recorded(them, life, place / "calls"):
            assert [] == await Teller(life.url, log, writers=itertools.count(1)).tell()
    finally:
        log.close()
    return counted(place / "calls", data_dir)


async def strike(them: Lives, place: Path, point: Point, options: Mapping[str, Any]) -> Strike:
    """Let a fault happen, go on in another life until the story has come true, and judge both lives."""
    place.mkdir()
    log = History(place / "history.jsonl")
    it = Strike(point, place, options, log, Teller("", log, writers=itertools.count(1), timeout=10))
    try:
        async with _struck(them, it) as life:
            await _first_life(it, them, life)
        it.fired = it.fired or _has_fired(it)
        _read_stderr(it, life)
        _compare(it, "after the fault")
        await _second_life(it, them)
        _compare(it, "in the end")
        _judge(it)
    finally:
        log.close()
    return it


@contextlib.asynccontextmanager
async def _struck(them: Lives, it: Strike) -> AsyncIterator[Life]:
    """Begin a life that the fault lies in wait for; kill it in the end."""
    fired, point = it.place / "fired", it.point
    harm = {"call": point.call, "number": point.number, "fault": point.fault, "fired": str(fired)}
    order = {VARIABLE: json.dumps({} if point.fault in INJECTED else harm)}
    life = await them.begin(it.data_dir, environ=order, ready=False, **SETTINGS, **it.options)
    if point.fault in INJECTED:
        async with traced(life, fired, *injecting(it.data_dir, point)):
            yield life
        return
    try:
        yield life
    finally:
        await life.kill()


def _has_fired(it: Strike) -> bool:
    fired = it.place / "fired"
    return fired.exists() and (it.point.fault not in INJECTED or "(INJECTED)" in fired.read_text(errors="replace"))


async def _first_life(it: Strike, them: Lives, life: Life) -> None:
    """Tell the story until the fault has happened; if the server has survived it, nothing may be left of it."""
    try:
        await them.served(life)
    except Dead as refusal:
        it.fired = it.point.fault == "KILL"
        if not it.fired and not str(refusal).startswith("exit code 1:"):
            it.find(f"did not start: {refusal}")
        return
    it.teller.move(life.url)
    await it.teller.tell()
    told = it.log.events()
    if it.point.fault == "KILL":
        if any(event.status is None for event in told):
            it.fired = await asyncio.wait_for(asyncio.shield(life.ended), 10) == -9
        return
    for event in told:
        if (wrong := _wrong_answer(event, it.point)) is not None:
            it.find(wrong)
    await _works(it, "after the fault")


def _wrong_answer(event: Event, point: Point) -> str | None:
    """Every request has an answer that clients understand (I8), and one that tells programs what it is."""
    if event.status not in ANSWERS:
        return f"{event.op.upper()} of {event.upload} was answered {event.status} {event.note}"
    if event.status >= 400 and event.op != "head" and not event.note.startswith("ERR_"):
        return f"{event.op.upper()} of {event.upload} was answered {event.status} without a code"
    if event.status == 500 and point.fault == "ENOSPC" and point.kind == "data":
        return f"{event.op.upper()} of {event.upload} was answered 500 {event.note} on a full disk"
    return None


async def _works(it: Strike, when: str) -> None:
    """Others are served, and the story comes true when it is told again."""
    asides = [await it.teller.aside() for _ in range(TRIES)]
    answers = [[event.status for event in aside] for aside in asides]
    if WORKS not in answers:
        it.find(f"{when} another upload is answered {answers}")
    left: Sequence[str] = ["everything"]
    for _ in range(TRIES):
        if not left:
            break
        left = await it.teller.tell()
    if left:
        last = [f"{event.op} {event.upload} {event.status} {event.note}" for event in it.log.events()[-8:]]
        it.find(f"{when} this does not come true: {', '.join(left)}; the last answers: {'; '.join(last)}")


async def _second_life(it: Strike, them: Lives) -> None:
    """Another process, to which nothing happens, has all of it, runs the jobs and ends as asked to."""
    try:
        life = await them.begin(it.data_dir, **SETTINGS, **it.options)
    except Dead as refusal:
        it.find(f"does not start again: {refusal}")
        return
    it.teller.move(life.url)
    await _works(it, "in the next life")
    jobs = jobs_of(it.data_dir)

    async def have_run() -> bool:
        return _wanted(it) <= {(job.upload, _task(job)) for job in read_jobs(jobs)}

    with contextlib.suppress(TimeoutError):
        await until(have_run)
    if (code := await life.end()) != 0:
        it.find(f"the next life ended with {code}")
    _read_stderr(it, life)


def _wanted(it: Strike) -> set[tuple[str, str]]:
    """Return the jobs that must have been done in the end."""
    ended = it.teller.ended if it.options.get("tells_ends") else []
    return {(upload, NOTE) for upload in it.teller.owed} | {(upload, ENDED) for upload in ended}


def _task(job: Job) -> str:
    return job.event_id.partition(":")[2]


def _read_stderr(it: Strike, life: Life) -> None:
    text = life.stderr.read_text(errors="replace") if life.stderr.exists() else ""
    for line in text.splitlines():
        if any(words in line for words in UNHANDLED):
            it.find(f"stderr has {line[:100]} ... {line[-200:]}")
            break
    if not life.url and "Traceback" in text:
        it.find(f"died at the start with {text.splitlines()[-1]!r}")


def _compare(it: Strike, when: str) -> None:
    """No row that clients can see claims what its file does not hold (I7). SQLite gets a copy: looking changes it."""
    copy = it.place / f"copy {when}"
    copy.mkdir()
    for path in it.data_dir.glob("uploads.sqlite3*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, copy)
    with contextlib.closing(sqlite3.connect(copy / "uploads.sqlite3")) as db:
        begun = db.execute("select 1 from sqlite_schema where name = 'uploads'").fetchone()
        rows = db.execute(VISIBLE).fetchall() if begun else []
    for name, state, offset in rows:
        path = it.data_dir / "uploads" / name[:2] / name
        # Data is made with the first byte.
        size = path.stat().st_size if path.exists() else -1 if offset or state == "finished" else 0
        if size < offset or (state == "finished" and size > offset):
            it.find(f"{when} {name} is {state} with {offset} bytes, and its file has {size}")


def _judge(it: Strike) -> None:
    """Ask the oracle for everything that was seen and is stored."""
    teller, events = it.teller, it.log.events()
    # The bytes of a concatenation are named after its parts.
    report = summary(events, {key: body for key, body in teller.bodies.items() if key != FINAL})
    jobs = read_jobs(jobs_of(it.data_dir))
    its_own = teller.wrongly_joined()
    for task in (NOTE, ENDED):
        wanted = {upload for upload, its in _wanted(it) if its == task}
        its_own += check_jobs(wanted, [job for job in jobs if job.upload in wanted and _task(job) == task])
    for each in its_own:
        report.figures.add(OF_VIOLATIONS[each.kind])
    for each in [*report.violations, *its_own]:
        it.find(f"{each.kind} {each.upload}: {each.sentence}")
    # Those that the fault made fail were meant to; what was not is found by its words on stderr.
    report.figures.counters.pop("unhandled_500s")
    report.figures.add("duplicate_job_attempts", len(jobs) - len({job.event_id for job in jobs}))
    it.figures = report.figures
