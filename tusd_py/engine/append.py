"""PATCH: what a body does to an upload, from the checks to the commit."""

from __future__ import annotations

import logging

from tusd_py.abc import Body
from tusd_py.engine.context import Context
from tusd_py.engine.existence import remove
from tusd_py.engine.finishing import finish_later
from tusd_py.engine.journal import admit
from tusd_py.engine.locking import Writing
from tusd_py.engine.moments import Caller, owed
from tusd_py.engine.receive import receive
from tusd_py.engine.replay import check_written
from tusd_py.engine.settle import take_back
from tusd_py.engine.writer import Writer
from tusd_py.errors import ChecksumMismatch, DataLost, InsufficientStorage, StoreError, TusError, UploadStopped
from tusd_py.models.hook import Moment
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, UploadState, short
from tusd_py.protocol import checksum, rules
from tusd_py.protocol.intents import Append, Completion

log = logging.getLogger(__name__)


async def append(ctx: Context, intent: Append, body: Body, limits: Limits, caller: Caller) -> UploadInfo:
    """Add a body to an upload and return the upload as it stands afterwards.

    Every byte counted in the returned offset is stored as the durability level says. Whatever ends the body early,
    what had arrived is kept, unless a checksum was announced for it. Raises the `TusError` of the first rule that
    fails, carrying the upload as it stands. Run it to its end: cancelling keeps what the last checkpoint committed.

    An upload whose end a hook could not be asked about, or could not be stored then, is finished behind the request.
    One that a hook stopped is removed when this raises `UploadStopped`.
    """
    async with Writing(ctx, intent.upload_id, body):
        upload = rules.check_visible(await ctx.info.get(intent.upload_id), ctx.clock.now())
        try:
            return await extend(ctx, upload, intent, body, limits, caller=caller)
        except UploadStopped as stopped:
            upload = stopped.upload or upload
            await remove(ctx, upload, owed(ctx, Moment.POST_TERMINATE, upload, caller))
            raise
        except TusError as error:
            if error.upload is not None and error.upload.state is UploadState.FINISHING:
                finish_later(ctx, error.upload.id, caller)
            raise


async def extend(
    ctx: Context,
    upload: UploadInfo,
    intent: Append,
    body: Body,
    limits: Limits,
    *,
    caller: Caller,
    leaves_bytes: tuple[type[TusError], ...] = (TusError,),
) -> UploadInfo:
    """Read a body into a visible upload whose lock is held. As `append`, but only such ends leave bytes."""
    if upload.id in ctx.doubts.uploads:
        upload = await take_back(ctx, upload)
    await check_written(ctx, upload.id)
    plan = rules.plan_append(upload, intent, limits)
    if plan.length is not None and upload.length is None and rules.has_usage_limits(limits):
        # A length that was deferred is announced only now.
        rules.check_usage(await ctx.info.usage(), limits, uploads=0, announced=plan.length)
    writer = Writer(ctx, upload, limits, caller, keeps=admit(ctx, intent.body_length))
    try:
        ended = await _take(writer, plan, intent, body)
        # Of one that was stopped nothing is kept, and it must not be finished on the way.
        if isinstance(ended, UploadStopped) or (ended is not None and not isinstance(ended, leaves_bytes)):
            raise ended
        await _commit(writer, plan, intent, ended)
        if ended is not None:
            raise ended
        return writer.upload
    except TusError as error:
        if isinstance(error, InsufficientStorage):
            await _give_back(ctx, writer)
        elif isinstance(error, DataLost):
            log.error("data is lost: %s", error, extra={"action": "data_lost", "upload_id": short(upload.id)})  # noqa: TRY400 - where it was noticed says nothing
        error.upload = writer.upload
        raise
    except OSError as error:
        log.exception("storing bytes failed", extra={"action": "store_failed", "upload_id": short(upload.id)})
        failure = StoreError("The server could not store the bytes")
        failure.upload = writer.upload
        raise failure from error
    finally:
        await writer.close()


async def _take(writer: Writer, plan: rules.AppendPlan, intent: Append, body: Body) -> TusError | None:
    """Write a body and return what ended it early. Raises `TusError` when bytes with a checksum must not stay."""
    digest = checksum.new_digest(intent.checksum.algorithm) if intent.checksum else None
    ended = await receive(writer, plan, body, digest) if intent.has_body else None
    if intent.checksum is None or digest is None:
        return ended
    if ended is None and not checksum.matches(intent.checksum, digest.digest()):
        ended = ChecksumMismatch()
    if ended is not None:
        # An unverified byte is no byte: "the chunk MUST be discarded" (tus 1.0.0, Checksum).
        await writer.discard()
        raise ended
    return None


async def _commit(writer: Writer, plan: rules.AppendPlan, intent: Append, ended: TusError | None) -> None:
    """Make the bytes count, and finish the upload if it has them all."""
    complete = rules.is_complete(_completion(intent, ended), writer.position, plan.length)
    try:
        if complete and not writer.upload.is_finished:
            await writer.finish()
        else:
            await writer.commit(plan.length)
    except InsufficientStorage:
        if not isinstance(ended, InsufficientStorage):
            raise
        # The bytes took all the space there was; the row that counts them needs some, too.
        await writer.make_room()
        await writer.commit(plan.length)


async def _give_back(ctx: Context, writer: Writer) -> None:
    """Remove what was stored and does not count: the row that counts it may not have fitted (CORE-BODY-20)."""
    current = await ctx.info.get(writer.upload.id)
    if current is not None and current.offset == writer.upload.offset:
        await writer.discard()


def _completion(intent: Append, ended: TusError | None) -> Completion:
    if ended is not None and intent.completion is Completion.NOW:
        # A body that was cut must not be mistaken for a complete one (IETF draft, Upload-Complete).
        return Completion.LATER
    return intent.completion
