"""`tusd-py fsck`: every kind of damage is named, mended or left as documented, and the server goes on (I7)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.crash.test_kill import kill
from tests.support.client import Client
from tests.support.servers import process

DATA = bytes(range(256)) * 400  # 102,400 bytes
HALF = 80_000


@dataclass(frozen=True)
class Ran:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def found(self) -> list[tuple[str, str, bool]]:
        """Kind, name and whether it was repaired, of each problem."""
        lines = [msgspec.json.decode(line) for line in self.out.splitlines()]
        return [(line["kind"], line["name"], line["repaired"]) for line in lines]


@dataclass(frozen=True)
class Left:
    """What a killed server leaves: a finished upload and half of one."""

    place: Path
    done: str
    half: str

    def path(self, name: str) -> Path:
        """Return where the bytes of an upload are."""
        return self.place / "uploads" / name[:2] / name

    def fsck(self, *flags: str) -> Ran:
        """Check the directory as a process of its own."""
        return run(str(self.place), "--json", *flags)

    def sql(self, script: str) -> None:
        """Change the database behind everybody's back."""
        with closing(sqlite3.connect(self.place / "uploads.sqlite3")) as db:
            db.executescript(script)

    def rows(self) -> set[str]:
        """Return the ids of all uploads."""
        with closing(sqlite3.connect(self.place / "uploads.sqlite3")) as db:
            return {row[0] for row in db.execute("select id from uploads")}


def run(*arguments: str, environ: dict[str, str] | None = None) -> Ran:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tusd_py", "fsck", *arguments],
        env=clean | (environ or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
async def left(tmp_path: Path, session: aiohttp.ClientSession) -> Left:
    """A data directory whose server was killed."""
    async with process(tmp_path / "data") as server:
        client = Client(session, server.url)
        done = await client.upload(DATA)
        half = await client.create(len(DATA))
        assert (await client.patch(half, 0, DATA[:HALF])).status == 204
        await kill(server)
    return Left(tmp_path / "data", done.rpartition("/")[2], half.rpartition("/")[2])


def contents(place: Path) -> dict[Path, bytes]:
    """Return everything below a directory, but for what SQLite and the lock keep for themselves."""
    own = ("lock", "uploads.sqlite3-shm")
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.name not in own}


async def continues(left: Left, session: aiohttp.ClientSession, offset: int) -> None:
    """The client of the unfinished upload is told this offset, goes on from there, and gets back what it sent."""
    async with process(left.place) as server:
        client, url = Client(session, server.url), server.url + left.half
        assert await client.offset(url) == offset
        assert (await client.patch(url, offset, DATA[offset:])).status == 204
        assert (await client.get(url)).body == DATA
        assert (await client.get(server.url + left.done)).body == DATA
    assert left.fsck().code == 0


async def test_nothing_is_wrong_after_a_kill(left: Left, session: aiohttp.ClientSession) -> None:
    """A killed server leaves nothing to repair; bytes beyond the offset are none of it, and nothing changes. (I1)"""
    with left.path(left.half).open("ab") as file:
        file.write(b"garbage beyond the offset")
    before = contents(left.place)
    ran = left.fsck()
    assert (ran.code, ran.out) == (0, "")
    assert "checked 2 uploads; problems: 0" in ran.err
    assert contents(left.place) == before
    await continues(left, session, HALF)


def cut(path: Path) -> None:
    os.truncate(path, 50_001)


def cut_and_stretched(path: Path) -> None:
    os.truncate(path, 40_960)
    os.truncate(path, HALF - 1)


@pytest.mark.parametrize(("damage", "offset"), [(cut, 50_001), (cut_and_stretched, 40_960), (os.unlink, 0)], ids=str)
async def test_short(left: Left, session: aiohttp.ClientSession, damage: Callable[[Path], None], offset: int) -> None:
    """An unfinished upload whose data is gone takes no bytes; repaired, it goes on behind what is there. (I7)"""
    damage(left.path(left.half))
    async with process(left.place) as server:
        client, url = Client(session, server.url), server.url + left.half
        answer = await client.patch(url, HALF, DATA[HALF:])
        assert (answer.status, answer.code) == (500, "ERR_DATA_LOST")
    ran = left.fsck()
    assert (ran.code, ran.found) == (1, [("short", left.half, False)])
    ran = left.fsck("--repair")
    assert (ran.code, ran.found) == (0, [("short", left.half, True)])
    await continues(left, session, offset)


async def test_short_before_a_hook_agreed(left: Left, session: aiohttp.ClientSession) -> None:
    """An upload that waits for a hook goes back to what is there like any unfinished one, and takes the rest. (I7)"""
    left.sql(f"update uploads set state = 'finishing', finished_at = null where id = '{left.done}'")
    cut(left.path(left.done))
    assert left.fsck().found == [("short", left.done, False)]
    ran = left.fsck("--repair")
    assert (ran.code, ran.found) == (0, [("short", left.done, True)])
    async with process(left.place) as server:
        client, url = Client(session, server.url), server.url + left.done
        assert await client.offset(url) == 50_001
        assert (await client.patch(url, 50_001, DATA[50_001:])).status == 204
        assert (await client.get(url)).body == DATA


@pytest.mark.parametrize("damage", [cut, os.unlink])
async def test_short_and_rejected(left: Left, session: aiohttp.ClientSession, damage: Callable[[Path], None]) -> None:
    """A rejected upload is over: what is missing of it stays lost, and its client is told why, as before. (I6, I7)"""
    left.sql(f"update uploads set state = 'rejected', rejection = 'no cats' where id = '{left.half}'")
    damage(left.path(left.half))
    for flags in ((), ("--repair",)):
        ran = left.fsck(*flags)
        assert (ran.code, ran.found) == (1, [("lost", left.half, False)])
        assert "failed" not in ran.out
    async with process(left.place) as server:
        answer = await Client(session, server.url).get(server.url + left.half)
        assert (answer.status, b"no cats" in answer.body) == (410, True)


async def test_hole(left: Left) -> None:
    """A hole where bytes were acknowledged is named, and left to somebody who can tell what it means. (I7)"""
    for name in (left.half, left.done):
        size = left.path(name).stat().st_size
        os.truncate(left.path(name), 8192)
        os.truncate(left.path(name), size)
    expected = sorted(("hole", name, False) for name in (left.half, left.done))
    for flags in ((), ("--repair",)):
        ran = left.fsck(*flags)
        assert (ran.code, ran.found) == (1, expected)
        assert "byte 8192" in ran.out


def link(path: Path) -> None:
    os.link(path, path.with_name(path.name + "-2"))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def symlink(path: Path) -> None:
    elsewhere = path.parents[2] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("damage", [cut, os.unlink, link, directory, symlink])
async def test_lost(left: Left, session: aiohttp.ClientSession, damage: Callable[[Path], None]) -> None:
    """A finished upload that is not whole is not served, is named, and is removed by nobody but people. (I7, I16)"""
    damage(left.path(left.done))
    for flags in ((), ("--repair",)):
        ran = left.fsck(*flags)
        assert (ran.code, ran.found[0]) == (1, ("lost", left.done, False))
        assert "foreign" not in ran.out
        assert left.rows() == {left.done, left.half}
    async with process(left.place) as server:
        client = Client(session, server.url)
        answer = await client.get(server.url + left.done)
        assert (answer.status, answer.code) == (500, "ERR_DATA_LOST")
        assert await client.offset(server.url + left.half) == HALF


async def test_lost_is_removed_by_hand(left: Left) -> None:
    """`tusd-py uploads rm` does away with what was named as lost."""
    left.path(left.done).unlink()
    command = [sys.executable, "-m", "tusd_py", "uploads", "rm", "--data-dir", str(left.place), left.done]
    subprocess.run(command, check=True)
    assert (left.fsck().code, left.rows()) == (0, {left.half})


async def test_long(left: Left, session: aiohttp.ClientSession) -> None:
    """A finished upload with more bytes than it has is not served; repaired, it is what was sent. (I2)"""
    with left.path(left.done).open("ab") as file:
        file.write(b"more")
    async with process(left.place) as server:
        assert (await Client(session, server.url).get(server.url + left.done)).code == "ERR_DATA_LOST"
    assert left.fsck().found == [("long", left.done, False)]
    ran = left.fsck("--repair")
    assert (ran.code, ran.found) == (0, [("long", left.done, True)])
    await continues(left, session, HALF)


@pytest.mark.parametrize(("state", "kind"), [("deleting", "half-removed"), ("assembling", "half-joined")])
async def test_half_done(left: Left, session: aiohttp.ClientSession, state: str, kind: str) -> None:
    """What a crash left half-done is ended as the server ends it at its start. (reliability 3.1, CAT-20)"""
    left.sql(f"update uploads set state = '{state}' where id = '{left.done}'")
    ran = left.fsck()
    assert (ran.code, ran.found) == (1, [(kind, left.done, False)])
    ran = left.fsck("--repair")
    assert (ran.code, ran.found) == (0, [(kind, left.done, True)])
    assert left.rows() == {left.half}
    assert not left.path(left.done).exists()
    async with process(left.place) as server:
        assert (await Client(session, server.url).head(server.url + left.done)).status == 404


async def test_orphans_and_strangers(left: Left) -> None:
    """Data that nobody owns goes when it is a day old, as the server does it; what is not ours is never touched."""
    uploads = left.place / "uploads"
    (uploads / "ab").mkdir(exist_ok=True)
    young, old, folder = uploads / "ab" / "abyoung", uploads / "ab" / "abold", uploads / "ab" / "abfolder"
    strangers = [uploads / "notes.txt", uploads / "ab" / "wrong-shard", uploads / "ab" / "ab.tmp", folder]
    folder.mkdir()
    for path in (young, old, *strangers[:3]):
        path.write_bytes(b"data")
    for path in (old, *strangers):
        os.utime(path, (1, 1))
    foreign = {("foreign", str(path.relative_to(uploads)), False) for path in strangers}
    ran = left.fsck()
    assert (ran.code, set(ran.found)) == (1, foreign | {("orphan", "abyoung", False), ("orphan", "abold", False)})
    ran = left.fsck("--repair")
    assert (ran.code, set(ran.found)) == (1, foreign | {("orphan", "abyoung", False), ("orphan", "abold", True)})
    assert not old.exists()
    assert all(path.exists() for path in (young, *strangers))


async def test_stray_jobs(left: Left) -> None:
    """Jobs of uploads that are not there, or not finished, are named and cancelled; those that are owed stay. (I14)"""
    left.sql(
        ";".join(
            f"""
            insert into jobs values (
                '{name}', 'app.task', 'available', 0, 0, 1e12, 1e9, null, null, '', '', null, '[]',
                json_object('moment', 'post-finish', 'at', 1e9, 'upload', json_object('id', '{name}'))
            )
            """
            for name in ("gone", left.half, left.done)
        )
    )
    names = sorted(["gone", left.half])
    assert left.fsck().found == [("job", name, False) for name in names]
    ran = left.fsck("--repair")
    assert (ran.code, ran.found) == (0, [("job", name, True) for name in names])
    with closing(sqlite3.connect(left.place / "uploads.sqlite3")) as db:
        states = dict(db.execute("select upload_id, state from jobs").fetchall())
    assert states == {"gone": "cancelled", left.half: "cancelled", left.done: "available"}


async def test_many(left: Left) -> None:
    """More uploads than one batch holds are all looked at. (I18)"""
    left.sql(
        """
        with recursive n (i) as (select 1 union all select i + 1 from n where i < 1203)
        insert into uploads
        select printf('id-%d', i), 'single', 'open', 1, 1, 100, '', null, '[]', null, 1, 1.7e9, null, null, null,
            null, null
        from n
        """
    )
    ran = left.fsck()
    assert (ran.code, len(ran.found)) == (1, 1203)
    assert left.fsck("--repair").code == left.fsck().code == 0


@pytest.mark.parametrize("repair", [False, True])
async def test_what_a_reboot_takes_back_is_no_damage(left: Left, repair: bool) -> None:
    """After an unclean boot data is held against what was synced: the next start takes the rest back. (3.1)"""
    left.sql("update meta set value = 'another boot'; update uploads set synced_offset = 1000")
    for name in (left.half, left.done):
        os.truncate(left.path(name), 1000)
    ran = left.fsck(*["--repair"] * repair)
    assert (ran.code, ran.out) == (0, "")


@pytest.mark.parametrize("repair", [False, True])
async def test_what_the_journal_has_is_no_damage(tmp_path: Path, session: aiohttp.ClientSession, repair: bool) -> None:
    """What a power cut took of short bodies the next start writes again, and so does `--repair`. (I1, I7)"""
    async with process(tmp_path / "data") as server:
        client = Client(session, server.url)
        done = await client.upload(DATA[:5000])
        half = await client.create(len(DATA))
        assert (await client.patch(half, 0, DATA[:2000])).status == 204
        assert (await client.patch(half, 2000, DATA[2000:3000])).status == 204
        await kill(server)
    left = Left(tmp_path / "data", done.rpartition("/")[2], half.rpartition("/")[2])
    left.path(left.done).unlink()
    os.truncate(left.path(left.half), 1000)
    ran = left.fsck(*(["--repair"] if repair else []))
    assert (ran.code, ran.out) == (0, "")
    assert left.path(left.done).exists() == repair
    if repair:
        assert left.path(left.done).read_bytes() == DATA[:5000]
        assert left.path(left.half).read_bytes() == DATA[:3000]
    async with process(left.place) as server:
        client, url = Client(session, server.url), server.url + left.half
        assert (await client.get(server.url + left.done)).body == DATA[:5000]
        assert await client.offset(url) == 3000
        assert (await client.patch(url, 3000, DATA[3000:])).status == 204
        assert (await client.get(url)).body == DATA
    assert left.fsck().code == 0


async def test_damaged_database(left: Left) -> None:
    """With rows that cannot be relied on nothing is repaired: no data looks like nobody's. (I7, I16)"""
    left.sql("pragma wal_checkpoint(truncate)")
    with closing(sqlite3.connect(left.place / "uploads.sqlite3")) as db:
        (page,) = db.execute("select rootpage from sqlite_schema where name = 'uploads_unfinished'").fetchone()
        (size,) = db.execute("pragma page_size").fetchone()
    with (left.place / "uploads.sqlite3").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    nobodys = left.path(left.half).with_name(left.half[:2] + "-nobodys")
    nobodys.write_bytes(b"data")
    os.utime(nobodys, (1, 1))
    ran = left.fsck("--repair")
    assert (ran.code, {kind for kind, _, _ in ran.found}) == (1, {"database"})
    assert "restore it from a backup" in ran.err
    assert nobodys.exists()


async def test_beside_a_server(left: Left) -> None:
    """A running server is not disturbed: the check is refused with one line and code 2."""
    async with process(left.place) as server:
        assert server.process is not None
        for flags in ((), ("--repair",)):
            ran = left.fsck(*flags)
            assert (ran.code, ran.out) == (2, "")
            assert f"(pid {server.process.pid})" in ran.err
            assert "stop it first" in ran.err


def test_no_database(tmp_path: Path) -> None:
    """Where there is no database nothing is made and nothing can be said: code 2. (I16)"""
    ran = run(str(tmp_path / "wrong"), "--repair")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no database" in ran.err
    assert list(tmp_path.iterdir()) == []


async def test_for_people(left: Left) -> None:
    """The directory comes from the settings when none is named; lines are safe for a terminal."""
    (left.place / "uploads" / "x\x1b[2J").write_bytes(b"")
    ran = run(environ={"TUSD_PY_DATA_DIR": str(left.place)})
    assert ran.code == 1
    assert ran.out.split()[:2] == ["foreign", "x\\x1b[2J"]
    assert run(str(left.place), "--data-dir", "elsewhere").out == ran.out
