"""What became of an upload, for its client: also long after the answer to the last request was lost."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, UploadState

_SHOWN_AS = {UploadState.ASSEMBLING: UploadState.OPEN}


class JobResult(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One job as the client may see it: never what went wrong inside the server."""

    name: str
    state: str
    attempt: int
    progress: float | None = None
    result: msgspec.Raw | None = None


class Result(msgspec.Struct, kw_only=True):
    """The document."""

    id: str
    state: str
    offset: int
    length: int | None
    finished_at: float | None
    reason: str | None
    """Why a hook rejected it."""
    jobs: list[JobResult]


def describe(upload: UploadInfo, jobs: Iterable[Job]) -> bytes:
    """Return the JSON document of an upload and its jobs. Deliveries of hooks are left out."""
    shown = [_job(job) for job in jobs if not job.is_delivery]
    return msgspec.json.encode(
        Result(
            id=upload.id,
            state=_SHOWN_AS.get(upload.state, upload.state),
            offset=upload.offset,
            length=upload.length,
            finished_at=upload.finished_at,
            reason=upload.rejection,
            jobs=shown,
        )
    )


def _job(job: Job) -> JobResult:
    return JobResult(
        name=job.task,
        state=job.state,
        attempt=job.attempt,
        progress=job.progress,
        result=None if job.result is None else msgspec.Raw(job.result.encode()),
    )
