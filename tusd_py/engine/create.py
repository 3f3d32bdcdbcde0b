"""POST: make a new upload, with or without its first bytes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import replace

from tusd_py.abc import Body
from tusd_py.engine.append import extend
from tusd_py.engine.concat import assemble
from tusd_py.engine.context import Context
from tusd_py.engine.existence import begin, remove
from tusd_py.engine.locking import writing
from tusd_py.errors import ConnectionReset, ReadTimeout, ServerShutdown, TusError, UploadInterrupted
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol import rules
from tusd_py.protocol.intents import Append, Create

SMALL_BODY = 64 * 1024
"""Bytes up to which a body is kept in memory until all of it is there."""

_CUT = (ConnectionReset, ReadTimeout, ServerShutdown, UploadInterrupted)


async def create(ctx: Context, intent: Create, body: Body, limits: Limits) -> UploadInfo:
    """Make an upload and return it. When it returns, the upload survives what the durability level says.

    An upload whose first bytes were refused is removed again, because its client never learns its URL (CWU-04);
    one whose connection was cut stays and expires (CWU-10). Run it to its end: cancelling may leave an upload
    that nobody knows, which expires.
    """
    if ctx.draining:
        raise ServerShutdown
    rules.check_create(intent, limits)
    if intent.kind is UploadKind.FINAL:
        return await assemble(ctx, new_upload(ctx, intent, limits), intent, limits)
    upload = new_upload(ctx, intent, limits)
    if _is_small(intent) and not rules.has_usage_limits(limits):
        async with writing(ctx, upload.id, body):
            return await _with_its_bytes(ctx, upload, intent, body)
    async with _admitted(ctx, intent, limits):
        await _begin(ctx, upload)
    if not intent.has_body:
        return upload
    try:
        async with writing(ctx, upload.id, body):
            return await _first_bytes(ctx, upload, intent, body, limits)
    except _CUT:
        raise
    except TusError:
        await remove(ctx, upload.id)
        raise


def _is_small(intent: Create) -> bool:
    """Whether the body is one that is read before anything is made: data and row are then made with it, in one go."""
    return intent.has_body and intent.checksum is None and (intent.body_length or SMALL_BODY + 1) <= SMALL_BODY


async def _with_its_bytes(ctx: Context, upload: UploadInfo, intent: Create, body: Body) -> UploadInfo:
    buffers: list[bytes] = []
    ended: TusError | None = None
    try:
        while more := await body.receive():
            buffers += more
    except _CUT as error:
        ended = error
    size = sum(map(len, buffers))
    ctx.received["read"] += size
    complete = ended is None and rules.is_complete(intent.completion, size, intent.length)
    upload = replace(upload, offset=size)
    upload = await _begin(ctx, _born_finished(upload, ctx.clock.now()) if complete else upload, buffers)
    if ended is not None:
        ended.upload = upload
        raise ended
    return upload


async def _begin(ctx: Context, upload: UploadInfo, buffers: Sequence[bytes] = ()) -> UploadInfo:
    """Make an upload that has some, or all, of its bytes; return it as it is stored."""
    durability = ctx.policy.durability
    durable = durability.syncs_finish if upload.is_finished else durability.syncs_progress
    if durable:
        upload = replace(upload, synced_offset=upload.offset)
    jobs = ctx.jobs_for(upload) if upload.is_finished else ()
    await begin(ctx, upload, durable=durable, jobs=jobs, buffers=buffers)
    if upload.is_finished:
        ctx.finished(upload)
    return upload


@asynccontextmanager
async def _admitted(ctx: Context, intent: Create, limits: Limits) -> AsyncIterator[None]:
    """Make sure that there is room for one more unfinished upload, and that nobody else takes it meanwhile."""
    if not rules.has_usage_limits(limits):
        yield
        return
    async with ctx.admission:
        rules.check_usage(await ctx.info.usage(), limits, uploads=1, announced=intent.length or 0)
        yield


async def _first_bytes(ctx: Context, upload: UploadInfo, intent: Create, body: Body, limits: Limits) -> UploadInfo:
    first = Append(
        upload_id=upload.id,
        offset=0,
        checksum=intent.checksum,
        has_body=True,
        body_length=intent.body_length,
        completion=intent.completion,
    )
    # What is removed again must not have been finished: its jobs would run (CWU-04).
    return await extend(ctx, upload, first, body, limits, kept=_CUT)


def new_upload(ctx: Context, intent: Create, limits: Limits) -> UploadInfo:
    """Return the record of a new upload under a new unguessable id (128 random bits)."""
    now = ctx.clock.now()
    expires = None if limits.expire_after is None else now + limits.expire_after
    upload = UploadInfo(
        id=secrets.token_hex(16),
        kind=intent.kind,
        length=intent.length,
        metadata=intent.metadata,
        concat=intent.concat,
        parts=intent.parts,
        created_at=now,
        expires_at=expires,
    )
    if intent.kind is UploadKind.FINAL or intent.has_body:
        return upload
    if not rules.is_complete(intent.completion, 0, intent.length):
        return upload
    return _born_finished(upload, now)


def _born_finished(upload: UploadInfo, now: float) -> UploadInfo:
    # A finished partial is still a piece of an unfinished file, so it keeps its expiry (EXP-09).
    expires = upload.expires_at if upload.kind is UploadKind.PARTIAL else None
    return replace(upload, state=UploadState.FINISHED, length=upload.offset, finished_at=now, expires_at=expires)
