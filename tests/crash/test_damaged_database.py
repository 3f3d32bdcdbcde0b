"""A database that is damaged or gone: refused at start or answered with errors, and nothing is removed (I7, I16)."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import aiohttp
import pytest

from tests.cli.test_fsck import contents, run
from tests.crash.test_kill import kill
from tests.support.client import Client
from tests.support.servers import READY, launch, process
from tusd_py.engine.context import Context, Policy
from tusd_py.engine.expire import Sweeper
from tusd_py.engine.service import SystemClock
from tusd_py.errors import StoreError
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.limits import Durability
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore

DATABASE = "uploads.sqlite3"
LOG = DATABASE + "-wal"


@pytest.fixture
async def place(tmp_path: Path, session: aiohttp.ClientSession) -> Path:
    """A data directory with one upload, whose server was killed: most of the database is still in its log."""
    async with process(tmp_path / "data") as server:
        await Client(session, server.url).upload(b"data")
        await kill(server)
    return tmp_path / "data"


def written_back(place: Path) -> None:
    """Let the database be one file, as a clean stop leaves it."""
    with closing(sqlite3.connect(place / DATABASE)) as db:
        db.execute("select count(*) from uploads").fetchone()


def overwrite_page(place: Path, page: int, byte: bytes) -> None:
    """Overwrite one page, counted from 0."""
    with (place / DATABASE).open("r+b") as file:
        size = int.from_bytes(file.read(18)[16:], "big")
        file.seek(page * size)
        file.write(byte * size)


def missing(place: Path) -> None:
    (place / DATABASE).unlink()


def missing_with_log(place: Path) -> None:
    for name in (DATABASE, LOG, DATABASE + "-shm"):
        (place / name).unlink()


def log_missing(place: Path) -> None:
    (place / LOG).unlink()


def log_garbage(place: Path) -> None:
    (place / LOG).write_bytes(b"garbage!" * 5000)


def log_is_directory(place: Path) -> None:
    written_back(place)
    (place / LOG).mkdir()


def empty(place: Path) -> None:
    (place / DATABASE).write_bytes(b"")


def garbage(place: Path) -> None:
    written_back(place)
    (place / DATABASE).write_bytes(b"garbage!" * 5000)


def cut_short(place: Path) -> None:
    written_back(place)
    os.truncate(place / DATABASE, 5000)


def directory(place: Path) -> None:
    (place / DATABASE).unlink()
    (place / DATABASE).mkdir()


def newer(place: Path) -> None:
    with closing(sqlite3.connect(place / DATABASE)) as db:
        db.execute("pragma user_version = 99")


def index_page(place: Path) -> None:
    written_back(place)
    with closing(sqlite3.connect(place / DATABASE)) as db:
        (page,) = db.execute("select rootpage from sqlite_schema where name = 'uploads_unsettled'").fetchone()
    overwrite_page(place, page - 1, b"\xff")


RESTORE = "restore the database from a backup"
DAMAGES: list[tuple[Callable[[Path], None], str, int]] = [
    (missing, RESTORE, 2),
    (missing_with_log, RESTORE, 2),
    (log_missing, RESTORE, 2),
    (log_garbage, RESTORE, 2),
    (log_is_directory, "unable to open", 2),
    (empty, RESTORE, 2),
    (garbage, "not a database; restore it from a backup", 2),
    (cut_short, "malformed; restore it from a backup", 2),
    (directory, "not a plain file", 2),
    (newer, "run the newer version again", 2),
    (index_page, "run tusd-py fsck DATA_DIR", 1),
]


@pytest.mark.parametrize(("damage", "advice", "code"), DAMAGES)
async def test_refused_at_start(place: Path, damage: Callable[[Path], None], advice: str, code: int) -> None:
    """One line says what to do, the exit code is not 0, no file changes, and fsck does not call it sound. (I16)"""
    damage(place)
    before = contents(place)
    child = await launch(place)
    out, err = await child.communicate()
    lines = [line for line in err.decode().splitlines() if "action=read_failed" not in line]
    assert (child.returncode, out, len(lines)) == (1, b"", 1), lines
    assert lines[0].startswith("Error: ")
    assert advice in lines[0]
    ran = run(str(place), "--repair")
    assert ran.code == code
    assert ran.err.count("Error: ") == code - 1
    after = contents(place)
    # A log that SQLite cannot read is one that it removes when it closes the database.
    gone = {place / LOG} if damage is log_garbage else set()
    assert {path: after.get(path) for path in before.keys() - gone} == {
        path: text for path, text in before.items() if path not in gone
    }


async def test_index_of_the_log_is_made_again(place: Path, session: aiohttp.ClientSession) -> None:
    """Garbage in the shared index of the log costs nothing. (I16)"""
    (name,) = (path.name for path in place.glob("uploads/??/*"))
    (place / (DATABASE + "-shm")).write_bytes(b"garbage!" * 4096)
    async with process(place) as server:
        assert (await Client(session, server.url).get(server.url + name)).body == b"data"


@pytest.fixture
def torn(place: Path) -> tuple[Path, list[str]]:
    """A data directory with 1000 uploads and a page in the middle that is gone; and the ids that were on it."""
    with closing(sqlite3.connect(place / DATABASE)) as db:
        db.executescript(
            """
            with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000)
            insert into uploads (
                id, kind, state, offset, synced_offset, length, metadata, parts, epoch, created_at, finished_at
            )
            select printf('id-%05d', i), 'single', 'finished', 0, 0, 0, '', '[]', 1, 1.7e9, 1.7e9 from n;
            pragma wal_checkpoint (truncate);
            """
        )
        (size,) = db.execute("pragma page_size").fetchone()
    raw = (place / DATABASE).read_bytes()
    pages = {page: raw[page * size : (page + 1) * size] for page in range(1, len(raw) // size)}
    leaves = {page: re.findall(rb"id-\d{5}", text) for page, text in pages.items() if text[:1] == b"\x0a"}
    inner = sorted((names, page) for page, names in leaves.items() if len(names) > 1)
    names, page = inner[len(inner) // 2]
    overwrite_page(place, page, b"\0")
    return place, [name.decode() for name in names]


async def test_met_at_run_time(torn: tuple[Path, list[str]], session: aiohttp.ClientSession) -> None:
    """Rows that cannot be read are 500 and one line of the log each; everything else goes on. (I7, I20)"""
    place, names = torn
    child = await launch(place)
    assert child.stdout is not None
    try:
        url = (await child.stdout.readline()).decode().removeprefix(READY).strip()
        client = Client(session, url)
        assert (await client.head(url + names[0])).status == 500
        assert (await client.delete(url + names[0])).code == "ERR_INTERNAL_SERVER_ERROR"
        assert (await client.get(await client.upload(b"new"))).body == b"new"
    finally:
        child.terminate()
        _, err = await child.communicate()
    assert child.returncode == 0
    assert err.count(b"action=read_failed") == 2
    assert b"Traceback" not in err
    assert {problem[0] for problem in run(str(place), "--json").found} == {"database"}


async def test_data_not_mounted(place: Path, session: aiohttp.ClientSession) -> None:
    """Uploads whose whole directory is gone are not begun anew: a mount is missing, and may come back (I16)."""
    (place / "uploads").rename(place / "elsewhere")
    child = await launch(place)
    out, err = await child.communicate()
    assert (child.returncode, out) == (1, b"")
    assert err.decode().count("\n") == 1
    assert "uploads is not there: is its file system mounted?" in err.decode()
    assert not (place / "uploads").exists()
    (place / "elsewhere").rename(place / "uploads")
    async with process(place):
        pass


async def test_unreadable_rows_make_no_orphans(torn: tuple[Path, list[str]]) -> None:
    """Data whose rows cannot be read is not taken for data without a row. (I16)"""
    place, names = torn
    paths = [place / "uploads" / "id" / name for name in names]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(b"")
        os.utime(path, (1, 1))
    async with AsyncExitStack() as stack:
        data = FileDataStore(place / "uploads")
        info = SqliteInfoStore(place / DATABASE, durability=Durability.PATCH)
        for store in (data, info):
            await store.open()
            stack.push_async_callback(store.close)
        ctx = Context(
            data=data,
            info=info,
            locker=MemoryLocker(),
            clock=SystemClock(),
            policy=Policy(),
        )
        with pytest.raises(StoreError):
            await Sweeper(ctx, 60).sweep_orphans()
    assert all(path.exists() for path in paths)


async def test_restored_database(place: Path, session: aiohttp.ClientSession) -> None:
    """With a backup in its place everything that the backup knows of is served again; younger data is named."""
    written_back(place)
    (old,) = (path.name for path in place.glob("uploads/??/*"))
    shutil.copyfile(place / DATABASE, place.parent / "backup")
    async with process(place) as server:
        young = (await Client(session, server.url).upload(b"young")).rpartition("/")[2]
    (place / DATABASE).write_bytes(b"garbage!" * 5000)
    shutil.copyfile(place.parent / "backup", place / DATABASE)
    assert run(str(place), "--json").found == [("orphan", young, False)]
    async with process(place) as server:
        assert (await Client(session, server.url).get(server.url + old)).body == b"data"
    assert any(path.name == young for path in place.glob("uploads/??/*"))
