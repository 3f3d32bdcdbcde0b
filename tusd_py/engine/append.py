"""PATCH: read a body into an upload. The one way the bytes go."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tusd_py.abc import Body, Digest
from tusd_py.engine.context import Context
from tusd_py.engine.locking import writing
from tusd_py.engine.writer import Writer
from tusd_py.errors import ChecksumMismatch, InsufficientStorage, StoreError, TusError
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, short
from tusd_py.protocol import checksum, rules
from tusd_py.protocol.intents import Append, Completion

log = logging.getLogger(__name__)


async def append(ctx: Context, intent: Append, body: Body, limits: Limits) -> UploadInfo:
    """Add a body to an upload and return the upload as it stands afterwards.

    Every byte counted in the returned offset is stored as the durability level says. Whatever ends the body early,
    what had arrived is kept, unless a checksum was announced for it. Raises the `TusError` of the first rule that
    fails, carrying the upload as it stands. Run it to its end: cancelling keeps what the last checkpoint committed.
    """
    async with writing(ctx, intent.upload_id, body):
        upload = rules.check_visible(await ctx.info.get(intent.upload_id), ctx.clock.now())
        return await receive(ctx, upload, intent, body, limits)


async def receive(
    ctx: Context,
    upload: UploadInfo,
    intent: Append,
    body: Body,
    limits: Limits,
    *,
    kept: tuple[type[TusError], ...] = (TusError,),
) -> UploadInfo:
    """Read a body into a visible upload whose lock is held. As `append`; `kept` are the ends that leave bytes."""
    plan = rules.plan_append(upload, intent, limits)
    if plan.length is not None and upload.length is None and rules.has_usage_limits(limits):
        # A length that was deferred is announced only now.
        rules.check_usage(await ctx.info.usage(), limits, uploads=0, announced=plan.length)
    writer = Writer(ctx, upload, limits)
    digest = checksum.new_digest(intent.checksum.algorithm) if intent.checksum else None
    try:
        ended = await _read(writer, plan, body, digest) if intent.has_body else None
        if intent.checksum and digest:
            if ended is None and not checksum.matches(intent.checksum, digest.digest()):
                ended = ChecksumMismatch()
            if ended is not None:
                # An unverified byte is no byte: "the chunk MUST be discarded" (tus 1.0.0, Checksum).
                await writer.discard()
                raise ended
        if ended is not None and not isinstance(ended, kept):
            raise ended
        finish = not upload.is_finished and rules.is_complete(_completion(intent, ended), writer.position, plan.length)
        await writer.commit(plan.length, finish=finish)
        if ended is not None:
            raise ended
        return writer.upload
    except TusError as error:
        if isinstance(error, InsufficientStorage):
            await _give_back(ctx, writer)
        error.upload = writer.upload
        raise
    except OSError as error:
        log.exception("storing bytes failed", extra={"action": "store_failed", "upload_id": short(upload.id)})
        failure = StoreError("The server could not store the bytes")
        failure.upload = writer.upload
        raise failure from error
    finally:
        await writer.close()


async def _give_back(ctx: Context, writer: Writer) -> None:
    """Remove what was stored and does not count: the row that counts it may not have fitted (CORE-BODY-20)."""
    current = await ctx.info.get(writer.upload.id)
    if current is not None and current.offset == writer.upload.offset:
        await writer.discard()


async def _read(writer: Writer, plan: rules.AppendPlan, body: Body, digest: Digest | None) -> TusError | None:
    """Write a body until it ends; return what ended it early, or None."""
    try:
        while buffers := await body.receive():
            buffers, overflows = _fit(buffers, writer, plan.cap)
            if buffers:
                await writer.write(buffers, digest)
            if overflows:
                return plan.overflow()
            # Bytes that still have to be verified must not be committed.
            if digest is None and writer.is_due():
                full = rules.is_complete(Completion.WHEN_FULL, writer.position, plan.length)
                if not full:
                    await writer.commit(plan.length)
    except TusError as error:
        return error
    return None


def _fit(buffers: Sequence[bytes], writer: Writer, cap: int | None) -> tuple[Sequence[bytes], bool]:
    """Cut buffers at the most bytes that the upload may still take; say whether something was cut off."""
    if cap is None:
        return buffers, False
    room = cap - (writer.position - writer.started_at)
    size = sum(map(len, buffers))
    if size <= room:
        return buffers, False
    kept = []
    for buffer in buffers:
        if room <= 0:
            break
        kept.append(buffer[:room])
        room -= len(buffer)
    return kept, True


def _completion(intent: Append, ended: TusError | None) -> Completion:
    if ended is not None and intent.completion is Completion.NOW:
        # A body that was cut must not be mistaken for a complete one (IETF draft, Upload-Complete).
        return Completion.LATER
    return intent.completion
