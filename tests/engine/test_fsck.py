"""What `tusd-py fsck` says of an upload, by what is known and what is there (I7)."""

from __future__ import annotations

from typing import Any

import pytest

from tusd_py.engine.fsck import after_boot, judge
from tusd_py.models.stored import Stored
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState

MISSING = Stored(fault="it is missing", is_missing=True)
UNUSABLE = Stored(fault="it is a directory")
OPEN, FINISHED = UploadState.OPEN, UploadState.FINISHED


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
