"""System calls that really fail, under an engine over its real stores (reliability 6.1): I5, I9 and 3.2."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("strace") is None, reason="NOT RUN: needs root and strace"
)


class Driven:
    """The engine of `failing_disk`, one step at a time."""

    def __init__(self, process: asyncio.subprocess.Process, place: Path, level: Durability) -> None:
        self.process = process
        self.place = place
        self.level = level
        self.upload_id = ""

    @property
    def data(self) -> Path:
        return self.place / "uploads" / self.upload_id[:2] / self.upload_id

    @property
    def log(self) -> Path:
        return self.place / "uploads.sqlite3-wal"

    async def read(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode().strip()

    async def step(self, line: str) -> str:
        """Take a step and return what came of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.read()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def row(self) -> UploadInfo | None:
        """Return the row as the next process finds it, in the same boot."""
        store = SqliteInfoStore(self.place / "uploads.sqlite3", durability=self.level, boot_id="boot")
        await store.open()
        try:
            return await store.get(self.upload_id)
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def driven(place: Path, level: Durability) -> AsyncIterator[Driven]:
    """Run the engine as a process until the block ends."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.engine.failing_disk", str(place), str(level), stdin=PIPE, stdout=PIPE
    )
    try:
        engine = Driven(child, place, level)
        engine.upload_id = await engine.read()
        yield engine
    finally:
        if child.returncode is None:
            assert child.stdin is not None
            child.stdin.close()
            await asyncio.wait_for(child.wait(), 30)


@contextlib.asynccontextmanager
async def failing(engine: Driven, path: Path, call: str, *, times: str = "1") -> AsyncIterator[None]:
    """Let such calls of each thread fail with an I/O error if they are on this file: the first, or (`1+`) all."""
    strace = await asyncio.create_subprocess_exec(
        "strace", "-f", f"--attach={engine.process.pid}", "-P", str(path),
        "-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when={times}", "-o", "/dev/null",
        stderr=PIPE,
    )  # fmt: skip
    try:
        assert strace.stderr is not None
        line = await asyncio.wait_for(strace.stderr.readline(), 30)
        assert b"attached" in line, line
        yield
    finally:
        # It has ended by itself when what it watched has.
        with contextlib.suppress(ProcessLookupError):
            strace.terminate()
        await strace.communicate()


async def test_failed_sync_at_the_end(tmp_path: Path) -> None:
    """After a failed fdatasync at the finish the offset goes back to what was synced, and it goes on. (I9)"""
    async with driven(tmp_path, Durability.FINISH) as engine:
        assert await engine.step("abcd") == "open 4 0"
        async with failing(engine, engine.data, "fdatasync"):
            assert await engine.step("efgh") == "failed 500"
            assert await engine.step("head") == "open 0 0"
        assert await engine.step("ABCDEFGH") == "finished 8 8"
        assert engine.data.read_bytes() == b"ABCDEFGH"
    row = await engine.row()
    assert row is not None
    assert row.state is UploadState.FINISHED


async def test_killed_after_a_failed_sync(tmp_path: Path) -> None:
    """A kill after a failed fdatasync brings nothing back that may be lost. (I9)"""
    async with driven(tmp_path, Durability.FINISH) as engine:
        assert await engine.step("abcd") == "open 4 0"
        async with failing(engine, engine.data, "fdatasync"):
            assert await engine.step("efgh") == "failed 500"
        await engine.kill()
    row = await engine.row()
    assert row is not None
    assert row.offset == 0


@pytest.mark.parametrize("level", [Durability.NONE, Durability.FINISH])
async def test_failed_sync_of_everything(tmp_path: Path, level: Durability) -> None:
    """After a failed syncfs nothing that it covered is noted by the next one, which succeeds. (I9)"""
    async with driven(tmp_path, level) as engine:
        assert await engine.step("abcd") == "open 4 0"
        async with failing(engine, tmp_path / "uploads", "syncfs"):
            assert await engine.step("settle") == "failed OSError"
        assert await engine.step("settle") == "open 0 0"
        assert await engine.step("abc") == "open 3 0"
        assert await engine.step("settle") == "open 3 3"


@pytest.mark.parametrize("killed", [False, True])
async def test_commit_with_unknown_outcome(tmp_path: Path, killed: bool) -> None:
    """What a client was told after a failed COMMIT stays so: no later recovery of the log finds it. (3.2, I5)"""
    async with driven(tmp_path, Durability.PATCH) as engine:
        assert await engine.step("abcd") == "open 4 4"
        # Whoever opens the database again finds a disk that works: else nobody could decide.
        async with failing(engine, engine.log, "fdatasync"):
            assert await engine.step("efgh") == "failed 500"
            assert await engine.step("head") == "open 4 4"
        if killed:
            await engine.kill()
        else:
            assert await engine.step("efgh") == "finished 8 8"
    row = await engine.row()
    assert row is not None
    assert row.offset == (4 if killed else 8)


async def test_commit_that_cannot_be_decided(tmp_path: Path) -> None:
    """While nobody can tell what a failed COMMIT left, nobody is told an offset; then it stays so. (3.2, I3, I5)"""
    async with driven(tmp_path, Durability.PATCH) as engine:
        assert await engine.step("abcd") == "open 4 4"
        # Whoever opens the database again fails, too.
        async with failing(engine, engine.log, "fdatasync", times="1+"):
            assert await engine.step("efgh") == "failed 500"
            assert await engine.step("head") == "failed 423"
            assert await engine.step("efgh") == "failed 423"
        assert await engine.step("head") == "open 4 4"
        await engine.kill()
    row = await engine.row()
    assert row is not None
    assert row.offset == 4


async def test_killed_before_it_could_be_decided(tmp_path: Path) -> None:
    """A failed COMMIT that nobody was told anything about may have happened after a kill; its bytes are there. (I7)"""
    async with driven(tmp_path, Durability.PATCH) as engine:
        assert await engine.step("abcd") == "open 4 4"
        async with failing(engine, engine.log, "fdatasync", times="1+"):
            assert await engine.step("efgh") == "failed 500"
            await engine.kill()
    row = await engine.row()
    assert row is not None
    assert engine.data.read_bytes()[: row.offset] == b"abcdefgh"[: row.offset]
