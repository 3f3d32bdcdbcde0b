"""The engine as its callers see it: start, verbs, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from tusd_py.abc import Body, Clock, DataReader, DataStore, Hooks, InfoStore, JobStore, Locker, OwedJobs
from tusd_py.engine import append, create, expire, finishing, journal, read, replay, settle, terminate
from tusd_py.engine.context import Context, NoHooks, NoJobs, Policy
from tusd_py.engine.moments import Caller
from tusd_py.errors import ServerShutdown, StartupError, StoreError
from tusd_py.models.hook import HookReply, Moment
from tusd_py.models.job import Job
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol.intents import Append, Create

log = logging.getLogger(__name__)

T = TypeVar("T")

_MOMENTS = tuple(Moment)


class SystemClock(Clock):
    """The operating system's time."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class Engine:
    """Uploads, whatever the wire language: one engine may serve several mounts with different limits.

    Changing verbs of a `shielded` engine run as tasks of its own: a request that is cancelled does not stop one
    half-way. Each raises `TusError` kin, and nothing else that is expected.
    """

    def __init__(
        self,
        *,
        data: DataStore,
        info: InfoStore,
        locker: Locker,
        policy: Policy | None = None,
        clock: Clock | None = None,
        sweep_interval: float = 60.0,
        shielded: bool = True,
        hooks: Hooks | None = None,
        jobs: OwedJobs | None = None,
        job_store: JobStore | None = None,
    ) -> None:
        self._ctx = Context(
            data=data,
            info=info,
            locker=locker,
            clock=clock or SystemClock(),
            policy=policy or Policy(),
            hooks=hooks or NoHooks(),
            jobs=jobs or NoJobs(),
            job_store=job_store,
        )
        self._sweep_interval = sweep_interval
        self._shielded = shielded
        self._running: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._finisher: asyncio.Task[None] | None = None
        self._emptier: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def policy(self) -> Policy:
        """How careful and patient this engine is."""
        return self._ctx.policy

    @property
    def received(self) -> dict[str, int]:
        """Bytes of bodies stored since the start, by the way they came: `moved` by the data plane, `read` in Python."""
        return {"moved": 0, "read": 0, **self._ctx.received}

    async def start(self) -> None:
        """Open the stores, finish what a crash left, begin to sweep. Raises `StartupError`; destroys nothing."""
        ctx = self._ctx
        ctx.draining = False
        try:
            # First, because it looks for data that is not there any more; the data store would make its place anew.
            await ctx.info.open()
            await ctx.data.open()
            await journal.begin(ctx)
            done = await expire.recover(ctx)
            await finishing.remember(ctx)
            if ctx.policy.durability.syncs_progress:
                # What an earlier life acknowledged at a weaker level is promised from now on.
                await settle.settle(ctx)
        except BaseException as error:
            await ctx.data.close()
            await ctx.info.close()
            if isinstance(error, (StoreError, OSError)):
                raise StartupError(f"The data directory cannot be used: {error}") from error
            raise
        if done:
            log.info("finished %d interrupted removals", done, extra={"action": "recovered"})
        sweeper = expire.Sweeper(ctx, self._sweep_interval)
        self._sweeper = asyncio.create_task(sweeper.run(), name="tusd-py sweeper")
        self._finisher = asyncio.create_task(finishing.Finisher(ctx).run(), name="tusd-py finisher")
        self._emptier = asyncio.create_task(journal.Emptier(ctx).run(), name="tusd-py journal")

    def drain(self) -> None:
        """Stop reading bodies: running ones keep what arrived and answer 503, new ones are refused.

        What still runs after the shutdown timeout, such as a long concatenation, is ended then.
        """
        if not self._ctx.draining:
            self._ctx.draining = True
            timeout = self._ctx.policy.shutdown_timeout
            self._deadline = asyncio.get_running_loop().call_later(timeout, self._end_running)
        for body in list(self._ctx.receiving.values()):
            body.interrupt(ServerShutdown())

    async def stop(self) -> None:
        """Drain, wait for what is running, close the stores.

        At the weaker levels what is not synced yet is synced first, as far as the shutdown timeout goes. On a disk that
        is still syncing then, the data store stays open: its threads would wait for the disk.
        """
        self.drain()
        for task in (self._sweeper, self._finisher, self._emptier):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self._sweeper = self._finisher = self._emptier = None
        if self._running:
            await asyncio.wait(set(self._running))
        synced = await self._settle()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        await self._ctx.info.close()
        if synced:
            await self._ctx.data.close()
        received = self.received
        log.info(
            "received %d bytes through the data plane and %d past it",
            received["moved"],
            received["read"],
            extra={"action": "stopped", **received},
        )

    async def _settle(self) -> bool:
        """Sync what was not yet, in the time that is left; return whether the disk has nothing more to do."""
        # Without one it was stopped before.
        until = self._deadline.when() if self._deadline is not None else asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(until):
                await settle.settle(self._ctx)
                await journal.empty(self._ctx)
        except TimeoutError:
            log.warning(
                "the disk is slow: leaving before everything is synced, a power cut may take back the rest",
                extra={"action": "settle_failed"},
            )
        except (StoreError, OSError):
            log.exception("syncing at the end failed", extra={"action": "settle_failed"})
        return self._ctx.syncing is None or self._ctx.syncing.done()

    @property
    def tells(self) -> bool:
        """Whether anybody is told of the requests behind what happens: then a `Caller` should know its own."""
        hooks, jobs = self._ctx.hooks, self._ctx.jobs
        return any(map(hooks.heeds, _MOMENTS)) or any(map(jobs.heeds, _MOMENTS))

    async def create(self, intent: Create, body: Body, limits: Limits, caller: Caller | None = None) -> UploadInfo:
        """Make a new upload; see `tusd_py.engine.create`."""
        return await self._run(create.create(self._ctx, intent, body, limits, caller or Caller()))

    async def append(self, intent: Append, body: Body, limits: Limits, caller: Caller | None = None) -> UploadInfo:
        """Add bytes to an upload; see `tusd_py.engine.append`."""
        return await self._run(append.append(self._ctx, intent, body, limits, caller or Caller()))

    async def terminate(self, upload_id: str, caller: Caller | None = None) -> None:
        """Remove an upload; see `tusd_py.engine.terminate`."""
        await self._run(terminate.terminate(self._ctx, upload_id, caller or Caller()))

    async def stop_upload(self, upload_id: str, reply: HookReply) -> None:
        """Remove an upload that a hook wants to be stopped; see `tusd_py.engine.terminate.stop`."""
        await self._run(terminate.stop(self._ctx, upload_id, reply, Caller()))

    async def describe(self, upload_id: str) -> tuple[UploadInfo, list[Job]]:
        """Return an upload and what became of its jobs; see `tusd_py.engine.read.describe`."""
        return await read.describe(self._ctx, upload_id)

    async def inspect(self, upload_id: str) -> UploadInfo:
        """Return an upload; see `tusd_py.engine.read.inspect`."""
        return await read.inspect(self._ctx, upload_id)

    async def open_download(self, upload_id: str) -> tuple[UploadInfo, DataReader]:
        """Open a finished upload for reading; see `tusd_py.engine.read.open_download`."""
        return await read.open_download(self._ctx, upload_id)

    async def check_written(self, upload_id: str) -> None:
        """Raise `DataLost` when only the journal has bytes of an upload; see `tusd_py.engine.replay.check_written`."""
        await replay.check_written(self._ctx, upload_id)

    async def exists(self, upload_id: str) -> bool:
        """Return whether an upload is known, in whatever state."""
        return await self._ctx.info.get(upload_id) is not None

    async def _run(self, verb: Coroutine[Any, Any, T]) -> T:
        if not self._shielded and (task := asyncio.current_task()) is not None:
            self._running.add(task)
            try:
                return await verb
            finally:
                self._running.discard(task)
        task = asyncio.create_task(verb)
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _end_running(self) -> None:
        for task in self._running:
            task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Whoever asked may be gone; an error nobody waits for is not worth a warning.
            task.exception()
