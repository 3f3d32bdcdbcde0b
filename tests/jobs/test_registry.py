"""Which jobs an event makes."""

from __future__ import annotations

import pytest

from tusd_py.jobs.registry import Registry, Task, Work
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job, JobState
from tusd_py.models.upload import UploadInfo, UploadKind


async def nothing(work: Work) -> None:
    """Do nothing."""


def task(name: str, moment: Moment = Moment.POST_FINISH, priority: int = 0, kind: str | None = None) -> Task:
    return Task(
        name=name,
        run=nothing,
        moment=moment,
        priority=priority,
        wants=lambda event: kind is None or event.upload.kind == kind,
    )


def event(moment: Moment = Moment.POST_FINISH, kind: UploadKind = UploadKind.SINGLE) -> HookEvent:
    return HookEvent(moment=moment, upload=UploadInfo(id="a", kind=kind), at=1000.0)


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_a_task_is_found_by_its_name(registry: Registry) -> None:
    """A job's row names its task (I14)."""
    first = task("first")
    registry.add(first)
    assert registry.get("first") is first
    assert registry.get("second") is None


def test_a_name_is_taken_once(registry: Registry) -> None:
    """Two tasks of one name could not be told apart; the first stays (I14)."""
    first = task("work")
    registry.add(first)
    with pytest.raises(ValueError, match="'work' is registered already"):
        registry.add(task("work"))
    assert registry.get("work") is first


@pytest.mark.parametrize("moment", [moment for moment in Moment if not moment.is_durable])
def test_moments_without_jobs(registry: Registry, moment: Moment) -> None:
    """A task that would never run is refused when it is registered."""
    with pytest.raises(ValueError, match=f"'work' wants {moment}"):
        registry.add(task("work", moment))


def test_one_job_per_task(registry: Registry) -> None:
    """An event makes one job for every task that wants it, due at once, with what happened in it (I14)."""
    registry.add(task("first"))
    registry.add(task("second", priority=7))
    registry.add(task("end", Moment.POST_TERMINATE))
    registry.add(task("final", kind="final"))
    happened = event()
    first = Job(upload_id="a", task="first", event=happened, scheduled_at=1000.0, created_at=1000.0)
    second = Job(upload_id="a", task="second", event=happened, scheduled_at=1000.0, created_at=1000.0, priority=7)
    assert list(registry.jobs_for(happened)) == [first, second]
    assert first.state is JobState.AVAILABLE
    assert [job.task for job in registry.jobs_for(event(Moment.POST_TERMINATE))] == ["end"]
    assert [job.task for job in registry.jobs_for(event(kind=UploadKind.FINAL))] == ["first", "second", "final"]


def test_heeds(registry: Registry) -> None:
    """Whether an event can make jobs at all is known without looking at it."""
    assert not registry.heeds(Moment.POST_FINISH)
    registry.add(task("final", kind="final"))
    assert registry.heeds(Moment.POST_FINISH)
    assert not registry.heeds(Moment.POST_TERMINATE)
    assert list(registry.jobs_for(event())) == []
