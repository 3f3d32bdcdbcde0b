"""The bytes of one body on their way into one upload: read here, or moved past us by the store."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tusd_py.abc import Body, Buffer, Digest, Rest
from tusd_py.engine.writer import Writer
from tusd_py.errors import TusError, UploadInterrupted
from tusd_py.protocol import rules
from tusd_py.protocol.intents import Completion

HASH_STEP = 2 * 1024 * 1024
"""Bytes of a transfer that are fed to a digest at a time."""


async def receive(writer: Writer, plan: rules.AppendPlan, body: Body, digest: Digest | None) -> TusError | None:
    """Write a body until it ends; return what ended it early, or None. Raises `OSError` when the store is broken.

    On the way the offset is committed now and then, beside the writing; not while a digest has to verify the bytes.
    """
    try:
        if writer.can_transfer and (rest := await body.detach()) is not None:
            await _transfer(writer, plan, body, rest, digest)
            return None
        return await _read(writer, plan, body, digest)
    except TusError as error:
        return error


async def _read(writer: Writer, plan: rules.AppendPlan, body: Body, digest: Digest | None) -> TusError | None:
    while buffers := await body.receive():
        buffers, overflows = _fit(buffers, writer, plan.cap)
        if buffers:
            await writer.write(buffers, digest, last=body.is_over() and not _is_full(writer, plan, buffers))
        if overflows:
            return plan.overflow()
        if digest is None and writer.is_due() and not _is_full(writer, plan):
            writer.checkpoint(plan.length)
    return None


async def _transfer(writer: Writer, plan: rules.AppendPlan, body: Body, rest: Rest, digest: Digest | None) -> None:
    """Let the store take the rest of a body from its socket, and keep up with it. Raises what ended it early."""
    transfer = await writer.transfer(rest, last=digest is None)
    body.attach(transfer)
    try:
        while not transfer.is_over:
            if digest is not None:
                await transfer.wait(writer.position + HASH_STEP)
                await writer.verify(min(transfer.position, writer.position + HASH_STEP), digest)
            else:
                await transfer.wait(writer.due_at, timeout=writer.due_in)
                writer.moved(transfer.position)
                if writer.is_due() and not _is_full(writer, plan):
                    await writer.commit(plan.length)
    except BaseException:
        transfer.interrupt(UploadInterrupted())
        await transfer.wait(sys.maxsize)
        raise
    if transfer.error is not None:
        writer.moved(transfer.position)
        raise transfer.error
    while digest is not None and writer.position < transfer.position:
        await writer.verify(min(transfer.position, writer.position + HASH_STEP), digest)
    writer.moved(transfer.position)


def _is_full(writer: Writer, plan: rules.AppendPlan, more: Sequence[Buffer] = ()) -> bool:
    """Whether the upload has all its bytes now, or with some more: it is finished then, not just committed."""
    return rules.is_complete(Completion.WHEN_FULL, writer.position + sum(map(len, more)), plan.length)


def _fit(buffers: Sequence[Buffer], writer: Writer, cap: int | None) -> tuple[Sequence[Buffer], bool]:
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
