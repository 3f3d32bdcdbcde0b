"""Group commit: what shares a transaction, and what a failing one does to those in it."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from tusd_py.errors import InsufficientStorage, StaleWriter, StoreBusy, StoreError, UploadExists
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job, JobState
from tusd_py.models.limits import Durability
from tusd_py.models.upload import Progress, UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore, commits, writer


class Failing(sqlite3.Connection):
    """A connection whose next statement, or next commit, can be made to fail before or after doing its work."""

    error: ClassVar[Exception | None] = None
    method = ""
    after = False

    def execute(self, *args: Any) -> sqlite3.Cursor:
        with self._failing("execute", args[0]):
            return super().execute(*args)

    def commit(self) -> None:
        with self._failing("commit"):
            super().commit()

    @contextmanager
    def _failing(self, method: str, statement: str = "") -> Iterator[None]:
        error = None
        if method == Failing.method and not statement.startswith(("begin", "pragma")):
            error, Failing.error = Failing.error, None
        if error is not None and not Failing.after:
            raise error
        yield
        if error is not None:
            raise error


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteInfoStore]:
    monkeypatch.setattr(writer, "connect", functools.partial(sqlite3.connect, factory=Failing))
    store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.PATCH, boot_id="boot")
    await store.open()
    yield store
    await store.close()


def progress(name: str, offset: int = 5) -> Progress:
    return Progress(upload_id=name, fence=1, expected=0, offset=offset, synced_offset=offset, length=5, expires_at=None)


def job(upload_id: str, task: str = "task") -> Job:
    event = HookEvent(moment=Moment.POST_FINISH, upload=UploadInfo(id=upload_id))
    return Job(upload_id=upload_id, task=task, event=event)


async def watch(store: SqliteInfoStore) -> list[str]:
    """Return a list to which every statement of the writer will be added."""
    statements: list[str] = []
    await store._database.writer.run(lambda db: db.set_trace_callback(statements.append), durable=True)
    return statements


async def synchronous(store: SqliteInfoStore) -> int:
    """Return how the last transaction of the writer was synced."""
    connection = store._database.writer._db
    assert connection is not None
    found = await store._database.writer._threads.run(lambda: connection.execute("pragma synchronous").fetchone())
    return int(found[0])


async def test_callers_share_commits(store: SqliteInfoStore) -> None:
    """Whatever waits while a commit is syncing shares the next one (performance: section 3)."""
    names = [f"{n:03}" for n in range(50)]
    await asyncio.gather(*(store.insert(UploadInfo(id=name, length=5), durable=True) for name in names))
    assert 1 <= store.commits <= 3
    before = store.commits
    await asyncio.gather(*(store.advance(progress(name), durable=True) for name in names))
    assert 1 <= store.commits - before <= 3
    assert [upload.offset for upload in await store.list_uploads()] == [5] * 50


async def test_one_transaction_for_a_group(store: SqliteInfoStore) -> None:
    """A group costs one transaction, whatever its size."""
    statements = await watch(store)
    await asyncio.gather(*(store.insert(UploadInfo(id=f"{n:03}"), durable=True) for n in range(50)))
    words = [statement.split()[0].lower() for statement in statements]
    assert words.count("insert") == 50
    assert words.count("begin") == words.count("commit") <= store.commits <= 3


async def test_log_is_written_back_between_commits(store: SqliteInfoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log goes back into the database before it is so long that SQLite does it in the middle of a commit. (I11)"""
    monkeypatch.setattr(commits, "LOG_PAGES", 40)
    statements = await watch(store)
    for n in range(21):
        await store.insert(UploadInfo(id=f"{n}"), durable=False)
    # Behind the answer to the tenth, and to the twentieth.
    await store.insert(UploadInfo(id="last"), durable=False)
    checkpoints = [n for n, statement in enumerate(statements) if "wal_checkpoint" in statement]
    inserts = [sum("insert" in statement for statement in statements[:n]) for n in checkpoints]
    assert inserts == [10, 20]


async def test_changes_of_one_upload_keep_their_order(store: SqliteInfoStore) -> None:
    """Changes of one upload follow each other, although they were asked for at once."""
    results = await asyncio.gather(
        store.insert(UploadInfo(id="one", length=5), durable=True),
        store.insert(UploadInfo(id="two", length=5), durable=True),
        store.advance(progress("one"), durable=True),
        store.mark_deleting("one", durable=True),
        store.delete("one"),
        store.mark_deleting("one", durable=True),
        store.insert(UploadInfo(id="one", length=7), durable=True),
    )
    assert [None, None, None, True, None, False, None] == results
    assert await store.get("one") == UploadInfo(id="one", length=7)


async def test_a_refused_change_hurts_no_other(store: SqliteInfoStore) -> None:
    """A row that the database refuses fails its own caller only, wholly, and with an error of ours (I20)."""
    impossible = [job("bad"), replace(job("bad", "other"), priority=2**70)]
    finished = UploadInfo(id="bad", state=UploadState.FINISHED, length=0)
    results = await asyncio.gather(
        store.insert(UploadInfo(id="first"), durable=True),
        store.insert(finished, durable=True, jobs=impossible),
        store.insert(UploadInfo(id="worse", offset=-1), durable=True),
        store.insert(UploadInfo(id="last"), durable=True),
        return_exceptions=True,
    )
    assert [results[0], results[3]] == [None, None]
    assert [type(results[1]), type(results[2])] == [StoreError, StoreError]
    assert results[1] is not results[2]
    assert await store.known(["first", "bad", "worse", "last"]) == {"first", "last"}
    assert await store.next_job_at() is None


async def test_stale_and_taken_in_a_group(store: SqliteInfoStore) -> None:
    """Each caller of a group gets its own answer (I10)."""
    await store.insert(UploadInfo(id="taken", length=5), durable=True)
    await store.insert(UploadInfo(id="open", length=5), durable=True)
    results = await asyncio.gather(
        store.insert(UploadInfo(id="taken"), durable=True),
        store.insert(UploadInfo(id="new"), durable=True),
        store.advance(progress("unknown"), durable=True),
        store.advance(progress("open"), durable=True),
        store.mark_deleting("unknown", durable=True),
        return_exceptions=True,
    )
    assert [UploadExists, type(None), StaleWriter, type(None), bool] == [type(result) for result in results]


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
async def test_synchronous_level(store: SqliteInfoStore, durable: bool, level: int) -> None:
    """A durable change is committed with FULL, another one with NORMAL (reliability: section 0, 2)."""
    await store.insert(UploadInfo(id="before"), durable=not durable)
    await store.insert(UploadInfo(id="one"), durable=durable)
    assert await synchronous(store) == level


@pytest.mark.parametrize(
    ("durability", "state", "level"),
    [
        (Durability.PATCH, JobState.COMPLETED, 2),
        (Durability.FINISH, JobState.DISCARDED, 2),
        (Durability.NONE, JobState.CANCELLED, 1),
        (Durability.PATCH, JobState.EXECUTING, 1),
        (Durability.PATCH, JobState.RETRYABLE, 1),
    ],
)
async def test_ends_of_jobs_are_synced(tmp_path: Path, durability: Durability, state: JobState, level: int) -> None:
    """The end of a job survives a power cut where finished uploads do; other steps only a killed process (I14)."""
    store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=durability, boot_id="boot")
    await store.open()
    await store.insert(UploadInfo(id="one"), durable=level == 1, jobs=[job("one")])
    assert await store.save_job(replace(job("one"), state=state, ended_at=1.0 if state.is_end else None))
    assert await synchronous(store) == level
    await store.close()


async def test_one_durable_member_makes_the_group_durable(store: SqliteInfoStore) -> None:
    """A group is as durable as the most careful of its members asks for (I1)."""
    statements = await watch(store)
    await asyncio.gather(
        store.insert(UploadInfo(id="one"), durable=False), store.insert(UploadInfo(id="two"), durable=True)
    )
    assert store.commits == 1
    assert not [statement for statement in statements if "synchronous" in statement]


def fail_once(method: str, message: str, code: int, *, after: bool = False) -> None:
    """Make the next call of the writer's method fail, before or after doing its work."""
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    Failing.error, Failing.method, Failing.after = error, method, after


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["execute", "commit"])
async def test_failed_commit(store: SqliteInfoStore, method: str, after: bool) -> None:
    """When a commit fails each caller is told what is stored then, and the store goes on (I1).

    One statement commits itself; several are committed by COMMIT.
    """
    names = "012" if method == "commit" else "0"
    fail_once(method, "disk I/O error", sqlite3.SQLITE_IOERR_FSYNC, after=after)
    results = await asyncio.gather(
        *(store.insert(UploadInfo(id=name), durable=True) for name in names), return_exceptions=True
    )
    assert [type(result) for result in results] == [type(None) if after else StoreError] * len(names)
    assert after or len({id(result) for result in results}) == len(names)
    assert len(await store.list_uploads()) == (len(names) if after else 0)
    assert (await store.get("0") is not None) == after
    await store.insert(UploadInfo(id="next"), durable=True)
    assert await store.known(["next"]) == {"next"}


@pytest.mark.parametrize("after", [False, True])
async def test_failed_commit_of_every_change(store: SqliteInfoStore, after: bool) -> None:
    """An unknown outcome is looked up for every kind of change a client waits for (reliability 3.2, I5)."""
    finish = replace(progress("finish"), state=UploadState.FINISHED, finished_at=1.0)
    for name in ("advance", "finish", "mark", "delete"):
        await store.insert(UploadInfo(id=name, length=5), durable=True)
    await store.mark_deleting("delete", durable=True)
    fail_once("commit", "disk I/O error", sqlite3.SQLITE_IOERR_FSYNC, after=after)
    results = await asyncio.gather(
        store.insert(UploadInfo(id="insert"), durable=True),
        store.advance(progress("advance"), durable=True),
        store.finish(finish, durable=True, jobs=[job("finish")]),
        store.mark_deleting("mark", durable=True),
        store.delete("delete"),
        store.advance(progress("nobody"), durable=True),
        return_exceptions=True,
    )
    expected = [type(None)] * 3 + [bool, type(None)] if after else [StoreError] * 5
    assert [type(result) for result in results] == [*expected, StoreError]
    assert {upload.id: await store.get(upload.id) for upload in await store.list_uploads()} == {
        upload.id: upload for upload in await store.list_uploads()
    }


async def test_undecided_commit(store: SqliteInfoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash may still make is shown to nobody, and nothing is committed before it is settled (3.2, I3)."""
    await store.insert(UploadInfo(id="one", length=5, creation_key="key"), durable=True)
    await store.insert(UploadInfo(id="other", length=5), durable=True)

    async def fails(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(store._database, "settle_log", fails)
        fail_once("execute", "disk I/O error", sqlite3.SQLITE_IOERR_FSYNC)
        with pytest.raises(StoreError):
            await store.advance(progress("one"), durable=True)
        for look in (store.get("one"), store.find_created("key"), store.known(["one"])):
            with pytest.raises(StoreBusy):
                await look
        with pytest.raises(StoreError):
            await store.insert(UploadInfo(id="new"), durable=True)
        assert await store.get("other") is not None
        assert await store.get("new") is None
    one = await store.get("one")
    assert one is not None
    assert one.offset == 0
    assert await store.find_created("key") == one
    await store.advance(progress("one"), durable=True)
    assert await store.known(["one", "new"]) == {"one"}


async def test_falling_back_keeps_its_place(store: SqliteInfoStore) -> None:
    """Falling back takes what was asked for before, nothing that is asked for later, and what is remembered (I9)."""
    ahead = replace(progress("one"), synced_offset=0)
    await store.insert(UploadInfo(id="one", length=5), durable=True)
    results = await asyncio.gather(
        store.advance(ahead, durable=False),
        store.fall_back(),
        store.insert(UploadInfo(id="two", length=5, offset=3), durable=False),
        store.advance(replace(ahead, expected=5), durable=False),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None)] * 3 + [StaleWriter]
    one, two = await store.get("one"), await store.get("two")
    assert one is not None
    assert two is not None
    assert (one.offset, two.offset) == (0, 3)
    assert [one, two] == await store.list_uploads()


async def test_ballast_is_given_up_for_removals(store: SqliteInfoStore) -> None:
    """On a full disk a removal takes the ballast and succeeds (I8, row 52)."""
    await store.insert(UploadInfo(id="one"), durable=True)
    fail_once("execute", "database or disk is full", sqlite3.SQLITE_FULL)
    assert store._ballast.path.stat().st_blocks * 512 >= 4 * 1024 * 1024
    assert await store.mark_deleting("one", durable=True)
    assert not store._ballast.path.exists()


async def test_ballast_is_kept_for_removals(store: SqliteInfoStore) -> None:
    """Other changes on a full disk are told that there is no space (I8)."""
    fail_once("execute", "database or disk is full", sqlite3.SQLITE_FULL)
    with pytest.raises(InsufficientStorage):
        await store.insert(UploadInfo(id="one"), durable=True)
    assert store._ballast.path.exists()
    await store.insert(UploadInfo(id="one"), durable=True)


async def test_unexpected_errors_leave_nobody_waiting(store: SqliteInfoStore) -> None:
    """Whatever goes wrong, callers get an error of ours and the writer goes on (I20)."""
    Failing.error, Failing.method = RuntimeError("a defect"), "execute"
    with pytest.raises(StoreError):
        await store.insert(UploadInfo(id="one"), durable=True)
    await store.insert(UploadInfo(id="one"), durable=True)


async def test_close_commits_what_waits(tmp_path: Path) -> None:
    """Closing loses nothing that was asked for before (I17)."""
    store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.NONE, boot_id="boot")
    await store.open()
    tasks = [asyncio.ensure_future(store.insert(UploadInfo(id=f"{n}"), durable=False)) for n in range(5)]
    await asyncio.sleep(0)
    await store.close()
    assert [task.done() for task in tasks] == [True] * 5
    await store.open()
    assert len(await store.list_uploads()) == 5
    await store.close()
