"""on_finish: once for every finished upload, durably, until it succeeds (reliability I14, design promise 3)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.support.client import CT, Client
from tests.support.dying_app import DEATH
from tests.support.servers import READY, Target, embedded, running
from tests.support.timed import Recording, name_of, recording
from tests.support.waiting import until

Session = aiohttp.ClientSession
Work = Callable[[tusd_py.FinishedUpload], Awaitable[None]]


@pytest.fixture(scope="module")
async def hooked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recording]:
    """An embedded server that tells which uploads finished."""
    async with recording(tmp_path_factory.mktemp("jobs") / "data") as record:
        yield record


@pytest.fixture
def client(session: Session, hooked: Recording) -> Client:
    """A client of that server."""
    return Client(session, hooked.target.url)


@contextlib.asynccontextmanager
async def working(data_dir: Path, work: Work) -> AsyncIterator[Target]:
    """Run an embedded server whose task has the same name every time, and is known when the server starts."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=data_dir)

    @tus.on_finish
    async def task(upload: tusd_py.FinishedUpload) -> None:
        await work(upload)

    async with running(app) as url:
        yield Target(f"{url}/files/", data_dir, "embedded", tus=tus)


async def test_what_the_application_is_told(hooked: Recording, client: Client) -> None:
    """The task gets id, length, decoded metadata, path, times, attempt and key of the upload (I14)."""
    url = await client.upload(b"hello", Upload_Metadata="filename YS50eHQ=,empty")
    await until(hooked.quiet)
    (told,) = hooked.of(url)
    assert (told.id, told.length, told.attempt) == (name_of(url), 5, 1)
    assert told.metadata == {"filename": "a.txt", "empty": ""}
    assert told.path == hooked.target.data_path(url)
    assert told.path.read_bytes() == b"hello"
    assert told.created_at <= told.finished_at
    assert told.idempotency_key.startswith(name_of(url))


@pytest.mark.parametrize("way", ["patches", "creation", "empty", "declared-late", "chunked-overflow"])
async def test_once_for_every_way_to_finish(hooked: Recording, client: Client, way: str) -> None:
    """However an upload finishes, its task runs exactly once (I14, CRE-POST-07, CWU-02, DEF-03, CORE-BODY-02)."""
    if way == "patches":
        url = await client.create(10)
        await client.patch(url, 0, b"hello")
        await client.patch(url, 5, b"world")
    elif way == "creation":
        url = (await client.post({"Upload-Length": "5", **CT}, b"hello")).headers["Location"]
    elif way == "empty":
        url = await client.create(0)
    elif way == "declared-late":
        url = await client.create(None)
        await client.patch(url, 0, b"hello")
        await client.patch(url, 5, b"", {"Upload-Length": "5"})
    else:
        url = await client.create(5)
        assert (await client.patch(url, 0, _pieces(b"hello", b"world"))).status == 413
    length = await client.offset(url)
    # Repeating the end changes nothing (CORE-PATCH-12).
    assert (await client.patch(url, length)).status == 204
    await until(hooked.quiet)
    assert [told.length for told in hooked.of(url)] == [length]


async def test_not_for_unfinished_or_refused(hooked: Recording, client: Client) -> None:
    """Nothing runs for an upload that is not whole, was refused, or is a partial one (I14, CAT-24)."""
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    await client.patch(url, 5, b"too much")
    await client.patch(url, 5, b"world", {"Upload-Checksum": "sha1 AAAA"})
    part = await client.upload(b"hello", Upload_Concat="partial")
    await client.post({"Upload-Length": "5", **CT, "Upload-Checksum": "sha1 AAAA"}, b"hello")
    assert await hooked.quiet()
    assert hooked.of(url) == hooked.of(part) == []


async def test_racing_last_patches(hooked: Recording, client: Client) -> None:
    """Several clients that send the last bytes at the same moment finish the upload once (CONC-14, I14)."""
    for _ in range(8):
        url = await client.create(10)
        await client.patch(url, 0, b"hello")
        bodies = [b"WORLD", b"world", b"WoRlD", b"wOrLd"]
        answers = await asyncio.gather(*(client.patch(url, 5, body) for body in bodies))
        statuses = [answer.status for answer in answers]
        assert set(statuses) <= {204, 400, 409, 413, 423}
        assert statuses.count(204) <= 1
        # Also one that was interrupted may have brought every byte (CORE-BODY-03): then nothing is left to do.
        if (offset := await client.offset(url)) < 10:
            assert (await client.patch(url, offset, b"world"[offset - 5 :])).status == 204
        await until(hooked.quiet)
        assert [told.length for told in hooked.of(url)] == [10]
        assert (await client.get(url)).body[5:] in bodies


async def test_two_tasks(session: Session, tmp_path: Path) -> None:
    """Every registered task runs, each with its own key; the failure of one is not the other's (I14, I15)."""
    keys: dict[str, list[str]] = {"good": [], "bad": []}
    async with embedded(tmp_path / "data") as target:
        assert target.tus is not None

        @target.tus.on_finish
        async def good(upload: tusd_py.FinishedUpload) -> None:
            keys["good"].append(upload.idempotency_key)

        @target.tus.on_finish
        async def bad(upload: tusd_py.FinishedUpload) -> None:
            keys["bad"].append(upload.idempotency_key)
            raise RuntimeError("no luck")

        await Client(session, target.url).upload(b"hello")
        await until(lambda: _is_true(bool(keys["good"] and keys["bad"])))
    assert len(set(keys["good"] + keys["bad"])) == 2
    assert len(keys["good"]) == 1


async def test_a_failing_task_is_retried(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A task that raises runs again, with a higher attempt and the same key, until it returns (I14)."""
    monkeypatch.setattr("tusd_py.jobs.retry.FIRST_DELAY", 0.01)
    runs: list[tusd_py.FinishedUpload] = []

    async def fail_twice(upload: tusd_py.FinishedUpload) -> None:
        runs.append(upload)
        if len(runs) < 3:
            raise RuntimeError("no luck")

    async with working(tmp_path / "data", fail_twice) as target:
        assert target.tus is not None
        await Client(session, target.url).upload(b"hello")
        await until(Recording(target).quiet)
    assert [upload.attempt for upload in runs] == [1, 2, 3]
    assert len({upload.idempotency_key for upload in runs}) == 1
    assert [record.exc_text or "" for record in caplog.records if "failed at attempt" in record.message] != []


async def test_a_task_that_was_running_runs_after_a_restart(session: Session, tmp_path: Path) -> None:
    """Stopping the application ends a running task; the next start runs it again, same key (I14)."""
    began = asyncio.Event()
    keys: list[str] = []

    async def hang(upload: tusd_py.FinishedUpload) -> None:
        keys.append(upload.idempotency_key)
        began.set()
        if len(keys) == 1:
            await asyncio.Event().wait()

    async with working(tmp_path / "data", hang) as target:
        url = await Client(session, target.url).upload(b"hello")
        await began.wait()
    async with working(tmp_path / "data", hang) as target:
        await until(Recording(target).quiet)
        assert (await Client(session, target.url).get(target.url + name_of(url))).body == b"hello"
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_a_hanging_task_holds_up_nobody(session: Session, tmp_path: Path) -> None:
    """While tasks hang, uploads go on, and their own upload can be read and removed (I15)."""
    began = asyncio.Event()

    async def hang(upload: tusd_py.FinishedUpload) -> None:
        began.set()
        await asyncio.Event().wait()

    async with working(tmp_path / "data", hang) as target:
        client = Client(session, target.url)
        urls = [await client.upload(b"hello") for _ in range(6)]
        await began.wait()
        assert (await client.get(urls[0])).body == b"hello"
        assert (await client.delete(urls[0])).status == 204
        assert await client.offset(urls[5]) == 5


async def test_a_task_that_kills_its_process_runs_again(session: Session, tmp_path: Path) -> None:
    """The job was stored before it began: after the death of the process the next one runs it, same key (I14)."""
    log = tmp_path / "log"
    arguments = [sys.executable, "-m", "tests.support.dying_app", str(tmp_path / "data"), str(log)]
    child = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    client = Client(session, await _url_of(child))
    url = await client.create(5)
    with contextlib.suppress(aiohttp.ClientError):
        # It may die before it answers.
        await client.patch(url, 0, b"hello")
    assert await child.wait() == DEATH
    child = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    try:
        url = await _url_of(child) + name_of(url)
        await until(lambda: _has_lines(log, 2))
        assert (await client.get(url)).body == b"hello"
    finally:
        child.kill()
        await child.wait()
    lines = log.read_text().splitlines()
    assert lines[0] == lines[1]
    assert lines[0].startswith(name_of(url))


async def test_a_removed_upload_takes_its_job_along(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DELETE also ends what the upload still owed (I12)."""
    began = asyncio.Event()

    async def fail(upload: tusd_py.FinishedUpload) -> None:
        began.set()
        raise RuntimeError("no luck")

    async with working(tmp_path / "data", fail) as target:
        client = Client(session, target.url)
        url = await client.upload(b"hello")
        await began.wait()
        assert not await Recording(target).quiet()
        assert (await client.delete(url)).status == 204
        await until(Recording(target).quiet)


def test_what_cannot_be_a_task(tmp_path: Path) -> None:
    """What has no name of its own, and the same function twice, are refused when they are registered."""
    tus = tusd_py.setup(web.Application(), "/files", data_dir=tmp_path / "data")

    async def task(upload: tusd_py.FinishedUpload) -> None:
        """Do nothing."""

    with pytest.raises(ValueError, match="no qualified name"):
        tus.on_finish(functools.partial(task))
    with pytest.raises(ValueError, match="colon"):
        tus.task("a:b")
    with pytest.raises(ValueError, match="pre-create"):
        tus.task("early", on="pre-create")(task)
    assert tus.on_finish(task) is task
    with pytest.raises(ValueError, match="registered already"):
        tus.on_finish(task)


async def _url_of(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    line = (await asyncio.wait_for(child.stdout.readline(), 30)).decode()
    assert line.startswith(READY)
    return line.removeprefix(READY).strip()


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _has_lines(path: Path, count: int) -> bool:
    return len(path.read_text().splitlines()) >= count


async def _is_true(value: bool) -> bool:
    return value
