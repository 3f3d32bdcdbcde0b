"""Opening the database: made, brought up to date, or refused without being changed."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tusd_py.errors import StartupError, StoreError
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite import SqliteInfoStore, schema
from tusd_py.stores.sqlite.queries import QUERIES
from tusd_py.stores.sqlite.schema import Migration


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uploads.sqlite3"


def new_store(path: Path, *, boot_id: str = "boot", read_only: bool = False, data_root: Path | None = None):
    return SqliteInfoStore(path, durability=Durability.PATCH, boot_id=boot_id, read_only=read_only, data_root=data_root)


async def make(path: Path, *names: str) -> None:
    store = new_store(path)
    await store.open()
    for name in names:
        await store.insert(UploadInfo(id=name), durable=True)
    await store.close()


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


async def refused(store: SqliteInfoStore) -> str:
    with pytest.raises(StartupError) as caught:
        await store.open()
    assert "\n" not in str(caught.value)
    assert_no_threads()
    return str(caught.value)


OTHERS: set[threading.Thread] = set()
"""Threads of servers that other tests share."""


@pytest.fixture(autouse=True)
def remember_other_threads() -> None:
    """Only what a test begins has to end with it."""
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def assert_no_threads() -> None:
    for thread in set(threading.enumerate()) - OTHERS:
        if "connection_worker" in thread.name:
            # aiosqlite answers a moment before its thread ends.
            thread.join(5)
            assert not thread.is_alive()


def snapshot(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


async def test_survives_a_restart(path: Path) -> None:
    """What was committed is there after a restart, and no thread or log is left behind (I1)."""
    await make(path, "one")
    assert sorted(os.listdir(path.parent)) == ["ballast", "uploads.sqlite3"]
    store = new_store(path)
    await store.open()
    assert await store.known(["one", "two"]) == {"one"}
    await store.close()
    await store.close()
    assert_no_threads()


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_modes(path: Path, umask: int) -> None:
    """The database, its log and the ballast are 0600, whatever the umask (row 20)."""
    before = os.umask(umask)
    try:
        store = new_store(path)
        await store.open()
        await store.insert(UploadInfo(id="one"), durable=True)
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
        await store.close()
    finally:
        os.umask(before)
    names = ["ballast", "uploads.sqlite3", "uploads.sqlite3-shm", "uploads.sqlite3-wal"]
    assert modes == dict.fromkeys(names, 0o600)


async def test_closed_store(path: Path) -> None:
    """A store that is not open answers with an error of ours."""
    store = new_store(path)
    for _ in range(2):
        with pytest.raises(StoreError):
            await store.get("one")
        with pytest.raises(StoreError):
            await store.insert(UploadInfo(id="one"), durable=True)
        await store.open()
        await store.close()


async def test_old_library(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite library that is too old is refused before anything is made (I16)."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    assert "or newer" in await refused(new_store(path))
    assert snapshot(path) is None


async def test_newer_schema(path: Path) -> None:
    """A database of a newer version is refused and not changed (I16)."""
    await make(path, "one")
    run(path, "pragma user_version = 99")
    before = snapshot(path)
    assert "newer version" in await refused(new_store(path))
    assert snapshot(path) == before


async def test_foreign_database(path: Path) -> None:
    """The database of another program is refused and not changed, not even its journal mode (I16)."""
    run(path, "create table uploads (id)")
    before = snapshot(path)
    assert "another program" in await refused(new_store(path))
    assert snapshot(path) == before


def overwrite_header(path: Path) -> None:
    path.write_bytes(b"not a database, and long enough to be read as one" * 100)


def overwrite_schema(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def cut_off(path: Path) -> None:
    os.truncate(path, 8192)


def overwrite_tables(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("damage", [overwrite_header, overwrite_schema, cut_off, overwrite_tables])
async def test_damaged_database(path: Path, damage: Callable[[Path], None]) -> None:
    """A damaged database is refused with one line and not changed (I16)."""
    await make(path, "one")
    damage(path)
    before = snapshot(path)
    assert "cannot be used" in await refused(new_store(path))
    assert snapshot(path) == before


@pytest.mark.parametrize("kind", ["missing", "0 bytes", "nothing in it"])
async def test_missing_database_beside_data(path: Path, kind: str) -> None:
    """No empty database is begun where uploads lie (I16)."""
    root = path.parent / "uploads"
    (root / "ab").mkdir(parents=True)
    (root / "ab" / "abc").write_bytes(b"data")
    if kind == "0 bytes":
        run(path, "")
    elif kind == "nothing in it":
        run(path, "create table t (x); drop table t; vacuum;")
    before = snapshot(path)
    message = await refused(new_store(path, data_root=root))
    assert "restore the database" in message
    assert snapshot(path) == before


async def test_empty_root_is_no_data(path: Path) -> None:
    """Empty directories do not keep a new server from starting."""
    root = path.parent / "uploads"
    (root / "ab").mkdir(parents=True)
    store = new_store(path, data_root=root)
    await store.open()
    await store.close()


async def test_missing_database_beside_its_log(path: Path) -> None:
    """A log without its database holds committed uploads and is not thrown away (I16)."""
    log = path.with_name("uploads.sqlite3-wal")
    log.write_bytes(b"committed" * 4)
    assert "restore the database" in await refused(new_store(path))
    assert log.read_bytes() == b"committed" * 4


async def test_symlink(path: Path) -> None:
    """A symbolic link at the database's path is refused (row 17)."""
    target = path.with_name("elsewhere")
    os.symlink(target, path)
    assert "symbolic link" in await refused(new_store(path))
    assert not target.exists()


async def test_missing_directory(path: Path) -> None:
    """A directory that is not there is refused (I16)."""
    assert "cannot be used" in await refused(new_store(path.parent / "not mounted" / "uploads.sqlite3"))


async def test_read_only(path: Path) -> None:
    """A second process may look at a database that a server is using, and cannot change it."""
    server, looking = new_store(path), new_store(path, read_only=True)
    await server.open()
    await looking.open()
    await server.insert(UploadInfo(id="one"), durable=True)
    assert [upload.id for upload in await looking.list_uploads()] == ["one"]
    with pytest.raises(StoreError):
        await looking.mark_deleting("one", durable=True)
    await looking.close()
    await server.close()


async def test_read_only_changes_nothing(path: Path) -> None:
    """Looking neither makes a database, nor brings one up to date, nor settles a boot."""
    assert "cannot be used" in await refused(new_store(path, read_only=True))
    assert list(path.parent.iterdir()) == []
    run(path, f"create table t (x); pragma application_id = {schema.APPLICATION_ID};")
    assert "older schema" in await refused(new_store(path, read_only=True))


NEWEST = schema.load_migrations()[-1].version
LATER = (
    *schema.load_migrations(),
    Migration(NEWEST + 1, "alter table uploads add column colour text;"),
    Migration(NEWEST + 2, "create table colours (name text) strict;"),
)


async def test_migrates_from_every_version(path: Path) -> None:
    """An older database is copied aside, then brought forward step by step, with everything in it (I16)."""
    await make(path, "one")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        schema.migrate(db, path, LATER)
        assert schema.check_version(db.execute(schema.VERSION).fetchone(), path, LATER) == NEWEST + 2
        assert db.execute("select id, colour from uploads").fetchall() == [("one", None)]
    copy = path.with_name(f"uploads.sqlite3.before-v{NEWEST + 2}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("pragma user_version").fetchall() == [(NEWEST,)]
        assert old.execute("select id from uploads").fetchall() == [("one",)]


async def test_failed_migration(path: Path) -> None:
    """A step that fails leaves the database at the version before it (I16)."""
    await make(path, "one")
    broken = (*LATER[:-1], Migration(NEWEST + 2, "create table half (x); insert into nowhere values (1);"))
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(db, path, broken)
        assert schema.check_version(db.execute(schema.VERSION).fetchone(), path, LATER) == NEWEST + 1
        assert db.execute("select * from sqlite_schema where name = 'half'").fetchall() == []


async def test_first_start_is_not_copied_aside(path: Path) -> None:
    """A new database has nothing worth a copy."""
    await make(path)
    assert not list(path.parent.glob("*.before-*"))


@pytest.mark.parametrize("boot_id", ["boot", "another boot"])
async def test_ready_soon_with_many_uploads(path: Path, boot_id: str) -> None:
    """With 100,000 uploads the store is ready in 2 s, after a reboot too (I18)."""
    await make(path)
    run(
        path,
        """
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
        insert into uploads
        select
            printf('id-%d', i), 'single', iif(i % 2, 'open', 'finished'), 100, 100, 100, 'filename Zm9vLmJpbg==', null,
            '[]', null, 1, 1.7e9, 1.8e9, null, null, null, null
        from n
        """,
    )
    begun = time.perf_counter()
    store = new_store(path, boot_id=boot_id)
    await store.open()
    assert await store.get("id-77777") is not None
    assert time.perf_counter() - begun < 2
    await store.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("get_upload", "PRIMARY KEY (id=?)"),
        ("list_uploads", "PRIMARY KEY (id>?)"),
        ("list_unsettled", "uploads_unsettled"),
        ("list_expired", "uploads_unfinished (state=? AND expires_at>? AND expires_at<?)"),
        ("known_uploads", "PRIMARY KEY (id=?)"),
        ("known_uploads", "uploads_named (path=?)"),
        ("get_usage", "uploads_unfinished (state=?)"),
        ("list_unsynced", "uploads_unsynced"),
        ("mark_synced", "PRIMARY KEY (id=?)"),
        ("due_jobs", "jobs_due"),
        ("next_job_at", "jobs_scheduled (scheduled_at>?)"),
        ("list_jobs", "sqlite_autoindex_jobs_1 ((upload_id,task)>(?,?))"),
        ("list_upload_jobs", "sqlite_autoindex_jobs_1 (upload_id=?"),
        ("list_open_jobs", "jobs_scheduled"),
        ("rescue_jobs", "jobs_executing"),
        ("prune_jobs", "COVERING INDEX jobs_ended (ended_at>? AND ended_at<?)"),
        ("advance_upload", "PRIMARY KEY (id=?)"),
        ("finish_upload", "PRIMARY KEY (id=?)"),
        ("mark_deleting", "PRIMARY KEY (id=?)"),
        ("delete_upload", "PRIMARY KEY (id=?)"),
        ("insert_job", "sqlite_autoindex_jobs_1 (upload_id=? AND task=?)"),
        ("delete_jobs", "sqlite_autoindex_jobs_1 (upload_id=?)"),
        ("save_job", "sqlite_autoindex_jobs_1 (upload_id=? AND task=?)"),
        ("probe_uploads", "uploads_unfinished (state=?"),
        ("probe_jobs", "jobs_ended"),
    ],
)
async def test_no_scans(path: Path, query: str, index: str) -> None:
    """No statement of a running server looks at all uploads, or at all jobs that have ended (I18)."""
    await make(path)
    names = re.findall(r":(\w+)", QUERIES[query])
    values = {name: "[]" if name in ("rows", "keys", "states", "busy") else "" for name in names}
    with closing(sqlite3.connect(path)) as db:
        plan = " | ".join(row[3] for row in db.execute(f"explain query plan {QUERIES[query]}", values))
    assert index in plan
    assert "SCAN uploads |" not in f"{plan} |"
    assert "SCAN jobs |" not in f"{plan} |"
    # The open jobs are few, and read by people; of the expired uploads no more than the limit of each state is sorted.
    assert "TEMP B-TREE FOR" not in plan or query in ("list_open_jobs", "list_expired")


async def test_killed_in_the_first_start(path: Path, tmp_path: Path) -> None:
    """A first start that was killed with its schema uncommitted in the log does not stop the next (I16)."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("pragma journal_mode = wal")
    writer.execute("pragma cache_size = 1")
    writer.execute("begin immediate")
    for number in range(50):
        writer.execute(f"create table t{number} (a)")
    left = tmp_path / "left"
    left.mkdir()
    for each in path.parent.glob(f"{path.name}*"):
        shutil.copy(each, left)
    writer.rollback()
    writer.close()
    assert (left / f"{path.name}-wal").stat().st_size > 0
    store = new_store(left / path.name, data_root=tmp_path / "uploads")
    await store.open()
    await store.close()


async def test_log_of_a_dead_process_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits that a killed process had not synced yet are shown to nobody before they are (I1, I3)."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("pragma journal_mode = wal")
    writer.execute(f"pragma application_id = {schema.APPLICATION_ID}")
    synced: list[str] = []
    real = os.fsync

    def watch(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real(fd)

    monkeypatch.setattr(os, "fsync", watch)
    schema.prepare_file(path, None)
    writer.close()
    assert synced == [f"{path.name}-wal", path.parent.name]
