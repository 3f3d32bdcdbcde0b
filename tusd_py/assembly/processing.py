"""Hooks and jobs, out of the settings and out of the functions of an application."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tusd_py.abc import HookHandler, OwedJobs
from tusd_py.errors import StartupError
from tusd_py.hooks.command import CommandHandler, CommandTask, FixedProgram, HooksDir
from tusd_py.hooks.delivery import Letter
from tusd_py.hooks.dispatcher import Dispatcher
from tusd_py.hooks.http import HttpHandler, HttpTask, Post
from tusd_py.hooks.payload import PayloadStyle
from tusd_py.jobs.registry import Registry, Task, Work
from tusd_py.models.condition import Condition
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.job import Job
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol.metadata import read_metadata
from tusd_py.settings import Settings
from tusd_py.settings.conditions import CONDITION
from tusd_py.settings.tables import HookSettings, JobSettings

DELIVERIES_AT_ONCE = 8
"""How many ends of uploads one handler is told at a time."""

OWN_DEADLINE = 10.0
"""Seconds that the worker gives a program or a URL beyond its deadline, to end by itself and to say how."""

Locate = Callable[[UploadInfo], Path | None]


class Owed(OwedJobs):
    """The registered tasks as the engine sees them."""

    def __init__(self, registry: Registry, wake: Callable[[], None]) -> None:
        self._registry = registry
        self._wake = wake

    def heeds(self, moment: Moment) -> bool:
        """Return whether any task is for such a moment."""
        return self._registry.heeds(moment)

    def owed(self, event: HookEvent) -> Sequence[Job]:
        """Return the jobs that an event makes."""
        return self._registry.jobs_for(event)

    def wake(self) -> None:
        """Look for due jobs now."""
        self._wake()


def condition_of(when: Condition | Mapping[str, object] | None) -> Condition:
    """Return the condition that somebody wrote as in the settings file. Raises `ValueError` naming what is wrong."""
    accepted = CONDITION.accept({} if when is None else when)
    assert isinstance(accepted, Condition)
    return accepted


def wants(when: Condition) -> Callable[[HookEvent], bool]:
    """Return what a condition says of an event."""
    return lambda event: when.holds(event.upload, read_metadata(event.upload.metadata))


def handlers_of(settings: Settings, locate: Locate) -> Iterator[HookHandler]:
    """Yield the handlers of the settings, in the order in which they are asked. Raises `StartupError`."""
    letter = Letter(style=PayloadStyle(settings.hooks_format), locate=locate)
    moments = settings.hooks_enabled_events
    if settings.hooks_dir is not None:
        if not settings.hooks_dir.is_dir():
            raise StartupError(f"hooks_dir: {settings.hooks_dir} is not a directory")
        program = HooksDir(settings.hooks_dir)
        yield CommandHandler(
            "hooks-dir", program, moments=moments, timeout=settings.hooks_timeout, letter=letter, env=settings.hooks_env
        )
    for url in dict.fromkeys(settings.hooks_http):
        yield HttpHandler(
            _name_of(url), _post(settings, url), moments=moments, timeout=settings.hooks_timeout, letter=letter
        )
    for table in settings.hooks:
        yield _handler_of(table, settings, letter)


def _handler_of(table: HookSettings, settings: Settings, letter: Letter) -> HookHandler:
    moments = settings.hooks_enabled_events if table.events is None else table.events
    timeout = settings.hooks_timeout if table.timeout is None else table.timeout
    if table.command is not None:
        _check_program(table.label("command"), table.command[0])
        return CommandHandler(
            table.name,
            FixedProgram(table.command),
            moments=moments,
            wants=wants(_of_hook(table.when)),
            timeout=timeout,
            letter=letter,
            env=settings.hooks_env,
        )
    assert table.url is not None
    post = _post(settings, table.url, public_only=table.public_only)
    return HttpHandler(
        table.name, post, moments=moments, wants=wants(_of_hook(table.when)), timeout=timeout, letter=letter
    )


def _of_hook(when: Condition) -> Condition:
    # As in tusd, hooks are told of parts unless somebody asks for less.
    return msgspec.structs.replace(when, partial=True) if when == Condition() else when


def tasks_of(settings: Settings, locate: Locate) -> Iterator[Task]:
    """Yield the tasks of the settings. Raises `StartupError`."""
    letter = Letter(style=PayloadStyle(settings.hooks_format), locate=locate)
    for table in settings.jobs:
        yield Task(
            name=table.name,
            run=_run_of(table, settings, letter),
            moment=table.on,
            wants=wants(table.when),
            priority=table.priority,
            retries=table.retries,
            timeout=table.timeout + OWN_DEADLINE,
            concurrency=table.concurrency,
        )


def _run_of(table: JobSettings, settings: Settings, letter: Letter) -> CommandTask | HttpTask:
    if table.command is not None:
        _check_program(table.label("command"), table.command[0])
        return CommandTask(table.name, table.command, timeout=table.timeout, letter=letter, env=settings.hooks_env)
    assert table.url is not None
    post = _post(settings, table.url, public_only=table.public_only)
    return HttpTask(table.name, post, timeout=table.timeout, letter=letter)


def deliveries_of(handler: HookHandler, dispatcher: Dispatcher) -> Iterator[Task]:
    """Yield the tasks that tell a handler of the ends of uploads: stored with the fact, tried until they succeed."""

    async def deliver(work: Work) -> None:
        await dispatcher.settled(work.event.upload.id, handler.name)
        await handler.handle(work.event, key=work.event.id, attempt=work.attempt)

    for moment in Moment:
        if moment.is_durable and handler.heeds(moment):
            yield Task(
                name=f"{moment}:{handler.name}",
                run=deliver,
                moment=moment,
                wants=handler.wants,
                concurrency=DELIVERIES_AT_ONCE,
            )


def _name_of(url: str) -> str:
    # Stored with jobs and shown in logs: the URL may have secrets in it, and tells two receivers of a host apart.
    return f"{urlsplit(url).hostname}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def _post(settings: Settings, url: str, *, public_only: bool = False) -> Post:
    return Post(
        url,
        retries=settings.hooks_http_retry,
        backoff=settings.hooks_http_backoff,
        forward=settings.hooks_http_forward_headers,
        secret=settings.hooks_secret,
        public_only=public_only,
    )


def _check_program(label: str, program: str) -> None:
    if shutil.which(program) is None:
        raise StartupError(f"{label}: there is no program {program!r} that can be run")
