"""An application's functions as tasks."""

from __future__ import annotations

import threading
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

import pytest

from tests.jobs.office import Office
from tusd_py.jobs.function import name_of, runs
from tusd_py.models.finished import FinishedUpload


def locate(upload: object) -> Path:
    return Path("/data", getattr(upload, "path", None) or upload.id)  # type: ignore[attr-defined]


class Callables:
    """Every kind of function; each remembers what came and in which thread."""

    def __init__(self) -> None:
        self.uploads: list[FinishedUpload] = []
        self.threads: list[threading.Thread] = []

    def plain(self, upload: FinishedUpload) -> str:
        self.uploads.append(upload)
        self.threads.append(threading.current_thread())
        return upload.id

    async def coroutine(self, upload: FinishedUpload) -> str:
        return self.plain(upload)

    def returns_coroutine(self, upload: FinishedUpload) -> Awaitable[str]:
        return self.coroutine(upload)


@pytest.mark.parametrize(("name", "in_thread"), [("plain", True), ("coroutine", False), ("returns_coroutine", False)])
async def test_functions(office: Office, name: str, in_thread: bool) -> None:
    """A function is told everything known of the upload; one that is no coroutine does not stop the loop (I14)."""
    called = Callables()
    office.add(run=runs(getattr(called, name), locate))
    async with office.open():
        await office.finish("a", metadata="filename YS50eHQ=,empty,bad !!!", path="named")
        (job,) = await office.settle(completed=1)
    expected = FinishedUpload(
        id="a",
        length=5,
        metadata={"filename": "a.txt", "empty": ""},
        path=Path("/data/named"),
        created_at=1.0,
        finished_at=2.0,
        attempt=1,
        idempotency_key="a:work",
    )
    assert called.uploads == [expected]
    assert (called.threads[0] is not threading.main_thread()) is in_thread
    assert job.result == '"a"'


async def test_progress_from_a_thread(office: Office) -> None:
    """A function in a thread says how far it is as one on the loop does."""

    def work(upload: FinishedUpload) -> None:
        upload.report(0.5)

    office.add(run=runs(work, locate))
    async with office.open():
        await office.finish("a")
        (job,) = await office.settle(completed=1)
    assert job.progress == 0.5


def test_outside_a_job() -> None:
    """An application may make such a record itself, in a test, say; what it reports goes nowhere, and is not shown."""
    upload = FinishedUpload(id="a", length=1, metadata={}, path=None, created_at=1.0, finished_at=2.0)
    upload.report(0.5)
    assert "report" not in repr(upload)
    with pytest.raises(AttributeError):
        upload.id = "b"  # type: ignore[misc]


def test_names() -> None:
    """A function's name as a task is its qualified one; what has none needs another."""
    assert name_of(locate) == "tests.jobs.test_function.locate"
    assert name_of(Callables.plain) == "tests.jobs.test_function.Callables.plain"
    with pytest.raises(ValueError, match="no qualified name"):
        name_of(partial(locate))
