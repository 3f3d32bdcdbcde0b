"""A server started on what a power cut has left, and the verdict on what it has then."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.crash_states.simfs import lay_out
from tests.faults.crash_states.states import Recording, State
from tests.faults.crash_states.story import Request, Upload
from tests.faults.lives import ENDED, NOTE
from tusd_py.assembly import build
from tusd_py.datadir import open_data_dir
from tusd_py.errors import StartupError
from tusd_py.settings import Settings
from tusd_py.stores.sqlite.ballast import SIZE

UNSETTLED = {"assembling", "deleting"}


@dataclass(frozen=True)
class Row:
    """What the database says of an upload."""

    kind: str
    state: str
    offset: int
    length: int | None


@dataclass(frozen=True)
class Found:
    """What a server has after its start."""

    rows: dict[str, Row]
    jobs: dict[str, str]
    """By key, the states of all jobs."""
    files: dict[str, bytes]

    @property
    def served(self) -> tuple[dict[str, Row], dict[str, str], dict[str, bytes]]:
        """What must not change by another start: bytes beyond the offset do not count."""
        bytes_of = {name: self.files.get(name, b"")[: row.offset] for name, row in self.rows.items()}
        return self.rows, self.jobs, bytes_of


@dataclass(frozen=True)
class Promise:
    """What must be there of one upload."""

    exists: bool = False
    offset: int = 0
    may_be_gone: bool = False
    gone: bool = False


async def try_out(recording: Recording, state: State, place: Path, *, again: bool = False) -> tuple[list[str], float]:
    """Start a server on a state; return what is broken, and how many seconds the start took.

    With `again` the server is started anew on what it left, once after a clean end and once after another crash.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    # Ballast that was lost is made anew, which takes longer than all the rest.
    spared: dict[str, bytes | None] = {"data/ballast": bytes(SIZE)} if "data" in state.tree and not again else {}
    lay_out({**state.tree, **spared}, place)
    boot = "boot-after-cut" if state.cut else f"boot-{recording.story.boots[max(state.moment.life, 0)]}"
    begun = time.perf_counter()
    try:
        async with started(recording, place / "data", boot) as found:
            took = time.perf_counter() - begun
            if again:
                shutil.copytree(place / "data", place / "copy")
        problems = list(judge(recording, state, found))
        for left in ("copy", "data") if again else ():
            async with started(recording, place / left, boot) as other:
                if other.served != found.served:
                    problems.append(f"another start on the {left} changed {found.rows} to {other.rows}")
    except StartupError as error:
        return [f"I16: refused to start: {error}"], 0.0
    return problems, took


@contextlib.asynccontextmanager
async def started(recording: Recording, data_dir: Path, boot: str) -> AsyncIterator[Found]:
    """Run a server on a data directory, without its jobs."""
    os.environ["TUSD_PY_BOOT_ID"] = boot
    settings = Settings.make(data_dir=str(data_dir), durability=recording.workload.level)
    engine = build(settings).engine
    with open_data_dir(data_dir):
        await engine.start()
        try:
            yield look(data_dir)
        finally:
            await engine.stop()


def look(data_dir: Path) -> Found:
    """Read what is there, past the server."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        rows = db.execute("select id, kind, state, offset, length from uploads").fetchall()
        jobs = dict(db.execute("select upload_id || ':' || task, state from jobs").fetchall())
    files = {path.name: path.read_bytes() for path in (data_dir / "uploads").glob("*/*")}
    return Found({row[0]: Row(*row[1:]) for row in rows}, jobs, files)


def judge(recording: Recording, state: State, found: Found) -> Iterator[str]:
    """Yield everything that is not as it was promised."""
    for upload in recording.story.uploads.values():
        yield from _kept(recording, state, found, upload)
    for upload_id in found.rows:
        yield from _sound(recording, found, upload_id)
    yield from _done(state, found)


def promised(recording: Recording, state: State, upload: Upload) -> Promise:
    """Return what the answers so far promise for after this end."""
    exists, offset, may_be_gone, gone = False, 0, upload.mortal, False
    for request in recording.story.requests:
        if request.key != upload.key:
            continue
        answered = request.connection in state.moment.answered
        if request.deletes:
            may_be_gone = may_be_gone or request.after <= state.moment.answered
            gone = gone or (answered and _binds(recording, state, request))
        elif answered and request.offset is not None and _binds(recording, state, request):
            exists, offset = True, max(offset, request.offset)
    return Promise(exists, offset, may_be_gone, gone)


def _binds(recording: Recording, state: State, request: Request) -> bool:
    """Whether the level of durability lets an answer count after this end."""
    if request.level == "patch":
        return True
    # A restart of the system in the story has taken back what was not synced.
    boots = recording.story.boots
    if not state.cut and request.boot == boots[max(state.moment.life, 0)]:
        return True
    return request.level == "finish" and (request.finishes or request.deletes)


def _kept(recording: Recording, state: State, found: Found, upload: Upload) -> Iterator[str]:
    promise = promised(recording, state, upload)
    row = found.rows.get(upload.id)
    if promise.gone and (row is not None or upload.id in found.files):
        yield f"I12: {upload.key} was deleted and is there: {row}"
    went = row is None and (promise.exists or promise.gone)
    if went and _is_told(recording, upload) and f"{upload.id}:{ENDED}" not in found.jobs:
        yield f"I14: {upload.key} is gone, and nobody is told of it"
    if promise.may_be_gone or not promise.exists:
        return
    if row is None:
        yield f"I1: {upload.key} is gone, promised were {promise.offset} bytes"
    elif row.offset < promise.offset:
        yield f"I1: {upload.key} has {row.offset} bytes of {promise.offset}"


def _is_told(recording: Recording, upload: Upload) -> bool:
    asked = (request.deletes and request.key == upload.key for request in recording.story.requests)
    return "tells_ends" in recording.workload.settings and any(asked)


def _sound(recording: Recording, found: Found, upload_id: str) -> Iterator[str]:
    row, data, upload = found.rows[upload_id], found.files.get(upload_id), recording.story.by_id(upload_id)
    name = upload.key if upload else upload_id
    if row.state in UNSETTLED:
        yield f"I16: {name} was left {row.state}"
        return
    if data is None:
        if row.offset or row.state == "finished":
            yield f"I7: {name} has no file, but {row}"
        return
    if len(data) < row.offset:
        yield f"I7: {name} has {len(data)} bytes, but {row}"
    elif upload is not None and data[: row.offset] != recording.story.content(upload.key, 0, row.offset):
        yield f"I1: {name} has other bytes than were sent below {row.offset}"
    if row.length is not None and row.offset > row.length:
        yield f"I2: {name} has more than its length: {row}"
    if row.state == "finished":
        if not row.offset == row.length == len(data):
            yield f"I6: {name} is finished with {len(data)} bytes: {row}"
        if row.kind != "partial" and f"{upload_id}:{NOTE}" not in found.jobs:
            yield f"I14: {name} is finished and has no job"
        if upload is not None and upload.refused:
            yield f"I6: {name} was refused and is finished"


def _done(state: State, found: Found) -> Iterator[str]:
    """Look at the jobs: they come with the fact that they are for, and stay when they are done."""
    for key, job in found.jobs.items():
        upload_id, task = key.split(":")
        row = found.rows.get(upload_id)
        if job == "completed" and key not in state.moment.noted:
            yield f"I14: the job {key} is completed and was never begun"
        if task == ENDED and row is not None:
            yield f"I14: the end of {upload_id} is told, and it is there: {row}"
        if task == NOTE and (row is None or row.state != "finished"):
            yield f"I14: there is a job {key} for {row}"
