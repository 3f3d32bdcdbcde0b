"""`tusd-py fsck`: what is wrong in a data directory, and mending what can be mended."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from tusd_py.cli.options import Refusal, load_settings, setting_options
from tusd_py.cli.text import printable
from tusd_py.datadir import DataDir, DataDirBusy, database_in, open_data_dir
from tusd_py.engine.context import Context, Policy
from tusd_py.engine.fsck import Check, Kind, Problem
from tusd_py.engine.replay import replay
from tusd_py.engine.service import SystemClock
from tusd_py.errors import StartupError, StoreError
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.settings import Settings
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.inspection import FileInspector
from tusd_py.stores.sqlite import SqliteInfoStore
from tusd_py.stores.sqlite.health import ADVICE, Health, examine

_WIDEST = max(map(len, Kind))


class CannotCheck(Refusal):
    """Why nothing can be said of a data directory, in one line."""

    exit_code = 2


class Report:
    """Prints problems as they are found, so that a million of them need no memory, and counts them."""

    def __init__(self, *, as_json: bool) -> None:
        self.counts: Counter[bool] = Counter()
        """Problems by whether they are repaired."""
        self._as_json = as_json

    def add(self, problem: Problem) -> None:
        """Print one line."""
        self.counts[problem.repaired] += 1
        if self._as_json:
            click.echo(msgspec.json.encode(problem))
        else:
            end = " (repaired)" if problem.repaired else ""
            click.echo(f"{problem.kind:<{_WIDEST}}  {printable(problem.name)}  {printable(problem.detail)}{end}")

    def close(self, checked: int) -> int:
        """Print the sum to stderr; return the exit code."""
        found = self.counts.total()
        click.echo(f"checked {checked} uploads; problems: {found}, repaired: {self.counts[True]}", err=True)
        return 1 if self.counts[False] else 0


@click.command(params=setting_options("data_dir", "allow_unsafe_data_dir"))
@click.argument("place", metavar="[DATA_DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing anything.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per problem and line.")
@click.pass_context
def fsck(ctx: click.Context, /, place: Path | None, repair: bool, as_json: bool, **_: object) -> None:
    """Check a data directory, and mend what can be mended.

    Reads the whole database, and looks at the data of every upload and at what lies beside. Only while no server
    uses the directory. Without --repair nothing is changed. With it, half-done removals and concatenations
    are ended, offsets of unfinished uploads go back to what is really there, files that are too long are cut, and data
    that no upload owns is removed if it is a day old. Finished uploads whose data is lost are named and left.

    Exit codes: 0 nothing is wrong (any more), 1 something is, 2 it could not be checked.
    """
    settings = load_settings(ctx).settings
    if place is not None:
        settings = replace(settings, data_dir=place)
    database = database_in(settings.data_dir)
    if not database.exists():
        raise CannotCheck(f"there is no database {database}; name the right directory, or restore it from a backup")
    try:
        code = asyncio.run(_fsck(settings, Report(as_json=as_json), repair=repair))
    except DataDirBusy as error:
        raise CannotCheck(f"{error}; stop it first") from error
    except (StartupError, StoreError, OSError) as error:
        raise CannotCheck(str(error)) from error
    ctx.exit(code)


async def _fsck(settings: Settings, report: Report, *, repair: bool) -> int:
    with open_data_dir(settings.data_dir, allow_unsafe=settings.allow_unsafe_data_dir) as place:
        health = await asyncio.to_thread(examine, place.database)
        for line in health.damage:
            report.add(Problem(kind=Kind.DATABASE, name=place.database.name, detail=line))
        if health.damage:
            click.echo(f"the database is damaged: {ADVICE}; nothing else was looked at", err=True)
            # Rows that cannot be read must not make data look like nobody's.
            return report.close(0)
        async with AsyncExitStack() as stack:
            check = await _open(settings, place, health, stack, repair=repair)
            async for problem in check.problems():
                report.add(problem)
        return report.close(check.checked)


async def _open(settings: Settings, place: DataDir, health: Health, stack: AsyncExitStack, *, repair: bool) -> Check:
    data = FileDataStore(place.uploads)
    info = SqliteInfoStore(
        place.database, durability=settings.durability, data_root=place.uploads, read_only=not repair
    )
    for store in (data, info) if repair else (info,):
        await store.open()
        stack.push_async_callback(store.close)
    ctx = Context(
        data=data,
        info=info,
        locker=MemoryLocker(),
        clock=SystemClock(),
        policy=Policy(durability=settings.durability),
    )
    if repair:
        # As a start of the server does it; opening for writing has settled a boot.
        await replay(ctx)
    return Check(ctx, info, FileInspector(place.uploads), repair=repair, restarted=health.restarted and not repair)
