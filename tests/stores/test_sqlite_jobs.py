"""Jobs in SQLite: what an older database owed, and strays."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job, JobState
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore, schema

SECOND = 1_700_000_000.25


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uploads.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteInfoStore]:
    store = SqliteInfoStore(path, durability=Durability.NONE, boot_id="boot")
    await store.open()
    yield store
    await store.close()


def make_first_version(path: Path) -> None:
    """Make a database as the first version of the schema had it."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(schema.load_migrations()[0].script)
        db.execute(f"pragma application_id = {schema.APPLICATION_ID}")
        db.execute("pragma user_version = 1")
        db.execute("insert into meta values ('boot_id', 'boot')")
        db.executemany(
            "insert into uploads values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                ("done", "final", "finished", 9, 9, 9, 'a "Yg==', "final;a b", '["a","b"]', 3, 5.5, None, SECOND),
                ("going", "single", "deleting", 1, 1, None, "", None, "[]", 1, 6.5, 7.5, None),
                ("open", "partial", "open", 4, 2, 9, "", "partial", "[]", 2, 6.5, 7.5, None),
            ],
        )
        db.executemany(
            "insert into jobs values (?, ?, ?, ?, ?)",
            [
                ("done", "new", 0, SECOND, ""),
                ("done", "tried", 3, SECOND + 9, 'it said "no"'),
                ("gone", "lost", 0, 1.0, ""),
            ],
        )
        db.commit()


async def test_an_older_database(path: Path) -> None:
    """Every upload and every job of the first version is there, and each job knows what it is owed for (I16)."""
    make_first_version(path)
    store = SqliteInfoStore(path, durability=Durability.NONE, boot_id="boot")
    await store.open()
    done = UploadInfo(
        id="done", kind=UploadKind.FINAL, state=UploadState.FINISHED, offset=9, synced_offset=9, length=9,
        metadata='a "Yg==', concat="final;a b", parts=("a", "b"), epoch=3, created_at=5.5, finished_at=SECOND,
    )  # fmt: skip
    assert await store.list_uploads() == [
        done,
        UploadInfo(
            id="going", state=UploadState.DELETING, offset=1, synced_offset=1, epoch=1, created_at=6.5, expires_at=7.5
        ),
        UploadInfo(
            id="open", kind=UploadKind.PARTIAL, offset=4, synced_offset=2, length=9, concat="partial", epoch=2,
            created_at=6.5, expires_at=7.5,
        ),
    ]  # fmt: skip
    new = Job(
        upload_id="done",
        task="new",
        event=HookEvent(moment=Moment.POST_FINISH, upload=done, at=SECOND),
        scheduled_at=SECOND,
        created_at=SECOND,
    )
    tried = replace(
        new, task="tried", state=JobState.RETRYABLE, attempt=3, scheduled_at=SECOND + 9, error='it said "no"'
    )
    assert await store.list_jobs() == [new, tried]
    assert await store.due_jobs(SECOND + 9, limit=10) == [new, tried]
    await store.close()
    assert path.with_name("uploads.sqlite3.before-v5").exists()


async def test_the_same_schema_from_every_start(path: Path, tmp_path: Path, store: SqliteInfoStore) -> None:
    """A database that was brought up to date is like a new one (I16)."""
    old = tmp_path / "old.sqlite3"
    make_first_version(old)
    migrated = SqliteInfoStore(old, durability=Durability.NONE, boot_id="boot")
    await migrated.open()
    await migrated.close()
    schemas = []
    for each in (path, old):
        with closing(sqlite3.connect(each)) as db:
            schemas.append(db.execute("select type, name, sql from sqlite_schema order by name").fetchall())
    assert schemas[0] == schemas[1]


async def test_strays(store: SqliteInfoStore) -> None:
    """A check sees the jobs that wait in vain, page by page; not ended ones, nor those that tell of an upload's end."""
    states = {state.value: state for state in UploadState}
    for name, state in states.items():
        upload = UploadInfo(id=name, state=state)
        finish = Job(upload_id=name, task="a", event=HookEvent(moment=Moment.POST_FINISH, upload=upload))
        end = replace(finish, task="b", event=replace(finish.event, moment=Moment.POST_TERMINATE))
        ended = replace(finish, task="c", state=JobState.DISCARDED, ended_at=1.0)
        await store.insert(upload, durable=False, jobs=[finish, end, ended])
    strays = [name for name in sorted(states) if name not in ("finished", "deleting")]
    found = await store.stray_jobs(after=None, limit=2)
    assert [(job.upload_id, job.task) for job in found] == [(name, "a") for name in strays[:2]]
    found += await store.stray_jobs(after=found[-1], limit=10)
    assert [(job.upload_id, job.task) for job in found] == [(name, "a") for name in strays]
    for job in found:
        assert await store.save_job(replace(job, state=JobState.CANCELLED, ended_at=2.0))
    assert await store.stray_jobs(after=None, limit=10) == []


async def test_steps_of_jobs_leave_uploads_remembered(store: SqliteInfoStore) -> None:
    """After a job's step its upload is still known without a trip to the database (performance: section 3)."""
    upload = UploadInfo(id="one", state=UploadState.FINISHED)
    job = Job(upload_id="one", task="a", event=HookEvent(moment=Moment.POST_FINISH, upload=upload))
    await store.insert(upload, durable=False, jobs=[job])
    statements: list[str] = []
    reader = store._database._reader
    assert reader is not None
    await reader.set_trace_callback(statements.append)
    assert await store.save_job(replace(job, state=JobState.EXECUTING))
    assert await store.get("one") == upload
    assert statements == []
