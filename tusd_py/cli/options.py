"""Flags generated from the settings, help that groups them, and errors as one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from click.core import ParameterSource

from tusd_py.errors import StartupError
from tusd_py.settings import Loaded, SettingsError, declared, load
from tusd_py.settings.doc import Declared

_OTHER = "Other options"


class SettingOption(click.Option):
    """The flag of one setting. It hands its text on: the setting itself knows what it takes."""

    def __init__(self, setting: Declared) -> None:
        kind = setting.doc.kind
        self.setting = setting
        super().__init__(
            [setting.flag, setting.name],
            type=_type_of(setting),
            metavar=kind.metavar,
            multiple=kind.repeatable,
            # A switch may stand alone, or take back what a file or the environment says: --behind-proxy=false.
            is_flag=False,
            flag_value="true" if kind.switch else None,
            help=setting.doc.help,
        )

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the two columns of `--help`."""
        setting = self.setting
        default = setting.show(setting.default).replace(",", " ")
        if setting.doc.kind.switch:
            return setting.flag, setting.doc.help
        return f"{setting.flag} {setting.doc.kind.metavar}", f"{setting.doc.help}  [{default or 'none'}]"


class GroupedCommand(click.Command):
    """A command whose help shows settings in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per group."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                title = str(param.setting.doc.group) if isinstance(param, SettingOption) else _OTHER
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class Refusal(click.ClickException):
    """Why a command did nothing, in one line."""

    exit_code = 1


class BadSetting(Refusal):
    """Which setting cannot be used."""

    exit_code = 2


def setting_options(*names: str) -> list[click.Parameter]:
    """Return the flags of some settings (no names = all of them), and `--config`."""
    config = click.Option(
        ["--config", "config_file"],
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="TOML file with settings; environment and flags win over it.",
    )
    flags = [setting for setting in declared() if setting.flag and (not names or setting.name in names)]
    return [*map(SettingOption, flags), config]


def load_settings(ctx: click.Context) -> Loaded:
    """Return the settings of a command that has `setting_options`. Raises `Refusal`."""
    given = {
        param.name: ctx.params[param.name]
        for param in ctx.command.params
        if isinstance(param, SettingOption)
        and param.name
        and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }
    with refusals():
        return load(flags=given, config=ctx.params["config_file"])


@contextmanager
def refusals() -> Iterator[None]:
    """Turn whatever keeps the server from starting into one line and an exit code."""
    try:
        yield
    except SettingsError as error:
        raise BadSetting(str(error)) from error
    except StartupError as error:
        raise Refusal(str(error)) from error


def _type_of(setting: Declared) -> click.ParamType[object]:
    choices: Sequence[str] = setting.doc.kind.choices
    if choices:
        return click.Choice(choices)
    return click.Path() if setting.doc.kind.metavar == "PATH" else click.STRING
