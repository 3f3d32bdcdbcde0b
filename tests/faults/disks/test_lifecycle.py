"""Servers that are told to end, that are started again, and whose jobs and disks are in trouble: T11 (I13 to I18).

Tested elsewhere and not again here: one body of each kind, silent clients and idle connections at the end, the second
signal during a download (`tests/web/test_shutdown.py`); SIGINT, a second server and a taken port in the words of the
command (`tests/cli/test_serve.py`); damaged, missing and newer databases (`tests/crash/test_damaged_database.py`); a
kill during a concatenation (`tests/web/test_concatenation_crash.py`).

Known and accepted (I16): a mount point whose disk is missing looks like a first start, and is taken for one; see
`test_missing_disk`. What is told of an upload then is 404. Who cannot have that lets the service depend on the mount
(`RequiresMountsFor=` of systemd).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import aiohttp
import pytest

from tests.faults.disks import troubled_disks as disks
from tests.faults.disks.trial import Trial, name_of, trial
from tests.faults.figures import Figures
from tests.faults.lives import Dead, Lives, read_jobs
from tests.faults.networks.procfs import resident_kib
from tests.support.client import Answer, Client, T
from tests.support.timed import timed
from tests.support.waiting import until
from tests.support.wire import Wire

MIB = 2**20
DAY = 86400.0
PATHS = {"portable": "none", "plane": 1}
"""Settings of `data_plane_from` by the way that bodies take."""
by_path = pytest.mark.parametrize("path", PATHS)
BODIES = [f"body-{number}" for number in range(8)]
SELDOM = {"checkpoint_bytes": "1GiB", "checkpoint_interval": "1h"}
"""Settings with which nothing of a body counts before its end."""
SOME = 300
"""Removals that keep a start-up busy for a while."""
MANY = """
with recursive n (i) as (select 1 union all select i + 1 from n where i < :rows)
insert into uploads (
    id, kind, state, offset, synced_offset, length, metadata, concat, parts, epoch, created_at, expires_at, finished_at
)
select
    printf('%032x', i), 'single', iif(i % 5, 'finished', 'open'), 100, 100, iif(i % 5, 100, 200),
    'filename aG9saWRheS5tb3Y=,filetype dmlkZW8vcXVpY2t0aW1l', null, '[]', 1, 1.7e9, iif(i % 5, null, 9e9),
    iif(i % 5, 1.7e9, null)
from n
"""
"""Uploads of a busy server, one in five of them open; nobody looks for their data when a server starts."""
HALF_GONE = """
insert into uploads (id, kind, state, offset, synced_offset, length, metadata, parts, epoch, created_at)
values (?, 'single', 'deleting', 9, 9, 9, '', '[]', 1, 1.7e9)
"""
MOST_GROWTH = 50 * 1000
"""KiB that a server with many uploads may have more than one without (I18)."""


@by_path
async def test_drain(path: str, one: Trial, figures: Figures) -> None:
    """SIGTERM under load: what came counts, everybody is told, nobody new gets in, exit code 0 (I17)."""
    life = await one.begin(data_plane_from=PATHS[path], **SELDOM)
    await one.uploaded("done", 1000)
    async with AsyncExitStack() as crowd:
        halves = [await one.half(crowd, key, MIB) for key in BODIES]
        idle = [await crowd.enter_async_context(await Wire.open(life.url)) for _ in range(50)]
        for wire in idle[::2]:
            wire.start("HEAD", one.urls["done"], T)
            assert (await wire.answer(head=True)).status == 200
        ending = asyncio.create_task(life.end())
        assert [await half.told() for half in halves] == [503] * len(BODIES)
        assert await ending == 0
        assert [await wire.closed() for wire in idle] == [b""] * len(idle)
        with pytest.raises(ConnectionRefusedError):
            await Wire.open(life.url)
    await one.begin(data_plane_from=PATHS[path])
    assert [await one.offset(key) for key in BODIES] == [MIB // 2] * len(BODIES)
    await one.judged(figures, f"T11 drain, {path}")


@by_path
async def test_two_signals(path: str, one: Trial, figures: Figures) -> None:
    """A second signal at once is as harmless as a kill: nothing acknowledged is missing (I1, I17)."""
    life = await one.begin(data_plane_from=PATHS[path], **SELDOM)
    await one.uploaded("done", 1000)
    async with AsyncExitStack() as crowd:
        halves = [await one.half(crowd, key, MIB) for key in BODIES]
        os.kill(life.pid, signal.SIGTERM)
        assert await life.end() in (0, 128 + signal.SIGTERM)
        assert {await half.told() for half in halves} <= {503, None}
    one.lives.remove(life)
    await one.begin(data_plane_from=PATHS[path])
    await one.judged(figures, f"T11 two signals, {path}")


async def test_ended_while_it_starts(one: Trial, figures: Figures) -> None:
    """A start-up that is busy with removals can be ended; the next one goes on with them (I16, I17)."""
    life = await one.begin()
    await one.uploaded("done", 1000)
    await one.made("open", 1000)
    assert (await one.fill("open", 500)).status == 204
    await life.end()
    paths = [one.data_dir / "uploads" / name[:2] / name for name in (f"{number:032x}" for number in range(SOME))]
    paths[0].parent.mkdir(mode=0o700)
    for path in paths:
        path.write_bytes(b"half gone")
    with closing(sqlite3.connect(one.data_dir / "uploads.sqlite3")) as db:
        db.executemany(HALF_GONE, [(path.name,) for path in paths])
        db.commit()
    starting = await one.them.begin(one.data_dir, ready=False)
    await until(lambda: _some_are_gone(paths))
    assert await starting.end() == 0
    assert any(path.exists() for path in paths)
    await one.begin()
    assert not any(path.exists() for path in paths)
    await one.judged(figures, "T11 ended at start-up")


async def _some_are_gone(paths: list[Path]) -> bool:
    return not all(path.exists() for path in paths)


async def test_ended_while_it_joins(one: Trial, session: aiohttp.ClientSession, figures: Figures) -> None:
    """A concatenation under way at the end is there as a whole or not at all, and its parts are as before (I17)."""
    life = await one.begin(shutdown_timeout="200ms")
    part = await one.uploaded("part", 16 * MIB, Upload_Concat="partial")
    one.partial.add("part")
    client = Client(session, life.url)
    joining = asyncio.create_task(client.post({"Upload-Concat": "final;" + " ".join([part] * 64)}))
    await until(lambda: _holds_more(one))
    assert await life.end() == 0, life.stderr.read_text()
    (answer,) = await asyncio.gather(joining, return_exceptions=True)
    life = await one.begin()
    joined = isinstance(answer, Answer) and answer.status == 201
    found = {path.name for path in _files(one)}
    assert len(found) == (2 if joined else 1)
    assert (await Client(session, life.url).post({"Upload-Concat": f"final;{one.urls['part']}"})).status == 201
    await one.judged(figures, "T11 ended in a concatenation")


def _files(one: Trial) -> set[Path]:
    return {path for path in (one.data_dir / "uploads").glob("??/*") if path.is_file()}


async def _holds_more(one: Trial) -> bool:
    return sum(path.stat().st_size for path in _files(one)) > 17 * MIB


async def test_many_rows(
    one: Trial, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures, volume_of: Callable[[str], int]
) -> None:
    """With many uploads a start costs neither a look at all of them nor their memory, after a kill too (I18)."""
    rows = volume_of("T11")
    life = await one.begin()
    await one.uploaded("done", 1000)
    base = resident_kib(life.pid)
    assert await life.end() == 0
    with closing(sqlite3.connect(one.data_dir / "uploads.sqlite3")) as db:
        db.execute(MANY, {"rows": rows})
        db.commit()
    for number in range(4):
        begun = time.monotonic()
        life = await one.begin()
        assert await Client(session, life.url).offset(f"{life.url}{number + 1:032x}") == 100
        after = "a kill" if number else "a clean end"
        figures.sample(f"restart_with_{rows}_uploads_s", time.monotonic() - begun, of=after)
        await one.uploaded(f"new-{number}", 1000)
        grown = resident_kib(life.pid) - base
        figures.sample(f"rss_of_{rows}_uploads_kib", grown, of=after)
        assert grown < MOST_GROWTH
        if number < 3:
            assert await life.kill() == -9
    await one.judged(figures, "T11 many rows")
    figures.add("kills", 3, of="T11")


async def test_hanging_job(one: Trial, figures: Figures) -> None:
    """Jobs that hang hold up neither uploads nor the end; they run again, each under its one key (I14, I15)."""
    life = await one.begin(job="hang")
    for number in range(6):
        await one.uploaded(f"file-{number}", 1000)
    await until(lambda: _noted(one, 4))
    assert (await one.get("file-0")).status == 200
    await one.removed("file-0")
    await one.uploaded("late", 1000)
    assert await life.end() == 0
    await one.begin(job="work")
    await one.judged(figures, "T11 hanging jobs")


async def _noted(one: Trial, count: int) -> bool:
    names = {name_of(url) for url in one.urls.values()}
    return len([job for job in read_jobs(one.them.jobs) if job.upload in names]) >= count


async def test_failing_job(one: Trial, figures: Figures) -> None:
    """Three attempts fail, each in a process that is killed; the fourth works: one key, every attempt counted (I14)."""
    for attempt in range(1, 4):
        life = await one.begin(job="fail")
        if attempt == 1:
            await one.uploaded("file", 1000)
        await until(lambda: _failed(one, attempt))  # noqa: B023 - called at once
        await life.kill()
        with closing(sqlite3.connect(one.data_dir / "uploads.sqlite3")) as db:
            # As if the pause before the next attempt was over.
            db.execute("update jobs set scheduled_at = 0")
            db.commit()
    await one.begin(job="work")
    await until(lambda: _noted(one, 4))
    await one.judged(figures, "T11 failing job")
    mine = [job for job in read_jobs(one.them.jobs) if job.upload == name_of(one.urls["file"])]
    assert [job.attempt for job in mine] == [1, 2, 3, 4]
    assert len({job.event_id for job in mine}) == 1
    figures.add("kills", 3, of="T11")


async def _failed(one: Trial, attempt: int) -> bool:
    with closing(sqlite3.connect(f"file:{one.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        # One that has only begun has the error of the attempt before.
        return db.execute("select attempt, state from jobs").fetchall() == [(attempt, "retryable")]


@pytest.mark.parametrize("jumps", [(DAY,), (-DAY,), (DAY, -DAY, DAY)], ids=["ahead", "back", "to and fro"])
async def test_clock(jumps: tuple[float, ...], tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A clock that is wrong by a day removes nothing; when it is right, only what has expired goes (I13)."""
    async with timed("disk", tmp_path, expire_after=DAY / 2) as house:
        client = Client(session, house.url)
        stay = [await client.upload(b"finished")]
        go = [await client.create(10), await client.upload(b"part", Upload_Concat="partial")]
        await client.patch(go[0], 0, b"x")
        everything = {name_of(url) for url in (*stay, *go)}
        for jump in jumps:
            house.clock.jump(jump)
            for _ in range(50):
                assert await house.sweeper.sweep() == 0
                house.clock.advance(60)
        assert await house.rows() == await house.stored() == everything
        house.clock.jump(-sum(jumps))
        assert await house.sweeper.sweep() == 0
        house.clock.advance(2 * DAY)
        assert await house.sweeper.sweep() == len(go)
        assert await house.rows() == await house.stored() == {name_of(url) for url in stay}


async def test_second_server(one: Trial, figures: Figures) -> None:
    """A second server in the same directory is refused and disturbs nothing, not even bodies under way (I16)."""
    await one.begin(**SELDOM)
    async with AsyncExitStack() as crowd:
        halves = [await one.half(crowd, key, MIB) for key in BODIES]
        for _ in range(3):
            with pytest.raises(Dead, match="exit code 1: another server uses this data directory"):
                await one.them.begin(one.data_dir)
        assert [await half.go_on() for half in halves] == [204] * len(BODIES)
    await one.judged(figures, "T11 second server")


@pytest.mark.needs_root("missing mounts")
@pytest.mark.parametrize("below", ["", "uploads"], ids=["all", "data only"])
async def test_missing_disk(
    below: str, them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures
) -> None:
    """A start beside a disk that is not mounted destroys nothing: with the disk everything is there again (I16).

    An empty mount point is a first start; a database without its data is served, but no wrong byte of it (I7).
    """
    disks.make_ext4(tmp_path / "image", 32 * MIB)
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    async with trial(them, data_dir) as one:
        with disks.mounted(tmp_path / "image", data_dir / below):
            await one.begin()
            await one.uploaded("done", 1000)
            await one.made("open", 1000)
            assert (await one.fill("open", 500)).status == 204
            await one.life.end()
        # Not through the client that is judged: it would take 404 for a loss.
        life = await them.begin(data_dir)
        client = Client(session, life.url)
        done, unfinished = (life.url + name_of(one.urls[key]) for key in ("done", "open"))
        statuses = [(await client.get(done)).status, (await client.patch(unfinished, 500, b"x" * 500)).status]
        assert statuses == ([500, 500] if below else [404, 404])
        assert (await client.get(await client.upload(b"meanwhile"))).body == b"meanwhile"
        assert await life.end() == 0
        with disks.mounted(tmp_path / "image", data_dir / below):
            await one.begin()
            await one.judged(figures, "T11 missing disk")
