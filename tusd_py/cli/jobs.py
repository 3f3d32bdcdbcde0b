"""`tusd-py jobs`: look at the work that uploads owe, let it begin anew, give it up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

import click

from tusd_py.cli import job_text
from tusd_py.cli.looking import looking, settings_with_database
from tusd_py.cli.options import Refusal, refusals, setting_options
from tusd_py.cli.text import document, printable
from tusd_py.control import Refused, Unreachable, ask
from tusd_py.datadir import DataDirBusy, control_in, open_data_dir
from tusd_py.errors import StoreError
from tusd_py.jobs import verbs
from tusd_py.jobs.steps import JobStateError
from tusd_py.jobs.verbs import JobNotFound
from tusd_py.models.job import Job, JobState
from tusd_py.settings import Settings
from tusd_py.stores.sqlite import SqliteInfoStore

_BATCH = 1000
_MOST_REASONS = 5
"""Jobs of which a command says why they could not be changed, when many could not."""
_VERBS = {"retry": verbs.retry, "cancel": verbs.cancel}

Key = tuple[str, str]
"""Upload and task."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command options that choose jobs; `_chosen` reads them."""
    for option in (
        click.option("--upload", metavar="ID", help="Only jobs of this upload."),
        click.option("--task", metavar="NAME", help="Only jobs of this task."),
        click.option(
            "--state",
            type=click.Choice([str(state) for state in JobState]),
            multiple=True,
            help="Only jobs in this state; may be given more than once.",
        ),
    ):
        command = option(command)
    return command


def _chosen(ctx: click.Context) -> dict[str, Any]:
    """Return what `_filters` were given, as `JobStore.list_jobs` takes it."""
    upload_id, task = (name and _storable(name) for name in (ctx.params["upload"], ctx.params["task"]))
    return {"upload_id": upload_id, "task": task, "states": [JobState(state) for state in ctx.params["state"]]}


@click.group()
def jobs() -> None:
    """Look at the work that uploads owe, let it begin anew, give it up.

    A job is named by its upload and its task: ID:TASK.
    """


@jobs.command(params=setting_options("data_dir"))
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Most jobs that are listed.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def ls(ctx: click.Context, /, limit: int, as_json: bool, **_: object) -> None:
    """List jobs: running ones, waiting ones in their order, then the others, the latest first.

    A running server is not disturbed.
    """
    settings = settings_with_database(ctx)
    now = time.time()
    with refusals():
        found, total = asyncio.run(_list(settings, _chosen(ctx), limit, now))
    if as_json:
        click.echo(document({"jobs": [job_text.record(job) for job in found]}))
    elif found:
        click.echo(job_text.listing(found, now))
    else:
        click.echo("no jobs", err=True)
    if total > limit:
        click.echo(f"{total - limit} more; --limit {total} lists all", err=True)


@jobs.command(params=setting_options("data_dir"))
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def show(ctx: click.Context, /, key: str, as_json: bool, **_: object) -> None:
    """Show everything known of one job.

    Its latest attempts too, what the last one wrote, its result, and what had happened to the upload.
    """
    settings = settings_with_database(ctx)
    with refusals():
        job = asyncio.run(_find(settings, _split(key)))
    click.echo(document(job_text.record(job)) if as_json else job_text.description(job))


@jobs.command(params=setting_options("data_dir", "allow_unsafe_data_dir"))
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All jobs that --state and the other filters choose.")
@_filters
@click.pass_context
def retry(ctx: click.Context, /, keys: tuple[str, ...], everything: bool, **_: object) -> None:
    """Let jobs begin anew at once, also those that have ended.

    A running server is asked to; without one it happens at the next start. Jobs that are executing are refused.
    """
    settings = settings_with_database(ctx)
    filters = _chosen(ctx)
    if everything == bool(keys):
        raise click.UsageError("Name jobs, or give --all with --state.", ctx)
    if everything != bool(filters["states"]) or (keys and any(filters.values())):
        raise click.UsageError("--all needs a --state, and filters need --all.", ctx)
    with refusals():
        wanted = asyncio.run(_keys(settings, filters)) if everything else list(map(_split, keys))
    reasons = _change(settings, "retry", wanted)
    if everything:
        click.echo(f"jobs that begin anew: {len(wanted) - len(reasons)}", err=True)
    _complain(reasons)


@jobs.command(params=setting_options("data_dir", "allow_unsafe_data_dir"))
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.pass_context
def cancel(ctx: click.Context, /, keys: tuple[str, ...], **_: object) -> None:
    """End jobs before their time.

    A running server is asked to; the task of a job that is executing is told to stop. Jobs that have ended are refused.
    """
    _complain(_change(settings_with_database(ctx), "cancel", map(_split, keys)))


def _storable(name: str) -> str:
    """Return a name with escapes for bytes that are no text: then no name of ours is like it."""
    return name.encode("utf-8", "backslashreplace").decode()


def _split(key: str) -> Key:
    upload_id, colon, task = _storable(key).partition(":")
    if not colon:
        raise Refusal(f"there is no job {printable(key)}: a job is named ID:TASK")
    return upload_id, task


async def _list(settings: Settings, filters: dict[str, Any], limit: int, now: float) -> tuple[list[Job], int]:
    """Return the most urgent jobs, and how many there are in all. Keeps few, however many those are."""
    found: list[Job] = []
    total = 0
    async with looking(settings) as store:
        async for batch in _batches(store, filters):
            total += len(batch)
            found = sorted(found + batch, key=partial(job_text.urgency, now=now))[:limit]
    return found, total


async def _keys(settings: Settings, filters: dict[str, Any]) -> list[Key]:
    async with looking(settings) as store:
        return [(job.upload_id, job.task) async for batch in _batches(store, filters) for job in batch]


async def _find(settings: Settings, key: Key) -> Job:
    async with looking(settings) as store:
        try:
            return await verbs.find(store, *key)
        except JobNotFound as error:
            raise Refusal(printable(str(error))) from error


async def _batches(store: SqliteInfoStore, filters: dict[str, Any]) -> AsyncIterator[list[Job]]:
    after = ("", "")
    while batch := await store.list_jobs(**filters, after=after, limit=_BATCH):
        yield batch
        after = (batch[-1].upload_id, batch[-1].task)


def _change(settings: Settings, verb: str, keys: Iterable[Key]) -> list[str]:
    """Retry or cancel jobs, by way of the server if one runs. Returns why some could not be."""
    left = deque(dict.fromkeys(keys))
    reasons: list[str] = []
    try:
        while left:
            upload_id, task = left[0]
            try:
                ask(control_in(settings.data_dir), verb, upload_id=upload_id, task=task)
            except Refused as refusal:
                reasons.append(str(refusal))
            left.popleft()
    except Unreachable as unreachable:
        with refusals():
            try:
                reasons += asyncio.run(_change_alone(settings, verb, left))
            except DataDirBusy as busy:
                raise Refusal(f"{busy}; it cannot be asked: {unreachable}") from busy
    return reasons


async def _change_alone(settings: Settings, verb: str, keys: Iterable[Key]) -> list[str]:
    """As `_change`, in the place of a server. Raises `StartupError`."""
    reasons = []
    with open_data_dir(settings.data_dir, allow_unsafe=settings.allow_unsafe_data_dir) as place:
        store = SqliteInfoStore(place.database, durability=settings.durability, data_root=place.uploads)
        await store.open()
        try:
            # What is executing was left by a server that was killed, and would not be retried.
            await store.rescue_jobs(time.time())
            for upload_id, task in keys:
                try:
                    await _VERBS[verb](store, upload_id, task, time.time())
                except (JobNotFound, JobStateError) as error:
                    reasons.append(str(error))
        except StoreError as error:
            raise Refusal(error.message) from error
        finally:
            await store.close()
    return reasons


def _complain(reasons: list[str]) -> None:
    if len(reasons) > _MOST_REASONS:
        reasons = [*reasons[:_MOST_REASONS], f"and {len(reasons) - _MOST_REASONS} more"]
    if reasons:
        raise Refusal(printable("; ".join(reasons)))
