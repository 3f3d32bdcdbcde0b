"""`tusd-py jobs`: what an operator sees of the work that uploads owe, and does about it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from tests.support.waiting import until
from tusd_py.cli import main
from tusd_py.control import ControlSocket
from tusd_py.datadir import control_in, open_data_dir
from tusd_py.engine.service import SystemClock
from tusd_py.jobs.registry import Registry, Task, Work
from tusd_py.jobs.worker import Worker
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Attempt, Job, JobState
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore

NOW = time.time()
READY = "You can now upload files to: "


def _upload(upload_id: str) -> UploadInfo:
    return UploadInfo(
        id=upload_id, state=UploadState.FINISHED, offset=4, synced_offset=4, length=4, created_at=NOW, finished_at=NOW
    )


def _job(upload_id: str, task: str, state: JobState, **fields: Any) -> Job:
    event = HookEvent(moment=Moment.POST_FINISH, upload=_upload(upload_id), at=NOW)
    return replace(Job(upload_id=upload_id, task=task, event=event, state=state, created_at=NOW - 60), **fields)


FAILED = _job(
    "aa",
    "scan",
    JobState.DISCARDED,
    attempt=2,
    ended_at=NOW - 2.2 * 86400,
    error="exit code 1\x1b[2J\nand more",
    output="one\ntwo\x1b\n",
    history=(Attempt(number=2, began_at=200.0, ended_at=265.0, error="exit\n code 1"),),
)
DONE = _job("aa", "thumbnail", JobState.COMPLETED, attempt=1, ended_at=NOW - 5400, progress=1.0, result='{"width":3}')
TOLD = _job(
    "bb", "post-finish:hooks-dir", JobState.RETRYABLE, attempt=3, scheduled_at=NOW + 2.2 * 86400, error="e" * 99
)
WAITING = _job("bb", "scan", JobState.AVAILABLE, scheduled_at=NOW - 5)
URGENT = _job("bb", "thumbnail", JobState.AVAILABLE, scheduled_at=NOW - 1, priority=5)
RUNNING = _job("cc", "scan", JobState.EXECUTING, attempt=1, scheduled_at=NOW + 3600, progress=0.999)
ALL = (FAILED, DONE, TOLD, WAITING, URGENT, RUNNING)


@asynccontextmanager
async def _stored(data_dir: Path) -> AsyncIterator[SqliteInfoStore]:
    """Hold a data directory and open its store, as a server does."""
    with open_data_dir(data_dir) as place:
        place.uploads.mkdir(exist_ok=True)
        store = SqliteInfoStore(place.database, durability=Durability.NONE, data_root=place.uploads)
        await store.open()
        try:
            yield store
        finally:
            await store.close()


async def _fill(data_dir: Path, *jobs: Job) -> None:
    async with _stored(data_dir) as store:
        for upload_id in {job.upload_id for job in jobs}:
            owed = [job for job in jobs if job.upload_id == upload_id]
            await store.insert(_upload(upload_id), durable=False, jobs=owed)
            for job in owed:
                await store.save_job(job)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with jobs in most states."""
    asyncio.run(_fill(tmp_path / "data", *ALL))
    return tmp_path / "data"


def _run(data_dir: Path, verb: str, *args: str) -> Result:
    result = CliRunner().invoke(main, ["jobs", verb, "--data-dir", str(data_dir), *args])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result


def _keys(data_dir: Path, *args: str) -> list[str]:
    return [job["key"] for job in msgspec.json.decode(_run(data_dir, "ls", "--json", *args).stdout)["jobs"]]


def _shown(data_dir: Path, key: str) -> dict[str, Any]:
    return msgspec.json.decode(_run(data_dir, "show", "--json", key).stdout)


def _states(data_dir: Path) -> dict[str, str]:
    return {job["key"]: job["state"] for job in msgspec.json.decode(_run(data_dir, "ls", "--json").stdout)["jobs"]}


def test_ls_is_a_table(data_dir: Path) -> None:
    """What runs comes first, then what waits in its order, then what has ended; nothing moves a cursor."""
    header, *rows = _run(data_dir, "ls").stdout.splitlines()
    assert ["JOB", "STATE", "ATTEMPT", "WHEN", "PRIORITY", "PROGRESS", "ERROR"] == header.split()
    assert [
        ["cc:scan", "executing", "1", "now", "0", "99%"],
        ["bb:thumbnail", "available", "0", "now", "5", "-"],
        ["bb:scan", "available", "0", "now", "0", "-"],
        ["bb:post-finish:hooks-dir", "retryable", "3", "in", "2d"],
        ["aa:thumbnail", "completed", "1", "1h"],
        ["aa:scan", "discarded", "2", "2d", "4h", "ago", "0", "-", "exit", "code", "1\\x1b[2J"],
    ] == [row.split()[:size] for row, size in zip(rows, (6, 6, 6, 5, 4, 12), strict=True)]
    assert rows[3].endswith("  " + "e" * 59 + "…")


def test_ls_can_choose(data_dir: Path) -> None:
    """States (several), a task, an upload; together they mean all of them."""
    assert ["cc:scan", "aa:scan"] == _keys(data_dir, "--state", "executing", "--state", "discarded")
    assert ["bb:thumbnail", "aa:thumbnail"] == _keys(data_dir, "--task", "thumbnail")
    assert ["bb:scan"] == _keys(data_dir, "--upload", "bb", "--task", "scan", "--state", "available")
    for none in (("--state", "cancelled"), ("--upload", "\udcff")):
        empty = _run(data_dir, "ls", *none)
        assert (0, "", "no jobs\n") == (empty.exit_code, empty.stdout, empty.stderr)


def test_ls_has_a_limit(data_dir: Path) -> None:
    """The most urgent are listed, and that there are more is said."""
    result = _run(data_dir, "ls", "--limit", "2")
    assert ["cc:scan", "bb:thumbnail"] == [row.split()[0] for row in result.stdout.splitlines()[1:]]
    assert "4 more; --limit 6 lists all\n" == result.stderr


def test_ls_reads_all_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each is seen once."""
    monkeypatch.setattr("tusd_py.cli.jobs._BATCH", 2)
    asyncio.run(_fill(tmp_path / "data", *ALL))
    assert sorted(job.key for job in ALL) == sorted(_keys(tmp_path / "data"))


def test_show_is_readable_and_safe(data_dir: Path) -> None:
    """Times are dates, texts keep their lines, control characters are escapes."""
    text = _run(data_dir, "show", FAILED.key).stdout
    assert "\x1b" not in text
    lines = [line.split(maxsplit=1) for line in text.splitlines()]
    assert ["key", "aa:scan"] == lines[0]
    at = lines.index(["output", "one"])
    assert [["two\\x1b"], ["result", "-"]] == lines[at + 1 : at + 3]
    assert ["history", "2: 1970-01-01T00:03:20+00:00, 1m 5s, exit code 1"] in lines
    assert lines[-1][1].startswith('{"moment":"post-finish","upload":{"id":"aa"')


def test_show_json_is_one_document(data_dir: Path) -> None:
    """Machines get every field; the result is a value."""
    record = _shown(data_dir, DONE.key)
    assert {"width": 3} == record["result"]
    assert {"key", *Job.__struct_fields__} == set(record)
    assert ("aa", "post-finish") == (record["event"]["upload"]["id"], record["event"]["moment"])


@pytest.mark.parametrize("key", ["aa:nope\x1b", "aa", "\udcff:scan"])
def test_show_of_unknown_job_fails(data_dir: Path, key: str) -> None:
    """Exit code 1 and one safe line."""
    result = _run(data_dir, "show", key)
    assert 1 == result.exit_code
    assert result.stderr.lower().startswith("error: there is no job ")
    assert result.stderr.strip().isprintable()


def test_looking_works_beside_a_server(data_dir: Path) -> None:
    """Neither ls nor show takes a lock."""
    with open_data_dir(data_dir):
        assert 6 == len(_keys(data_dir))
        assert 0 == _run(data_dir, "show", DONE.key).exit_code


@pytest.mark.parametrize("args", [("ls",), ("show", "aa:scan"), ("retry", "aa:scan"), ("cancel", "aa:scan")])
def test_a_wrong_directory_is_not_filled(tmp_path: Path, args: tuple[str, ...]) -> None:
    """I16: it is reported."""
    result = _run(tmp_path / "wrong", *args)
    assert 1 == result.exit_code
    assert not (tmp_path / "wrong").exists()


def test_retry_without_a_server(data_dir: Path) -> None:
    """Jobs begin anew at the next start: ended ones, and those that a killed server left executing."""
    assert 0 == _run(data_dir, "retry", FAILED.key, RUNNING.key, FAILED.key).exit_code
    assert ("available", 0, None) == tuple(
        _shown(data_dir, FAILED.key)[name] for name in ("state", "attempt", "ended_at")
    )
    assert ("available", 0) == tuple(_shown(data_dir, RUNNING.key)[name] for name in ("state", "attempt"))


def test_what_cannot_be_retried_does_not_keep_others(data_dir: Path) -> None:
    """Exit code 1 and one line for those; the others are retried."""
    result = _run(data_dir, "retry", "aa:nope", DONE.key, "bb:nope\x1b")
    assert (1, "Error: There is no job aa:nope; There is no job bb:nope\\x1b\n") == (result.exit_code, result.stderr)
    assert "available" == _shown(data_dir, DONE.key)["state"]


def test_a_long_list_of_reasons_is_cut(data_dir: Path) -> None:
    """Nobody reads a thousand of them in one line."""
    result = _run(data_dir, "retry", *(f"aa:{number}" for number in range(7)))
    assert result.stderr.endswith("; There is no job aa:4; and 2 more\n")


def test_retry_in_bulk(data_dir: Path) -> None:
    """--all takes what the filters choose, and says how many that were."""
    before = _states(data_dir)
    result = _run(data_dir, "retry", "--all", "--state", "discarded", "--state", "completed", "--task", "scan")
    assert (0, "jobs that begin anew: 1\n") == (result.exit_code, result.stderr)
    # What the dead server left executing is free again, as at any start.
    assert before | {FAILED.key: "available", RUNNING.key: "available"} == _states(data_dir)


@pytest.mark.parametrize(
    "args",
    [(), ("--all",), ("--all", "--task", "scan"), ("--all", "--state", "discarded", "aa:scan"), ("--task", "scan"),
     ("aa:scan", "--task", "scan"), ("aa:scan", "--state", "discarded")],
    ids=" ".join,
)  # fmt: skip
def test_retry_is_never_meant_by_mistake(data_dir: Path, args: tuple[str, ...]) -> None:
    """Either names, or --all with a state: anything else is a usage error, and nothing changes."""
    before = _states(data_dir)
    assert 2 == _run(data_dir, "retry", *args).exit_code
    assert before == _states(data_dir)


def test_cancel_without_a_server(data_dir: Path) -> None:
    """What has not ended, ends; what has is refused."""
    result = _run(data_dir, "cancel", TOLD.key, DONE.key, RUNNING.key, TOLD.key)
    assert (1, "Error: The job aa:thumbnail is completed and cannot be cancelled\n") == (
        result.exit_code,
        result.stderr,
    )
    assert (["cancelled"] * 2, "completed") == (
        [_shown(data_dir, job.key)["state"] for job in (TOLD, RUNNING)],
        _shown(data_dir, DONE.key)["state"],
    )


def test_nothing_is_written_beside_whoever_holds_the_directory(data_dir: Path) -> None:
    """Reliability 3.2: a holder that cannot be asked, a starting server say, makes it a refusal of one line."""
    with open_data_dir(data_dir):
        result = _run(data_dir, "retry", FAILED.key)
    assert 1 == result.exit_code
    assert "another server uses this data directory (pid " in result.stderr
    assert "it cannot be asked: " in result.stderr
    assert "discarded" == _states(data_dir)[FAILED.key]


class Service:
    """What a server has for its jobs, with one task that fails and one that never ends."""

    def __init__(self) -> None:
        self.scanned: list[str] = []
        self.stopped: list[str] = []

    async def scan(self, work: Work) -> None:
        self.scanned.append(work.key)

    async def hang(self, work: Work) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.stopped.append(work.key)
            raise

    @asynccontextmanager
    async def running(self, data_dir: Path) -> AsyncIterator[SqliteInfoStore]:
        registry = Registry()
        for name, run in (("scan", self.scan), ("hang", self.hang)):
            registry.add(Task(name=name, run=run, wants=lambda _: True))
        async with _stored(data_dir) as store:
            worker = Worker(jobs=store, info=store, registry=registry, clock=SystemClock())
            control = ControlSocket(control_in(data_dir), {"retry": worker.retry, "cancel": worker.cancel})
            await control.start()
            working = asyncio.create_task(worker.run())
            try:
                yield store
            finally:
                await control.close()
                working.cancel()
                await asyncio.wait([working])


async def _process(verb: str, data_dir: Path, *args: str) -> tuple[int | None, str]:
    """Run the real command; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tusd_py", "jobs", verb, "--data-dir", str(data_dir), *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


def _has(store: SqliteInfoStore, job: Job, state: JobState) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return [state] == [found.state for found in await store.list_jobs(upload_id=job.upload_id, task=job.task)]

    return check


async def test_a_running_server_is_asked(tmp_path: Path) -> None:
    """The server retries a job at once, and stops the task of one that is executing."""
    data_dir = tmp_path / "data"
    hanging = _job("bb", "hang", JobState.AVAILABLE)
    await _fill(data_dir, FAILED, hanging)
    service = Service()
    async with service.running(data_dir) as store:
        await until(_has(store, hanging, JobState.EXECUTING))
        assert (0, "") == await _process("retry", data_dir, FAILED.key)
        await until(_has(store, FAILED, JobState.COMPLETED))
        assert [FAILED.key] == service.scanned
        code, complaint = await _process("retry", data_dir, hanging.key, "aa:nope")
        assert 1 == code
        assert "Error: The job bb:hang is executing and cannot be retried; There is no job aa:nope\n" == complaint
        assert (0, "") == await _process("cancel", data_dir, hanging.key)
        await until(_has(store, hanging, JobState.CANCELLED))
        assert [hanging.key] == service.stopped
        assert (0, "jobs that begin anew: 1\n") == await _process("retry", data_dir, "--all", "--state", "cancelled")


@contextmanager
def _serving(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    config = tmp_path / "tusd-py.toml"
    config.write_text(
        f"""
        [jobs.check]
        on = "post-finish"
        command = ["test", "-e", "{tmp_path}/allowed"]
        retries = 0
        [jobs.sleep]
        on = "post-finish"
        command = ["sleep", "60"]
        """
    )
    command = [sys.executable, "-m", "tusd_py", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen([*command, "--config", str(config)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            assert line.startswith(READY), line
            yield process, line.removeprefix(READY).strip()
        finally:
            process.kill()


async def test_jobs_of_the_real_server(tmp_path: Path) -> None:
    """From the upload on: jobs are seen, retried and cancelled in a server, and after it was killed."""
    data_dir = tmp_path / "data"

    def has(**states: str) -> Callable[[], Awaitable[bool]]:
        async def check() -> bool:
            code, printed = await _process("ls", data_dir, "--json")
            assert 0 == code
            return states == {job["task"]: job["state"] for job in msgspec.json.decode(printed)["jobs"]}

        return check

    with _serving(tmp_path) as (process, url):
        create = urllib.request.Request(url, method="POST", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "0"})
        with urllib.request.urlopen(create) as answer:
            upload_id = answer.headers["Location"].rpartition("/")[2]
        await until(has(check="discarded", sleep="executing"))
        (tmp_path / "allowed").touch()
        assert (0, "") == await _process("retry", data_dir, f"{upload_id}:check")
        assert (0, "") == await _process("cancel", data_dir, f"{upload_id}:sleep")
        await until(has(check="completed", sleep="cancelled"))
        _, printed = await _process("show", data_dir, "--json", f"{upload_id}:check")
        assert [True, False] == [bool(attempt.get("error")) for attempt in msgspec.json.decode(printed)["history"]]
        process.kill()
        process.wait()
    assert control_in(data_dir).is_socket()
    assert (0, "") == await _process("retry", data_dir, f"{upload_id}:sleep")
    assert await has(check="completed", sleep="available")()
    with _serving(tmp_path) as (process, _):
        await until(has(check="completed", sleep="executing"))
        assert (0, "") == await _process("cancel", data_dir, f"{upload_id}:sleep")
        await until(has(check="completed", sleep="cancelled"))
        process.terminate()
        assert 0 == process.wait()
    assert not control_in(data_dir).exists()
