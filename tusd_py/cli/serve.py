"""`tusd-py serve`: the server in the foreground."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import click

from tusd_py import server
from tusd_py.cli import logs
from tusd_py.cli.options import GroupedCommand, load_settings, refusals, setting_options
from tusd_py.errors import StartupError
from tusd_py.settings import EventLoop


@click.command(cls=GroupedCommand, params=setting_options())
@click.pass_context
def serve(ctx: click.Context, /, **_: object) -> None:
    """Take uploads until SIGTERM or SIGINT.

    Every flag is also a TUSD_PY_* variable and a key of the TOML file. A flag wins over the environment, the
    environment over the file. A switch alone means true; with =false behind it, it takes back what a file says.
    """
    settings = load_settings(ctx).settings
    logs.install(settings.log_format, sys.stderr)
    with refusals(), asyncio.Runner(loop_factory=_factory(settings.event_loop)) as runner:
        runner.run(server.run(settings, _announce))


def _factory(event_loop: EventLoop) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop. Raises `StartupError`."""
    if event_loop is EventLoop.ASYNCIO:
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415 - most have none
    except ImportError as error:
        raise StartupError("event_loop: uvloop cannot be imported; install tusd-py[speed]") from error
    return uvloop.new_event_loop


def _announce(url: str) -> None:
    # The words for which scripts around tusd wait. click flushes.
    click.echo(f"You can now upload files to: {url}")
