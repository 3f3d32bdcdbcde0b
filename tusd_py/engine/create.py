"""POST: make a new upload, with or without its first bytes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from msgspec.structs import replace

from tusd_py.abc import Body, Buffer, Lock
from tusd_py.engine.append import extend
from tusd_py.engine.concat import assemble, check
from tusd_py.engine.context import Context
from tusd_py.engine.existence import begin, remove
from tusd_py.engine.locking import Writing
from tusd_py.engine.moments import Caller, announcing, as_wished, ask, impossible, owed
from tusd_py.engine.once import claiming, find_created
from tusd_py.engine.writer import Writer
from tusd_py.errors import (
    ConnectionReset,
    ReadTimeout,
    ServerShutdown,
    TusError,
    UploadExists,
    UploadInterrupted,
    UploadRejected,
)
from tusd_py.models.hook import Moment
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol import rules
from tusd_py.protocol.creation_key import digest_of
from tusd_py.protocol.intents import Append, Create

SMALL_BODY = 64 * 1024
"""Bytes up to which a body is kept in memory until all of it is there."""

_NO_LIMIT = nullcontext()
_CUT = (ConnectionReset, ReadTimeout, ServerShutdown, UploadInterrupted)


async def create(ctx: Context, intent: Create, body: Body, limits: Limits, caller: Caller) -> UploadInfo:
    """Make an upload and return it. When it returns, the upload survives what the durability level says.

    A `pre-create` hook may refuse it (`UploadRejected`) before a byte is read, or give it another id, other metadata
    and a place of its own.

    An upload whose first bytes were refused is removed again, because its client never learns its URL (CWU-04);
    one whose connection was cut stays and expires (CWU-10). Run it to its end: cancelling may leave an upload
    that nobody knows, which expires.

    With a key that has made an upload before, that one is returned: no hook is asked, and the body is not read.
    Raises also as `find_created`.
    """
    if ctx.draining:
        raise ServerShutdown
    if intent.key is None:
        return await _create(ctx, intent, body, limits, caller=caller)
    async with claiming(ctx, intent.key) as claim:
        earlier = await find_created(ctx, intent)
        return earlier or await _create(ctx, intent, body, limits, caller=caller, claim=claim)


async def _create(
    ctx: Context, intent: Create, body: Body, limits: Limits, *, caller: Caller, claim: Lock | None = None
) -> UploadInfo:
    rules.check_create(intent, limits)
    upload = new_upload(ctx, intent, limits)
    if intent.kind is UploadKind.FINAL:
        upload = replace(upload, length=await check(ctx, intent, limits))
    reply = await ask(ctx, Moment.PRE_CREATE, upload, caller, UploadRejected)
    upload = as_wished(upload, reply, limits)
    try:
        # Before anything is read or held: whoever fills an upload of this name is not to notice.
        if reply.upload_id is not None and await ctx.info.get(upload.id) is not None:
            raise UploadExists
        return await _make(ctx, upload, intent, body, limits, caller=caller, claim=claim)
    except UploadExists as error:
        # Its key may be, if somebody else took the claim for free.
        if (earlier := await find_created(ctx, intent)) is not None:
            return earlier
        raise impossible(upload, "its id or its path is taken") from error


async def _make(
    ctx: Context,
    upload: UploadInfo,
    intent: Create,
    body: Body,
    limits: Limits,
    *,
    caller: Caller,
    claim: Lock | None,
) -> UploadInfo:
    if intent.kind is UploadKind.FINAL:
        return await assemble(ctx, upload, intent, limits, caller)
    # Its id may be one that its client knows already.
    async with Writing(ctx, upload.id, body, take_over=False):
        # While the body of a small one arrives nobody would find it.
        in_one_go = _is_small(intent) and (claim is None or body.is_over())
        if in_one_go and not rules.has_usage_limits(limits):
            return await _with_its_bytes(ctx, upload, intent, body, caller)
        complete = not intent.has_body and rules.is_complete(intent.completion, 0, intent.length)
        upload = await _begin(ctx, upload, caller, complete=complete, admission=_admitted(ctx, intent, limits))
        if not intent.has_body:
            return upload
        if claim is not None:
            await claim.release()
        try:
            return await _first_bytes(ctx, upload, intent, body, limits, caller=caller)
        except _CUT:
            raise
        except TusError as error:
            upload = error.upload or upload
            await remove(ctx, upload, owed(ctx, Moment.POST_TERMINATE, upload, caller))
            raise


def _is_small(intent: Create) -> bool:
    """Whether the body is one that is read before anything is made: data and row are then made with it, in one go."""
    return intent.has_body and intent.checksum is None and (intent.body_length or SMALL_BODY + 1) <= SMALL_BODY


async def _with_its_bytes(ctx: Context, upload: UploadInfo, intent: Create, body: Body, caller: Caller) -> UploadInfo:
    buffers: list[Buffer] = []
    ended: TusError | None = None
    try:
        while more := await body.receive():
            buffers += map(bytes, more)  # a view is good for one turn
    except _CUT as error:
        ended = error
    size = sum(map(len, buffers))
    ctx.received["read"] += size
    complete = ended is None and rules.is_complete(intent.completion, size, intent.length)
    upload = await _begin(ctx, replace(upload, offset=size), caller, buffers, complete=complete)
    if ended is not None:
        ended.upload = upload
        raise ended
    return upload


async def _begin(
    ctx: Context,
    upload: UploadInfo,
    caller: Caller,
    buffers: Sequence[Buffer] = (),
    *,
    complete: bool,
    admission: AbstractAsyncContextManager[None] = _NO_LIMIT,
) -> UploadInfo:
    """Make an upload that has some, or all, of its bytes; return it as it is stored. Its lock is held.

    One that is complete and refused by a hook is removed again, and nobody is told of it: its client never learns
    its URL.
    """
    durability = ctx.policy.durability
    durable = durability.syncs_finish if complete else durability.syncs_progress
    if durable:
        upload = replace(upload, synced_offset=upload.offset)
    asks = complete and ctx.hooks.heeds(Moment.PRE_FINISH)
    if complete:
        upload = replace(upload, state=UploadState.FINISHING, length=upload.offset)
        upload = upload if asks else _finished(upload, ctx.clock.now())
    jobs = owed(ctx, Moment.POST_FINISH, upload, caller) if upload.is_finished else ()
    with announcing(ctx, Moment.POST_CREATE, upload, caller):
        async with admission:
            await begin(ctx, upload, durable=durable, jobs=jobs, buffers=buffers)
        if asks:
            upload = await _agreed(ctx, upload, caller)
    if jobs:
        ctx.jobs.wake()
    return upload


async def _agreed(ctx: Context, upload: UploadInfo, caller: Caller) -> UploadInfo:
    writer = Writer(ctx, upload, Limits(), caller)
    try:
        return await writer.finish()
    except BaseException:
        await remove(ctx, upload)
        raise
    finally:
        await writer.close()


@asynccontextmanager
async def _admitted(ctx: Context, intent: Create, limits: Limits) -> AsyncIterator[None]:
    """Make sure that there is room for one more unfinished upload, and that nobody else takes it meanwhile."""
    if not rules.has_usage_limits(limits):
        yield
        return
    async with ctx.admission:
        rules.check_usage(await ctx.info.usage(), limits, uploads=1, announced=intent.length or 0)
        yield


async def _first_bytes(
    ctx: Context, upload: UploadInfo, intent: Create, body: Body, limits: Limits, *, caller: Caller
) -> UploadInfo:
    first = Append(
        upload_id=upload.id,
        offset=0,
        checksum=intent.checksum,
        has_body=True,
        body_length=intent.body_length,
        completion=intent.completion,
    )
    # What is removed again must not have been finished: its jobs would run (CWU-04).
    return await extend(ctx, upload, first, body, limits, caller=caller, leaves_bytes=_CUT)


def new_upload(ctx: Context, intent: Create, limits: Limits) -> UploadInfo:
    """Return the record of a new upload under a new unguessable id (128 random bits)."""
    now = ctx.clock.now()
    expires = None if limits.expire_after is None else now + limits.expire_after
    return UploadInfo(
        id=secrets.token_hex(16),
        kind=intent.kind,
        length=intent.length,
        metadata=intent.metadata,
        concat=intent.concat,
        parts=intent.parts,
        created_at=now,
        expires_at=expires,
        creation_key=intent.key,
        creation_digest=None if intent.key is None else digest_of(intent),
    )


def _finished(upload: UploadInfo, now: float) -> UploadInfo:
    # A finished partial is still a piece of an unfinished file, so it keeps its expiry (EXP-09).
    expires = upload.expires_at if upload.kind is UploadKind.PARTIAL else None
    return replace(upload, state=UploadState.FINISHED, finished_at=now, expires_at=expires)
