"""After the operating system was started anew offsets fall back to what was synced."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.settings import load
from tusd_py.stores.sqlite import SqliteInfoStore
from tusd_py.stores.sqlite.boot import current_boot_id

OPEN = UploadInfo(id="one", offset=10, synced_offset=4, length=20, expires_at=5.0)
FINISHED = UploadInfo(
    id="one", state=UploadState.FINISHED, offset=20, synced_offset=4, length=20, finished_at=9.0, epoch=3
)
JOB = Job(upload_id="one", task="work", event=HookEvent(moment=Moment.POST_FINISH, upload=FINISHED))


async def reboot(
    path: Path, upload: UploadInfo, first: str | None, second: str | None
) -> tuple[UploadInfo | None, list[Job]]:
    """Store an upload with a job in one boot and return both as they are in another."""
    store = SqliteInfoStore(path / "uploads.sqlite3", durability=Durability.NONE, boot_id=first)
    await store.open()
    await store.insert(upload, durable=False, jobs=[JOB])
    await store.close()
    store = SqliteInfoStore(path / "uploads.sqlite3", durability=Durability.NONE, boot_id=second)
    for _ in range(2):
        await store.open()
        found = await store.get("one"), await store.due_jobs(1.0, limit=10)
        await store.close()
    return found


@pytest.mark.parametrize(
    ("before", "after", "jobs"),
    [
        (OPEN, replace(OPEN, offset=4), [JOB]),
        (replace(OPEN, synced_offset=10), replace(OPEN, synced_offset=10), [JOB]),
        (
            replace(OPEN, state=UploadState.ASSEMBLING),
            replace(OPEN, state=UploadState.ASSEMBLING, offset=4),
            [JOB],
        ),
        (
            replace(FINISHED, expires_at=7.0),
            replace(FINISHED, state=UploadState.OPEN, offset=4, finished_at=None, expires_at=7.0),
            [],
        ),
        (
            replace(FINISHED, state=UploadState.FINISHING, finished_at=None, expires_at=7.0),
            replace(FINISHED, state=UploadState.OPEN, offset=4, finished_at=None, expires_at=7.0),
            [JOB],
        ),
        (
            replace(FINISHED, state=UploadState.REJECTED, finished_at=None, expires_at=7.0, rejection="no"),
            replace(FINISHED, state=UploadState.OPEN, offset=4, finished_at=None, expires_at=7.0),
            [JOB],
        ),
        (replace(FINISHED, synced_offset=20), replace(FINISHED, synced_offset=20), [JOB]),
        (
            replace(FINISHED, kind=UploadKind.FINAL),
            replace(FINISHED, kind=UploadKind.FINAL, state=UploadState.DELETING),
            [],
        ),
        (replace(FINISHED, length=0, offset=0, synced_offset=0),) * 2 + ([JOB],),
        (replace(FINISHED, state=UploadState.DELETING),) * 2 + ([JOB],),
    ],
    ids=[
        "open",
        "open, synced",
        "assembling",
        "finished",
        "finishing",
        "rejected",
        "finished, synced",
        "final",
        "finished, empty",
        "deleting",
    ],
)
async def test_another_boot(tmp_path: Path, before: UploadInfo, after: UploadInfo, jobs: list[Job]) -> None:
    """Nothing is claimed that a power cut may have taken, and nothing else is given up (I1, I7, I14)."""
    assert (after, jobs) == await reboot(tmp_path, before, "first", "second")


@pytest.mark.parametrize("upload", [OPEN, FINISHED])
async def test_same_boot(tmp_path: Path, upload: UploadInfo) -> None:
    """A killed process loses nothing at any level (I1)."""
    assert (upload, [JOB]) == await reboot(tmp_path, upload, "same", "same")


async def test_kernel_names_the_boot(tmp_path: Path) -> None:
    """Unless told otherwise the store asks the kernel."""
    assert (OPEN, [JOB]) == await reboot(tmp_path, OPEN, None, current_boot_id())


async def test_a_reopened_upload_gets_a_new_week(tmp_path: Path) -> None:
    """Finishing took the expiry away; an upload that is open again, however old, has a week for its client (I13)."""
    found, _ = await reboot(tmp_path, FINISHED, "first", "second")
    assert found.expires_at == pytest.approx(time.time() + 7 * 86400, abs=60)


async def test_tests_name_the_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable names the boot in place of the kernel: for tests of power cuts that start nothing anew (3.1)."""
    assert (OPEN, [JOB]) == await reboot(tmp_path, OPEN, None, None)
    monkeypatch.setenv("TUSD_PY_BOOT_ID", "after the cut")
    store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.NONE)
    await store.open()
    found = await store.get("one")
    await store.close()
    assert found == replace(OPEN, offset=4)
    # It is no setting, and none that is unknown.
    load()
