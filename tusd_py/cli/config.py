"""`tusd-py config`: which settings are in force, and where each comes from."""

from __future__ import annotations

import click
import msgspec

from tusd_py.cli.options import GroupedCommand, load_settings, setting_options
from tusd_py.settings import Loaded, rendering


@click.command(cls=GroupedCommand, params=setting_options())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--reference", is_flag=True, help="Print the reference of all settings in Markdown.")
@click.pass_context
def config(ctx: click.Context, /, as_json: bool, reference: bool, **_: object) -> None:
    """Print the settings in force as a TOML file, each with its origin.

    Takes the flags of `serve`, so that the same line shows what it would do. Secrets are hidden.
    """
    if reference:
        click.echo(rendering.reference(), nl=False)
        return
    loaded = load_settings(ctx)
    click.echo(_as_json(loaded) if as_json else rendering.toml(loaded), nl=as_json)


def _as_json(loaded: Loaded) -> str:
    return msgspec.json.format(msgspec.json.encode(rendering.as_record(loaded))).decode()
