"""Which jobs an upload owes."""

from __future__ import annotations

import pytest

from tusd_py.jobs.registry import Registry
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, UploadKind
from tusd_py.testing import FakeClock


async def transcode(upload: FinishedUpload) -> None:
    """Do nothing."""


async def notify(upload: FinishedUpload) -> None:
    """Do nothing."""


@pytest.fixture
def registry() -> Registry:
    """A registry at a known time."""
    return Registry(FakeClock(now=1000.0))


def test_a_task_is_known_by_its_qualified_name(registry: Registry) -> None:
    """Without a name a task has that of its function, and is found under it (I14)."""
    registry.add(transcode)
    assert registry.get("tests.jobs.test_registry.transcode") is transcode
    assert registry.get("transcode") is None


def test_a_task_may_have_its_own_name(registry: Registry) -> None:
    """A given name replaces the qualified one (I14)."""
    registry.add(transcode, "make-thumbnails")
    assert registry.get("make-thumbnails") is transcode
    assert registry.get("tests.jobs.test_registry.transcode") is None


def test_a_name_is_taken_once(registry: Registry) -> None:
    """Two tasks of one name could not be told apart; the first stays (I14)."""
    registry.add(transcode, "work")
    with pytest.raises(ValueError, match="'work' is registered already"):
        registry.add(notify, "work")
    assert registry.get("work") is transcode


@pytest.mark.parametrize("kind", [UploadKind.SINGLE, UploadKind.FINAL])
def test_one_job_per_task(registry: Registry, kind: UploadKind) -> None:
    """A finished file owes one job to every task, due at once (I14)."""
    registry.add(transcode, "first")
    registry.add(notify, "second")
    upload = UploadInfo(id="a", kind=kind)
    assert list(registry.jobs_for(upload)) == [
        Job(upload_id="a", task="first", scheduled_at=1000.0),
        Job(upload_id="a", task="second", scheduled_at=1000.0),
    ]


def test_a_partial_owes_nothing(registry: Registry) -> None:
    """The application sees the final upload only (CAT-24)."""
    registry.add(transcode)
    assert list(registry.jobs_for(UploadInfo(id="a", kind=UploadKind.PARTIAL))) == []


def test_no_tasks_no_jobs(registry: Registry) -> None:
    """Without tasks nothing is owed (I14)."""
    assert list(registry.jobs_for(UploadInfo(id="a"))) == []
