"""What `tusd-py fsck` says of an upload, by what is known and what is there (I7)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tusd_py.engine.context import Context, Policy
from tusd_py.engine.expire import Sweeper
from tusd_py.engine.fsck import Check, after_boot, after_replay, judge
from tusd_py.engine.service import SystemClock
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.job import Job
from tusd_py.models.stored import Stored
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.inspection import FileInspector
from tusd_py.stores.memory import MemoryInfoStore
from tusd_py.testing.data import content, fill

MISSING = Stored(fault="it is missing", is_missing=True)
UNUSABLE = Stored(fault="it is a directory")
OPEN, FINISHING, FINISHED, REJECTED = (
    UploadState.OPEN, UploadState.FINISHING, UploadState.FINISHED, UploadState.REJECTED,
)  # fmt: skip


@pytest.mark.parametrize(
    ("state", "stored", "kind"),
    [
        (OPEN, Stored(size=5), None),
        (OPEN, Stored(size=9), None),
        (OPEN, Stored(size=4), "short"),
        (OPEN, Stored(size=4, hole=2), "short"),
        (OPEN, MISSING, "short"),
        (OPEN, UNUSABLE, "lost"),
        (OPEN, Stored(size=5, hole=2), "hole"),
        (FINISHING, Stored(size=5), None),
        (FINISHING, Stored(size=4), "short"),
        (FINISHING, MISSING, "short"),
        (REJECTED, Stored(size=5), None),
        (REJECTED, Stored(size=9), None),
        (REJECTED, Stored(size=4), "lost"),
        (REJECTED, MISSING, "lost"),
        (FINISHED, Stored(size=5), None),
        (FINISHED, Stored(size=4), "lost"),
        (FINISHED, MISSING, "lost"),
        (FINISHED, UNUSABLE, "lost"),
        (FINISHED, Stored(size=6), "long"),
        (FINISHED, Stored(size=5, hole=2), "hole"),
        (UploadState.DELETING, MISSING, "half-removed"),
        (UploadState.ASSEMBLING, Stored(size=0), "half-joined"),
    ],
)
def test_kinds(state: UploadState, stored: Stored, kind: str | None) -> None:
    """What the server would refuse, and only that, is named; and what it cannot see: holes. (I2, I7)"""
    problem = judge(UploadInfo(id="id", state=state, offset=5, length=5), stored)
    assert (problem and problem.kind) == kind


@pytest.mark.parametrize(
    ("stored", "after"),
    [
        (MISSING, MISSING),
        (UNUSABLE, UNUSABLE),
        (Stored(size=3), Stored(size=3)),
        (Stored(size=4), Stored(size=9)),
        (Stored(size=12), Stored(size=12)),
        (Stored(size=9, hole=4), Stored(size=9)),
        (Stored(size=9, hole=2), Stored(size=9, hole=2)),
    ],
)
def test_after_replay(stored: Stored, after: Stored) -> None:
    """What the journal has counts as there, where it joins on to what is. (I7)"""
    assert after_replay(UploadInfo(id="id", offset=9), stored, (4, 9)) == after


def test_missing_data_that_the_journal_has() -> None:
    """Data is made where the journal has it from its beginning. (I7)"""
    assert after_replay(UploadInfo(id="id", offset=9), MISSING, (0, 9)) == Stored(size=9)


def test_finished_data_that_is_too_long_and_the_journal_has_its_end() -> None:
    """A start cuts what is finished when it has written its end again. (I2, I6)"""
    upload = UploadInfo(id="id", state=FINISHED, offset=9, length=9)
    assert after_replay(upload, Stored(size=12), (4, 9)) == Stored(size=9)
    assert after_replay(upload, Stored(size=12), (4, 8)) == Stored(size=12)


def test_finished_too_early() -> None:
    """A row that calls an upload finished which is not is named. (I6)"""
    problem = judge(UploadInfo(id="id", state=FINISHED, offset=5, length=7), Stored(size=5))
    assert problem is not None
    assert problem.kind == "lost"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"state": OPEN}, (OPEN, 3)),
        ({"state": FINISHED}, (OPEN, 3)),
        ({"state": FINISHED, "kind": UploadKind.FINAL}, (UploadState.DELETING, 5)),
        ({"state": FINISHED, "synced_offset": 5}, (FINISHED, 5)),
        ({"state": UploadState.DELETING}, (UploadState.DELETING, 5)),
    ],
)
def test_after_boot(before: dict[str, Any], after: tuple[UploadState, int]) -> None:
    """An unclean boot takes back what was not synced, as the statements of the store do it. (3.1)"""
    upload = after_boot(UploadInfo(**{"id": "id", "offset": 5, "length": 5, "synced_offset": 3, **before}))
    assert (upload.state, upload.offset) == after


class NothingOwed:
    """No jobs at all."""

    async def stray_jobs(self, *, after: Job | None, limit: int) -> list[Job]:
        return []

    async def save_job(self, job: Job) -> bool:
        return False


@pytest.fixture
async def ctx(tmp_path: Path) -> AsyncIterator[Context]:
    """Two uploads, a finished and an open one, that have a path of their own for their data."""
    data = FileDataStore(tmp_path / "uploads")
    await data.open()
    info = MemoryInfoStore()
    for upload in (
        UploadInfo(id="done", path="a/b/done.pdf", state=FINISHED, offset=4, synced_offset=4, length=4),
        UploadInfo(id="half", path="a/half.pdf", offset=2, length=4),
    ):
        await info.insert(upload, durable=False)
        await fill(data, upload.key, b"data"[: upload.offset])
    yield Context(data=data, info=info, locker=MemoryLocker(), clock=SystemClock(), policy=Policy())
    await data.close()


async def found(ctx: Context, tmp_path: Path, *, repair: bool) -> set[tuple[str, str, bool]]:
    """Return kind, name and whether it was repaired, of each problem."""
    check = Check(ctx, NothingOwed(), FileInspector(tmp_path / "uploads"), repair=repair)
    problems = [problem async for problem in check.problems()]
    assert len(problems) == len({problem.name for problem in problems})
    return {(problem.kind, problem.name, problem.repaired) for problem in problems}


async def test_named_data_is_looked_at(ctx: Context, tmp_path: Path) -> None:
    """Data with a path of its own is found there, judged by the same rules, and mended there. (I7)"""
    named = tmp_path / "uploads" / "named"
    assert await found(ctx, tmp_path, repair=False) == set()
    (named / "a" / "half.pdf").unlink()
    (named / "a" / "b" / "done.pdf").write_bytes(b"datamore")
    problems = {("long", "done"), ("short", "half")}
    assert await found(ctx, tmp_path, repair=False) == {(*problem, False) for problem in problems}
    assert await found(ctx, tmp_path, repair=True) == {(*problem, True) for problem in problems}
    assert await content(ctx.data, "/a/b/done.pdf") == b"data"
    assert not (named / "a" / "half.pdf").exists()
    assert await found(ctx, tmp_path, repair=True) == set()


@pytest.mark.parametrize("damage", ["directory", "link", "file above"])
async def test_what_is_in_place_of_named_data(ctx: Context, tmp_path: Path, damage: str) -> None:
    """What is not a plain file on a way without links is lost, and touched by nobody. (I7, row 17)"""
    path = tmp_path / "uploads" / "named" / "a" / "b" / "done.pdf"
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage == "link":
        path.symlink_to("../half.pdf")
    else:
        path.parent.rmdir()
        path.parent.write_bytes(b"not a directory")
    for repair in (False, True):
        assert ("lost", "done", False) in await found(ctx, tmp_path, repair=repair)
    assert os.path.lexists(path.parent if damage == "file above" else path)


async def test_named_orphans_and_strangers(ctx: Context, tmp_path: Path) -> None:
    """Named data that nobody owns goes when it is a day old; what is not ours is named and never touched. (I16)"""
    named = tmp_path / "uploads" / "named"
    await fill(ctx.data, "/a/old", b"old")
    await fill(ctx.data, "/young", b"young")
    strangers = [named / ".hidden", named / "a" / ".git", named / "a" / "link", named / "a" / "b" / "fifo"]
    strangers[0].write_bytes(b"mine")
    strangers[1].mkdir()
    (strangers[1] / "config").write_bytes(b"mine")
    strangers[2].symlink_to("half.pdf")
    os.mkfifo(strangers[3])
    for path in (named / "a" / "old", named / "a" / "half.pdf", *strangers):
        os.utime(path, (1, 1), follow_symlinks=False)
    foreign = {("foreign", str(path.relative_to(tmp_path / "uploads")), False) for path in strangers}
    young = ("orphan", "/young", False)
    assert await found(ctx, tmp_path, repair=False) == foreign | {young, ("orphan", "/a/old", False)}
    assert await found(ctx, tmp_path, repair=True) == foreign | {young, ("orphan", "/a/old", True)}
    assert await found(ctx, tmp_path, repair=True) == foreign | {young}
    assert all(os.path.lexists(path) for path in (named / "young", *strangers))


async def test_named_orphans_are_swept(ctx: Context, tmp_path: Path) -> None:
    """The sweeper removes old data that no upload has the path of, and no other. (3.1 Create)"""
    named = tmp_path / "uploads" / "named"
    await fill(ctx.data, "/a/old", b"old")
    await fill(ctx.data, "/a/young", b"young")
    for name in ("a/old", "a/half.pdf", "a/b/done.pdf"):
        os.utime(named / name, (1, 1))
    assert await Sweeper(ctx, 60.0).sweep_orphans() == 1
    assert sorted(path.name for path in named.rglob("*") if path.is_file()) == ["done.pdf", "half.pdf", "young"]


async def test_nothing_is_named(tmp_path: Path) -> None:
    """Looking makes nothing, and a file where the directory of named data could be is not ours. (I16)"""
    inspector = FileInspector(tmp_path / "uploads")
    assert [batch async for batch in inspector.entries() if batch] == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "named").write_bytes(b"mine")
    (batch,) = [batch async for batch in inspector.entries() if batch]
    assert [(entry.path, entry.key) for entry in batch] == [("named", None)]


async def test_names_that_are_no_text(ctx: Context, tmp_path: Path) -> None:
    """A name that is not UTF-8 is not ours, and is told with escapes; whoever reads the report can read it. (I16)"""
    uploads = os.fsencode(tmp_path / "uploads")
    os.mkdir(uploads + b"/ab")
    for name in (b"\xff", b"ab/ab\xff", b"named/\xff", b"named/a/b\xff"):
        os.close(os.open(uploads + b"/" + name, os.O_CREAT | os.O_WRONLY))
    names = ("\\xff", "ab/ab\\xff", "named/\\xff", "named/a/b\\xff")
    assert await found(ctx, tmp_path, repair=True) == {("foreign", name, False) for name in names}
