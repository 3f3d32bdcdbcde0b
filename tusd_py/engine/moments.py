"""When the engine asks the application, and when it tells it something.

What blocks is asked before anything is changed, and can refuse. What is told is a fact: durable ones are rows that
commit with it, the others have a place in the order of their upload.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from tusd_py.engine.context import Context
from tusd_py.errors import HookFailed, HookRefusal, InvalidMetadata
from tusd_py.models.hook import NOTHING, HookEvent, HookReply, Moment, RequestInfo
from tusd_py.models.job import Job
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, short
from tusd_py.protocol.metadata import check_metadata, format_metadata

log = logging.getLogger(__name__)


class Caller:
    """Whom a verb works for: the request as hooks are told it, and what they want to be added to its answer."""

    __slots__ = ("reply", "request")

    def __init__(self, request: RequestInfo | None = None) -> None:
        self.request = request or RequestInfo()
        self.reply = NOTHING
        """Status, body and headers for the answer to a request that succeeds."""


async def ask(
    ctx: Context, moment: Moment, upload: UploadInfo, caller: Caller, refusal: type[HookRefusal]
) -> HookReply:
    """Put a `pre-` event to whoever wants it. Raises `HookFailed`, and `refusal` when somebody says no."""
    if not ctx.hooks.heeds(moment):
        return NOTHING
    reply = await ctx.hooks.ask(_event(ctx, moment, upload, caller))
    if reply.is_refusal:
        raise refusal(reply=reply)
    # The last one that has something to say to the client says it: `pre-finish` after `pre-create`.
    if reply.status is not None or reply.body is not None or reply.headers:
        caller.reply = reply
    return reply


def as_wished(upload: UploadInfo, reply: HookReply, limits: Limits) -> UploadInfo:
    """Return a new upload as a `pre-create` hook wants it. Raises `HookFailed` when it cannot be so."""
    if reply.upload_id is not None:
        upload = replace(upload, id=reply.upload_id)
    if reply.path is not None:
        upload = replace(upload, path=reply.path)
    if reply.metadata is not None:
        try:
            header = format_metadata(reply.metadata)
            check_metadata(header, strict=True, max_size=limits.max_metadata_size)
        except InvalidMetadata as error:
            raise impossible(upload, f"its metadata cannot be used: {error.message}") from error
        upload = replace(upload, metadata=header)
    return upload


def impossible(upload: UploadInfo, why: str) -> HookFailed:
    """Return the error for an upload that cannot be as a hook wants it; why is for the log, not for the client."""
    where = {"action": "hook_failed", "moment": Moment.PRE_CREATE, "upload_id": short(upload.id)}
    log.warning("what a hook wants cannot be done: %s", why, extra=where)
    return HookFailed()


@contextmanager
def announcing(ctx: Context, moment: Moment, upload: UploadInfo, caller: Caller) -> Iterator[None]:
    """Tell an event when the block, which makes it a fact, succeeds; nothing that comes later is told before."""
    if not ctx.hooks.heeds(moment):
        yield
        return
    place = ctx.hooks.announce(_event(ctx, moment, upload, caller))
    try:
        yield
    except BaseException:
        place.withdraw()
        raise
    place.confirm()


def tell(ctx: Context, moment: Moment, upload: UploadInfo, caller: Caller) -> None:
    """Tell a fact."""
    if ctx.hooks.heeds(moment):
        ctx.hooks.announce(_event(ctx, moment, upload, caller)).confirm()


def owed(ctx: Context, moment: Moment, upload: UploadInfo, caller: Caller) -> Sequence[Job]:
    """Return the jobs that are to be stored together with a fact."""
    return ctx.jobs.owed(_event(ctx, moment, upload, caller)) if ctx.jobs.heeds(moment) else ()


def _event(ctx: Context, moment: Moment, upload: UploadInfo, caller: Caller) -> HookEvent:
    # Whoever has the key gets the URL from us.
    told = upload if upload.creation_key is None else replace(upload, creation_key=None)
    return HookEvent(moment=moment, upload=told, request=caller.request, at=ctx.clock.now())
