"""A service: one data directory with everything that works on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar, overload

from tusd_py.abc import HookHandler
from tusd_py.assembly.processing import Owed, condition_of, deliveries_of, handlers_of, tasks_of, wants
from tusd_py.control import ControlSocket
from tusd_py.datadir import DataDir, open_data_dir
from tusd_py.engine.context import Policy
from tusd_py.engine.service import Engine, SystemClock
from tusd_py.errors import StartupError
from tusd_py.hooks.dispatcher import Dispatcher
from tusd_py.hooks.function import FunctionHandler
from tusd_py.hooks.http import HttpTask
from tusd_py.jobs.function import name_of, runs
from tusd_py.jobs.registry import Registry, Task
from tusd_py.jobs.retry import RETRIES
from tusd_py.jobs.worker import Worker
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.condition import Condition
from tusd_py.models.hook import HookReply, Moment
from tusd_py.settings import Settings
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore
from tusd_py.web.cors import CorsPolicy
from tusd_py.web.handlers import MountOptions
from tusd_py.web.location import EdgePolicy

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
When = Condition | Mapping[str, object] | None
"""For which uploads: a `Condition`, or one as it is written in the settings file."""


class Tus:
    """Uploads over one data directory: the engine, its stores, the hooks and the jobs of uploads.

    Opens nothing until `start`; `tusd_py.setup` lets an aiohttp application start and stop it.
    """

    def __init__(self, settings: Settings, *, shielded: bool = True) -> None:
        """Remember the settings; `shielded` is of the engine, for hosts that may cancel requests.

        Raises:
            StartupError: a hook or a job of the settings names a program or a directory that is not there.
        """
        self.settings = settings
        self._clock = SystemClock()
        self._dir: DataDir | None = None
        self._control: ControlSocket | None = None
        self._working: asyncio.Task[None] | None = None
        self._users = 0
        self._closing: list[Callable[[], Awaitable[None]]] = []
        # Absolute: hooks and jobs are told paths, and have working directories of their own.
        root = Path(settings.data_dir).absolute()
        self._data = FileDataStore(root / "uploads")
        self._info = SqliteInfoStore(
            root / "uploads.sqlite3", durability=settings.durability, data_root=root / "uploads"
        )
        self._hooks = Dispatcher(stop=self._stop_upload, progress_interval=settings.progress_hooks_interval)
        self._registry = Registry()
        self._worker = Worker(
            jobs=self._info,
            info=self._info,
            registry=self._registry,
            clock=self._clock,
            concurrency=settings.job_concurrency,
            keep=settings.jobs_keep,
            check=self._check_data,
        )
        self.engine = self._make_engine(shielded=shielded)
        for handler in handlers_of(settings, self._data.locate):
            self._add_named(handler)
        for task in tasks_of(settings, self._data.locate):
            self._registry.add(task)
            if isinstance(task.run, HttpTask):
                self._closing.append(task.run.close)

    def _make_engine(self, *, shielded: bool) -> Engine:
        settings = self.settings
        return Engine(
            data=self._data,
            info=self._info,
            locker=MemoryLocker(),
            policy=Policy(
                durability=settings.durability,
                journal_up_to=settings.journal_up_to or 0,
                journal_size=settings.journal_size,
                checkpoint_bytes=settings.checkpoint_bytes,
                checkpoint_interval=settings.checkpoint_interval,
                progress_interval=settings.progress_hooks_interval,
                lock_timeout=settings.lock_timeout,
                shutdown_timeout=settings.shutdown_timeout,
            ),
            clock=self._clock,
            sweep_interval=settings.sweep_interval,
            shielded=shielded,
            hooks=self._hooks,
            jobs=Owed(self._registry, self._worker.wake),
            job_store=self._info,
        )

    @overload
    def on_finish(self, function: AnyFunction, /) -> AnyFunction: ...

    @overload
    def on_finish(
        self, /, *, when: When = None, retries: int = RETRIES, timeout: float = 3600.0, priority: int = 0,
        concurrency: int | None = None,
    ) -> Callable[[AnyFunction], AnyFunction]: ...  # fmt: skip

    def on_finish(self, function: Any = None, /, **options: Any) -> Any:
        """Register a function that runs for every finished upload; parts of concatenations only where `when` says so.

        It is a durable job: its row commits with the finish, it is tried until it returns or has failed too often, also
        after a crash, and so may run more than once for one upload. Its qualified name is stored; keep it while jobs
        are waiting. What it returns is shown to the client (JSON of at most 64 KiB). A plain function runs on a thread.

        Use it bare, or with the options of `task`.
        """

        def register(given: AnyFunction) -> AnyFunction:
            return self.task(name_of(given), **options)(given)

        return register if function is None else register(function)

    def task(
        self,
        name: str,
        *,
        on: Moment | str = Moment.POST_FINISH,
        when: When = None,
        retries: int = RETRIES,
        timeout: float = 3600.0,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> Callable[[AnyFunction], AnyFunction]:
        """Register a function as `on_finish` does, under a name that is stored with its jobs.

        Args:
            name: unlike that of any other task; without a colon.
            on: `post-finish` or `post-terminate`.
            when: for which uploads; by default all but parts of concatenations.
            retries: attempts after the first one failed; then the job is discarded, and stays visible as such.
            timeout: seconds of one attempt.
            priority: of two jobs that are due, the one with the higher number goes first.
            concurrency: how many of its jobs run at a time, in places of their own; None = in those of the worker.

        Raises:
            ValueError: the name is taken, or one of the values cannot be used.
        """
        if not name or ":" in name:
            raise ValueError(f"{name!r} cannot be the name of a task: it is empty or has a colon in it")
        condition = condition_of(when)

        def register(function: AnyFunction) -> AnyFunction:
            self._registry.add(
                Task(
                    name=name,
                    run=runs(function, self._data.locate),
                    moment=Moment(on),
                    wants=wants(condition),
                    priority=priority,
                    retries=retries,
                    timeout=timeout,
                    concurrency=concurrency,
                )
            )
            return function

        return register

    def hook(
        self, *moments: Moment | str, when: When = None, timeout: float = 15.0, name: str | None = None
    ) -> Callable[[AnyFunction], AnyFunction]:
        """Register a function that is called at some of tusd's seven moments, and may answer with a `HookReply`.

        It is given a `HookEvent`. A coroutine function runs on the event loop, any other on a thread. `pre-` moments
        block the request and can refuse it; `post-finish` and `post-terminate` are told by durable jobs, until the
        function returns.

        Args:
            moments: such as `"pre-create"`.
            when: for which uploads; by default all, parts of concatenations too, as in tusd.
            timeout: seconds of one call; then it has failed.
            name: stored with the jobs; by default the qualified name.

        Raises:
            ValueError: there is no such moment, the name is taken, or the condition cannot be used.
        """
        chosen = [Moment(moment) for moment in moments]
        if not chosen:
            raise ValueError("a hook needs at least one moment")
        condition = Condition(partial=True) if when is None else condition_of(when)

        def register(function: AnyFunction) -> AnyFunction:
            handler = FunctionHandler(
                name or name_of(function), function, moments=chosen, wants=wants(condition), timeout=timeout
            )
            self.add_hook(handler)
            return function

        return register

    def add_hook(self, handler: HookHandler) -> None:
        """Ask and tell a handler of your own. Raises `ValueError` when its name is taken."""
        self._hooks.add(handler)
        for task in deliveries_of(handler, self._hooks):
            self._registry.add(task)

    async def start(self) -> None:
        """Take the data directory, open the stores, run waiting jobs. Raises `StartupError`; destroys nothing.

        Applications that share a service each start and stop it: the first opens it, the last closes it.
        """
        if self._users == 0:
            await self._open()
        self._users += 1

    async def _open(self) -> None:
        settings = self.settings
        self._dir = open_data_dir(Path(settings.data_dir), allow_unsafe=settings.allow_unsafe_data_dir)
        try:
            await self.engine.start()
            try:
                verbs = {"retry": self._worker.retry, "cancel": self._worker.cancel}
                self._control = ControlSocket(self._dir.control, verbs)
                await self._control.start()
            except BaseException:
                await self.engine.stop()
                raise
        except BaseException:
            self._dir.close()
            raise
        self._working = asyncio.create_task(self._worker.run(), name="tusd-py jobs")

    def drain(self) -> None:
        """Stop reading bodies; see `tusd_py.engine.service.Engine.drain`."""
        self.engine.drain()

    async def stop(self) -> None:
        """End running jobs (they run again after the next start), wait for requests, close everything."""
        self._users -= 1
        if self._users > 0:
            return
        if self._control is not None:
            await self._control.close()
            self._control = None
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            self._working = None
        await self.engine.stop()
        await self._hooks.close()
        for close in self._closing:
            await close()
        if self._dir is not None:
            self._dir.close()
            self._dir = None

    async def _check_data(self, upload_id: str) -> None:
        await self.engine.check_written(upload_id)

    async def _stop_upload(self, upload_id: str, reply: HookReply) -> None:
        await self.engine.stop_upload(upload_id, reply)

    def _add_named(self, handler: HookHandler) -> None:
        try:
            self.add_hook(handler)
        except ValueError as error:
            raise StartupError(str(error)) from error


def build(settings: Settings, *, shielded: bool = True) -> Tus:
    """Return a service for these settings; nothing is opened yet.

    Without `shielded` it costs a little less, and whoever cancels a request stops what it does half-way: for servers
    that never cancel one before the shutdown timeout is over.
    """
    return Tus(settings, shielded=shielded)


def mount_options(settings: Settings) -> MountOptions:
    """Return how a mount with these settings shows itself."""
    return MountOptions(
        limits=settings.limits(),
        cors=CorsPolicy(
            enabled=not settings.disable_cors,
            allow_origin=tuple(settings.cors_allow_origin),
            allow_credentials=settings.cors_allow_credentials,
            max_age=int(settings.cors_max_age),
        ),
        edge=EdgePolicy(
            public_url=settings.public_url,
            relative=settings.relative_location,
            behind_proxy=settings.behind_proxy,
            trusted=tuple(ip_network(network) for network in settings.trusted_proxy),
        ),
        tell_headers=settings.hooks_http_forward_headers,
        network_timeout=settings.network_timeout,
        data_plane_from=settings.data_plane_from,
        direct_from=settings.direct_from,
        max_upload_rate=settings.max_upload_rate,
    )
