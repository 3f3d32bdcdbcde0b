"""HEAD and GET: look at an upload without disturbing anybody who fills it."""

from __future__ import annotations

import logging

from tusd_py.abc import DataReader
from tusd_py.engine.context import Context
from tusd_py.engine.locking import conclude
from tusd_py.engine.replay import check_written
from tusd_py.errors import DataLost, UploadNotFound
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo, short
from tusd_py.protocol import rules

log = logging.getLogger(__name__)


async def inspect(ctx: Context, upload_id: str) -> UploadInfo:
    """Return an upload; its offset is accepted by the very next append, unless a live one is still going on.

    A PATCH that is receiving bytes is left alone and its committed offset is returned at once; one that has been
    silent is ended first, so that what it sent counts (CORE-HEAD-10). Raises `UploadNotFound`, `UploadExpired`,
    `UploadLocked`, `UploadFinishing`, `RejectedBefore`. Cancel-safe.
    """
    await conclude(ctx, upload_id)
    return rules.check_settled(rules.check_visible(await ctx.info.get(upload_id), ctx.clock.now()))


async def describe(ctx: Context, upload_id: str) -> tuple[UploadInfo, list[Job]]:
    """Return an upload, in whatever state clients may know of, and the jobs that it owed. Takes no lock. Cancel-safe.

    Raises `UploadNotFound`, `UploadExpired`.
    """
    upload = rules.check_known(await ctx.info.get(upload_id), ctx.clock.now())
    jobs = await ctx.job_store.list_jobs(upload_id=upload_id) if ctx.job_store else []
    return upload, jobs


async def open_download(ctx: Context, upload_id: str) -> tuple[UploadInfo, DataReader]:
    """Open a finished upload for reading; the caller closes the reader.

    Takes no lock: a finished upload cannot change, and what was opened stays readable when it is removed meanwhile
    (GET-16). An unfinished upload is not found: a truncated 200 would look like a whole file (GET-03).
    Raises `UploadNotFound`, `UploadExpired`, `RejectedBefore`, `DataLost`.
    """
    upload = rules.check_visible(await ctx.info.get(upload_id), ctx.clock.now())
    if not upload.is_finished:
        raise UploadNotFound
    try:
        await check_written(ctx, upload_id)
        reader = await ctx.data.read_from(upload.key)
    except DataLost:
        # Lost, or removed since we looked.
        rules.check_visible(await ctx.info.get(upload_id), ctx.clock.now())
        _report(upload_id)
        raise
    if reader.size != upload.offset:
        await reader.close()
        _report(upload_id)
        raise DataLost
    return upload, reader


def _report(upload_id: str) -> None:
    log.error("the data of a finished upload is lost", extra={"action": "data_lost", "upload_id": short(upload_id)})
