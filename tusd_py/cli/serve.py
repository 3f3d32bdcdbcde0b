"""`tusd-py serve`: the server in the foreground."""

from __future__ import annotations

import asyncio
import sys

import click

from tusd_py import server
from tusd_py.cli import logs
from tusd_py.cli.options import GroupedCommand, load_settings, refusals, setting_options


@click.command(cls=GroupedCommand, params=setting_options())
@click.pass_context
def serve(ctx: click.Context, /, **_: object) -> None:
    """Take uploads until SIGTERM or SIGINT.

    Every flag is also a TUSD_PY_* variable and a key of the TOML file. A flag wins over the environment, the
    environment over the file. A switch alone means true; with =false behind it, it takes back what a file says.
    """
    settings = load_settings(ctx).settings
    logs.install(settings.log_format, sys.stderr)
    with refusals():
        asyncio.run(server.run(settings, _announce))


def _announce(url: str) -> None:
    # The words for which scripts around tusd wait. click flushes.
    click.echo(f"You can now upload files to: {url}")
