"""One writer of one upload: bytes before offset, offset before answer (reliability 3.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from tusd_py.abc import Buffer, Data, Digest, Rest, Transfer
from tusd_py.engine.context import Context
from tusd_py.engine.moments import Caller, ask, owed, tell
from tusd_py.engine.settle import take_back
from tusd_py.errors import DataLost, InsufficientStorage, StaleWriter, StoreError, TusError, UploadRejected
from tusd_py.models.hook import Moment
from tusd_py.models.limits import Limits
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState

log = logging.getLogger(__name__)

LONGEST_REJECTION = 1000
"""Characters of a refusal that are kept for later requests."""
ROOM_FOR_A_COMMIT = 256 * 1024
"""Bytes that the row which counts the others may need on a disk that is full."""


class Writer:
    """Moves one upload forward while its lock is held.

    `position` is where the next byte goes; `upload` is the upload as committed. Everything between the two is
    garbage by definition until `commit` has returned: a crash, an error or a failed check simply leaves it there.
    """

    def __init__(
        self, ctx: Context, upload: UploadInfo, limits: Limits, caller: Caller, *, keeps: bool = False
    ) -> None:
        """Begin at the offset of an upload; with `keeps` the bytes are few, and for the journal."""
        self.upload = upload
        self.position = upload.offset
        self.started_at = upload.offset
        self._ctx = ctx
        self._limits = limits
        self._caller = caller
        self._fence = upload.epoch + 1
        self._data: Data | None = None
        self._committed_at = ctx.clock.monotonic()
        self._synced = upload.synced_offset
        self._kept: list[bytes] | None = None
        """What was written since the last commit, for the journal; None = it is synced instead."""
        if keeps and upload.synced_offset == upload.offset:
            self._kept = []
        self._failures = ctx.doubts.failures
        self._checkpoint: asyncio.Task[UploadInfo] | None = None
        # Progress is told when it is committed.
        self._interval = ctx.policy.checkpoint_interval
        if ctx.hooks.heeds(Moment.POST_RECEIVE):
            self._interval = min(self._interval, ctx.policy.progress_interval)

    @property
    def can_transfer(self) -> bool:
        """Whether a body can be given to the store as a socket."""
        return self._ctx.data.can_transfer

    async def write(self, buffers: Sequence[Buffer], digest: Digest | None = None, *, last: bool = False) -> None:
        """Store buffers behind each other. After `InsufficientStorage` the part that fitted counts as written.

        The `last` ones before a commit are synced on the way, where the commit would do it; the data is closed then,
        and opened again when it is needed after all. Raises also what made a checkpoint fail.
        """
        await self._checkpointed(wait=False)
        data = await self._open()
        if self._kept is not None:
            self._kept += map(bytes, buffers)  # a view is good for one turn
        sync = last and self._ctx.policy.durability.syncs_progress and self._kept is None
        start = self.position
        try:
            await data.write(start, buffers, digest, sync=sync, last=last)
        except InsufficientStorage as error:
            self._kept = None
            self._ctx.received["read"] += error.written
            self.position = start + error.written
            if sync and not error.written:
                # If it was the sync that found no room, everything since the last one may be lost (I9).
                self.position = self.upload.offset
                await self._take_back()
            raise
        except OSError:
            if sync:
                await self._take_back()
            raise
        size = sum(map(len, buffers))
        self._ctx.received["read"] += size
        await self._checkpointed(wait=False)
        self.position = start + size
        if sync:
            self._synced = self.position

    async def transfer(self, rest: Rest, *, last: bool) -> Transfer:
        """Let the store move the rest of a body to `position`; the caller tells by `moved` how far it got.

        Behind the `last` one nothing but the commit needs the data.
        """
        self._kept = None
        last = last and not self._ctx.policy.durability.syncs_progress
        return (await self._open()).transfer(self.position, rest, last=last)

    def moved(self, position: int) -> None:
        """Go to where a transfer is by now."""
        self._ctx.received["moved"] += position - self.position
        self.position = position

    async def verify(self, position: int, digest: Digest) -> None:
        """Feed what a transfer wrote up to `position` to a digest, and move there."""
        if position > self.position:
            await (await self._open()).hash(self.position, position, digest)
            self.moved(position)

    async def copy(self, source: UploadInfo, length: int) -> None:
        """Store the first `length` bytes of a finished upload next. Raises `DataLost`, `InsufficientStorage`."""
        data = await self._open()
        await data.copy(self.position, source.key, length)
        self.position += length

    @property
    def due_at(self) -> int:
        """The position from which on a checkpoint is due."""
        return self.upload.offset + self._ctx.policy.checkpoint_bytes

    @property
    def due_in(self) -> float:
        """The seconds after which to look again whether one is."""
        interval = self._interval
        left = self._committed_at + interval - self._ctx.clock.monotonic()
        return left if left > 0 else interval

    def is_due(self) -> bool:
        """Whether enough bytes or seconds have passed since the last commit for a checkpoint, and none is running."""
        if self._checkpoint is not None:
            return False
        return self.position >= self.due_at or (
            self.position > self.upload.offset and self._ctx.clock.monotonic() - self._committed_at >= self._interval
        )

    def checkpoint(self, length: int | None) -> None:
        """Begin to commit what is written so far; more may be written meanwhile."""
        self._checkpoint = asyncio.create_task(self._commit(length))

    async def commit(self, length: int | None) -> UploadInfo:
        """Make everything written so far count.

        `length` is the declared total from now on. Returns the upload as committed. At level `patch` everything
        it returns survives a power cut.

        Raises:
            StaleWriter: somebody else changed the upload; nothing was changed by us.
            InsufficientStorage: the commit did not fit; nothing was changed.
            DataLost: the data is shorter than what was written; nothing was changed.
            StoreError, OSError: it failed. When it was the syncing, the bytes since the last sync may be lost, although
                the next sync would succeed: the committed offset has gone back to what was synced before, and the
                client sends them again (I9; at level `patch` nothing that was acknowledged goes back).

        Raises also what made a checkpoint fail.
        """
        await self._checkpointed(wait=True)
        return await self._commit(length)

    async def finish(self) -> UploadInfo:
        """Make everything written so far count, and be all there is: finish the upload, with the jobs that it owes.

        At the levels `finish` and `patch` it survives a power cut. Where a hook has to agree, the upload is `finishing`
        until it has: that is stored first, and stays so when this fails.

        Raises what `commit` raises, and:
            HookFailed: nobody could be asked; the upload is `finishing`.
            UploadRejected: somebody refused; the upload is `rejected`, or still `assembling`.
        """
        await self._checkpointed(wait=True)
        durable = self._ctx.policy.durability.syncs_finish
        kept = self._take_kept(self.position, durable=durable)
        await self._settle(self.position, durable=durable and not kept, finish=True)
        self._check_doubts()
        if self._ctx.hooks.heeds(Moment.PRE_FINISH):
            await self._agree(durable=durable, kept=kept)
            kept = b""
        step = self._progress(self.position, durable=durable, state=UploadState.FINISHED)
        finished = step.applied_to(self.upload)
        jobs = owed(self._ctx, Moment.POST_FINISH, finished, self._caller)
        await self._ctx.info.finish(step, durable=durable, jobs=jobs, kept=kept)
        self.upload = finished
        if jobs:
            self._ctx.jobs.wake()
        return finished

    async def _agree(self, *, durable: bool, kept: bytes) -> None:
        """Ask whether the upload may be finished, after it was stored that it has every byte."""
        if self.upload.is_open:
            step = self._progress(self.position, durable=durable, state=UploadState.FINISHING)
            await self._ctx.info.advance(step, durable=durable, kept=kept)
            self.upload = step.applied_to(self.upload)
        whole = replace(self.upload, offset=self.position, length=self.position)
        try:
            await ask(self._ctx, Moment.PRE_FINISH, whole, self._caller, UploadRejected)
        except UploadRejected as refusal:
            if self.upload.state is UploadState.FINISHING:
                step = self._progress(self.position, durable=durable, state=UploadState.REJECTED)
                step = replace(step, rejection=(refusal.reply.body or refusal.message)[:LONGEST_REJECTION])
                await self._ctx.info.finish(step, durable=durable)
                self.upload = step.applied_to(self.upload)
            raise

    async def _commit(self, length: int | None) -> UploadInfo:
        upload, position = self.upload, self.position
        if position == upload.offset and length == upload.length:
            return upload
        durable = self._ctx.policy.durability.syncs_progress
        kept = self._take_kept(position, durable=durable)
        await self._settle(position, durable=durable and not kept, finish=False)
        self._check_doubts()
        progress = self._progress(position, durable=durable, state=upload.state, length=length)
        await self._ctx.info.advance(progress, durable=durable, kept=kept)
        self.upload = progress.applied_to(upload)
        self._committed_at = self._ctx.clock.monotonic()
        if position > upload.offset and length != position:
            tell(self._ctx, Moment.POST_RECEIVE, self.upload, self._caller)
        return self.upload

    def _take_kept(self, position: int, *, durable: bool) -> bytes:
        """Return what the journal shall have with the commit of a position; nothing = it is to be synced."""
        if self._kept is None:
            return b""
        if not durable:
            # From now on there are bytes before the next commit that neither is synced nor the journal has.
            self._kept = None
            return b""
        kept, count = b"".join(self._kept), position - self.upload.offset
        if len(kept) < count:
            # A commit failed that had the rest.
            self._kept = None
            return b""
        self._kept = [kept[count:]]
        return kept[:count]

    def _check_doubts(self) -> None:
        if self._ctx.doubts.everything or self._failures != self._ctx.doubts.failures:
            # Somebody else's sync failed for what was written here, and nobody will hear of it again.
            self.position = self.upload.offset
            raise StoreError("The disk failed; ask for the offset and send again from there")

    async def _checkpointed(self, *, wait: bool) -> None:
        """Note that the checkpoint is done, if it is or is waited for; raise what made it fail."""
        task = self._checkpoint
        if task is not None and (wait or task.done()):
            self._checkpoint = None
            await task

    async def _settle(self, position: int, *, durable: bool, finish: bool) -> None:
        try:
            if finish:
                await (await self._open()).seal(position, durable=durable)
            elif durable and self._synced < position:
                await (await self._open()).sync()
                self._synced = position
        except BaseException as error:
            # The kernel may call the lost pages clean and let the next sync succeed: nothing written since the
            # last sync may ever be acknowledged without being written again (reliability: I9).
            self.position = self.upload.offset
            if durable and isinstance(error, (OSError, StoreError)) and not isinstance(error, DataLost):
                await self._take_back()
            raise

    async def _take_back(self) -> None:
        try:
            self.upload = await take_back(self._ctx, self.upload)
            self.position = self.upload.offset
        except StaleWriter:
            # Somebody else changed the upload; whoever adds to it next takes back what is still to be.
            return
        except (TusError, OSError):
            # Not even that could be stored. A file that is shorter than the row says is taken for lost, also by
            # the next process: better than to have it finished with bytes that nobody has.
            log.exception("taking an offset back failed", extra={"action": "store_failed"})
            if self._data is not None:
                with suppress(TusError, OSError):
                    await self._data.truncate(self._ctx.doubts.uploads[self.upload.id])

    async def make_room(self) -> None:
        """Give a little of what was written since the last commit back to a full disk: the commit needs some."""
        await self._checkpointed(wait=True)
        self.position = max(self.upload.offset, self.position - ROOM_FOR_A_COMMIT)
        if self._data is not None:
            await self._data.truncate(self.position)

    async def discard(self) -> None:
        """Forget what was written since the last commit and give its space back."""
        with suppress(TusError, OSError):
            await self._checkpointed(wait=True)
        if self._data is not None:
            self.position = self.upload.offset
            await self._data.truncate(self.position)

    async def close(self) -> None:
        """Give the data handle back, when no checkpoint needs it any more. Commits nothing more."""
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])
            self._checkpoint.exception()
        if self._data is not None:
            await self._data.close()

    async def _open(self) -> Data:
        if self._data is None:
            # The name of an upload that has got no byte yet need not have survived, at the weaker levels.
            holds = self.upload.offset or None
            journal = self._ctx.info.journal
            lasts = journal is None or not journal.holds(self.upload.id)
            self._data = await self._ctx.data.write_to(self.upload.key, holds=holds, lasts=lasts)
        return self._data

    def _progress(self, position: int, *, durable: bool, state: UploadState, length: int | None = None) -> Progress:
        """Return the step to a position; to a state that is not `open` it is the last one, and tells the length."""
        upload, now = self.upload, self._ctx.clock.now()
        expires_at = upload.expires_at
        if state is UploadState.FINISHED and upload.kind is not UploadKind.PARTIAL:
            expires_at = None
        elif position > upload.offset and self._limits.expire_after is not None:
            expires_at = now + self._limits.expire_after
        return Progress(
            upload_id=upload.id,
            fence=self._fence,
            expected=upload.offset,
            offset=position,
            synced_offset=position if durable else upload.synced_offset,
            length=length if state is UploadState.OPEN else position,
            expires_at=expires_at,
            state=state,
            finished_at=now if state is UploadState.FINISHED else None,
        )
