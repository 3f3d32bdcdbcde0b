"""Looking at what a data directory knows, beside a server that may be running."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from tusd_py.cli.options import Refusal, load_settings
from tusd_py.datadir import database_in
from tusd_py.errors import StoreError
from tusd_py.settings import Settings
from tusd_py.stores.sqlite import SqliteInfoStore


def settings_with_database(ctx: click.Context) -> Settings:
    """Return the settings of a command, whose data directory has a database. Raises `Refusal`."""
    settings = load_settings(ctx).settings
    database = database_in(settings.data_dir)
    if not database.is_file():
        raise Refusal(f"there is no upload database {database}; is --data-dir right?")
    return settings


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[SqliteInfoStore]:
    """Open what is known of uploads and jobs, to be read only. Takes no lock. Raises `StartupError`, and `Refusal`."""
    store = SqliteInfoStore(database_in(settings.data_dir), durability=settings.durability, read_only=True)
    await store.open()
    try:
        yield store
    except StoreError as error:
        raise Refusal(error.message) from error
    finally:
        await store.close()
