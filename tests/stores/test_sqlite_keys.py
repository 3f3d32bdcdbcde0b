"""Keys of creations in SQLite: what an older database becomes, and what those without a key pay."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tusd_py.errors import UploadExists
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore, schema
from tusd_py.stores.sqlite.queries import QUERIES

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "uploads.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteInfoStore]:
    store = SqliteInfoStore(path, durability=Durability.NONE, boot_id="boot")
    await store.open()
    yield store
    await store.close()


async def test_an_older_database(path: Path) -> None:
    """One of the version before is copied aside and gets keys, with everything in it as it was. (I16)"""
    with closing(sqlite3.connect(path)) as db:
        schema.migrate(db, path, schema.load_migrations()[:2])
        db.execute(
            "insert into uploads values ('old', 'single', 'rejected', 5, 5, 5, 'a YQ==', null, '[]', 'x', 3, 1.5, 2.5,"
            " null, 'no')"
        )
        db.commit()
    store = SqliteInfoStore(path, durability=Durability.NONE, boot_id="boot")
    await store.open()
    old = UploadInfo(
        id="old",
        state=UploadState.REJECTED,
        offset=5,
        synced_offset=5,
        length=5,
        metadata="a YQ==",
        path="x",
        epoch=3,
        created_at=1.5,
        expires_at=2.5,
        rejection="no",
    )
    new = UploadInfo(id="new", creation_key=KEY)
    await store.insert(new, durable=True)
    assert await store.list_uploads() == [new, old]
    assert await store.find_created(KEY) == new
    await store.close()
    with closing(sqlite3.connect(path.with_name(f"{path.name}.before-v5"))) as before:
        assert before.execute("select id from uploads").fetchall() == [("old",)]


async def test_only_keys_are_indexed(store: SqliteInfoStore, path: Path) -> None:
    """A key is looked up in an index that has no entry for anything else, and that no progress touches."""
    await store.insert(UploadInfo(id="one"), durable=True)
    with closing(sqlite3.connect(path)) as db:
        (plan,) = db.execute(f"explain query plan {QUERIES['find_created']}", {"key": KEY}).fetchall()
        assert "SEARCH uploads USING INDEX uploads_created (creation_key=?)" == plan[3]
        (index,) = db.execute("select sql from sqlite_schema where name = 'uploads_created'").fetchone()
        assert index.endswith("where creation_key is not null")
        for name in ("advance_upload", "finish_upload", "mark_synced"):
            assert "uploads_created" not in opened_indices(db, name)
        assert "uploads_created" in opened_indices(db, "mark_deleting")


def opened_indices(db: sqlite3.Connection, name: str) -> set[str]:
    """Return the indices that a statement opens for writing."""
    roots = dict(db.execute("select rootpage, name from sqlite_schema where type = 'index' or name = 'uploads'"))
    parameters = dict.fromkeys(re.findall(r":(\w+)", QUERIES[name]))
    program = db.execute(f"explain {QUERIES[name]}", parameters).fetchall()
    return {roots[step[3]] for step in program if step[1] == "OpenWrite" and step[3] in roots}


async def test_a_taken_key_harms_no_other(store: SqliteInfoStore, caplog: pytest.LogCaptureFixture) -> None:
    """Of a group that shares a commit only those whose key is taken are refused, and that is nothing for a log."""
    await store.insert(UploadInfo(id="first", creation_key=KEY), durable=True)
    before = store.commits
    results = await asyncio.gather(
        *(store.insert(UploadInfo(id=f"{n:02}", creation_key=KEY if n % 2 else None), durable=True) for n in range(20)),
        return_exceptions=True,
    )
    assert [result is None for result in results] == [True, False] * 10
    assert all(isinstance(result, UploadExists) for result in results[1::2])
    assert store.commits - before <= 3
    assert caplog.records == []
