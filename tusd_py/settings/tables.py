"""The tables `[hooks.NAME]` and `[jobs.NAME]`: what their keys mean, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from tusd_py.jobs.retry import RETRIES
from tusd_py.models.condition import Condition
from tusd_py.models.hook import Moment
from tusd_py.settings import addresses, checks, conditions, kinds
from tusd_py.settings.checked import Checked, values_of
from tusd_py.settings.doc import Doc, Group, SettingsError, suggest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kinds.quote(name)} is not a name of up to 64 letters, digits, - and _")
    return name


_TABLE_NAME = kinds.text("NAME", _check_name)


class Table(Checked, frozen=True, kw_only=True):
    """What every kind of table says: who is told, and about which uploads.

    Raises:
        SettingsError: a value cannot be used; the message names table and key.
    """

    section: ClassVar[str]
    """What stands before the name: `[section.NAME]`."""

    name: str
    """Up to 64 letters, digits, `-` and `_`."""
    command: Annotated[
        tuple[str, ...] | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.COMMAND),
            "Program to run and its arguments.",
            "No shell: each text is one argument, as it stands. Either this or `url`.",
        ),
    ] = None
    url: Annotated[
        str | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.text("URL", addresses.check_hook_url, hide=addresses.hide_user)),
            "Where to send a POST request.",
            "Either this or `command`.",
        ),
    ] = None
    public_only: Annotated[
        bool,
        Doc(
            Group.HOOKS,
            kinds.SWITCH,
            "Send only to addresses of the public internet.",
            "For a `url` that people you do not know may choose; off, because most receivers are on the same network.",
        ),
    ] = False
    when: Annotated[
        Condition,
        Doc(
            Group.HOOKS,
            conditions.CONDITION,
            "For which uploads.",
            'All of it must hold: `metadata = { filetype = "image/*" }` (`*`, `?` and `[...]`; upper and lower case '
            'differ), `min_size = "1MB"`, `max_size = "2GiB"`, and `partial = true` for parts of concatenations too.',
        ),
    ] = Condition()

    def __post_init__(self) -> None:
        try:
            _TABLE_NAME.accept(self.name)
        except ValueError as error:
            raise SettingsError(self.section, str(error)) from None
        super().__post_init__()
        if self.command is None and self.url is None:
            raise SettingsError(self.label("command"), "is missing; set command or url")
        if self.command is not None and self.url is not None:
            raise SettingsError(self.label("url"), "contradicts command; set one of them")
        if self.public_only and self.url is None:
            raise SettingsError(self.label("public_only"), "true is about the addresses of a url; a command has none")

    def label(self, name: str) -> str:
        """Return how people call a key of this table."""
        return _label(type(self), self.name, name)


class HookSettings(Table, frozen=True, kw_only=True):
    """One receiver of hooks: `[hooks.NAME]`.

    Raises:
        SettingsError: a value cannot be used; the message names table and key.
    """

    section = "hooks"

    events: Annotated[
        tuple[Moment, ...] | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.many("EVENT", checks.check_moment)),
            "Events that it is told.",
            "Without it, those of `hooks_enabled_events`.",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.duration()),
            "Time that one call may take.",
            "Without it, `hooks_timeout`.",
        ),
    ] = None


class JobSettings(Table, frozen=True, kw_only=True):
    """One task that is stored with every upload it is for, and done until it succeeds: `[jobs.NAME]`.

    Raises:
        SettingsError: a value cannot be used; the message names table and key.
    """

    section = "jobs"

    on: Annotated[
        Moment,
        Doc(
            Group.JOBS,
            kinds.choice([moment for moment in Moment if moment.is_durable]),
            "After which event it is done.",
            "The two that are stored together with the fact, so that none is lost.",
        ),
    ] = Moment.POST_FINISH
    priority: Annotated[
        int,
        Doc(
            Group.JOBS,
            kinds.whole("NUMBER", -(10**6), 10**6),
            "Of the jobs that are due, those with the highest number go first.",
        ),
    ] = 0
    retries: Annotated[
        int,
        Doc(
            Group.JOBS,
            kinds.whole("NUMBER", 0),
            "Attempts after the first one failed; then it is given up.",
            "The pauses double up to an hour, so 50 is about two days.",
        ),
    ] = RETRIES
    timeout: Annotated[
        float,
        Doc(Group.JOBS, kinds.duration(), "Time that one attempt may take.", "What takes longer counts as failed."),
    ] = 3600.0
    concurrency: Annotated[
        int | None,
        Doc(
            Group.JOBS,
            kinds.optional(kinds.whole("NUMBER", 1)),
            "Most of this task at a time.",
            "These places are its own, so that it holds up no other task; without it, it shares `job_concurrency`.",
        ),
    ] = None


class TablesDoc(msgspec.Struct, frozen=True):
    """What is said of a setting that is a set of tables."""

    group: Group
    kind: type[Table]
    help: str


AnyTable = TypeVar("AnyTable", bound=Table)


def read(kind: type[AnyTable], value: object) -> tuple[AnyTable, ...]:
    """Return tables out of what a TOML file holds, `{name: {key: value}}`, or out of tables already made.

    Raises:
        SettingsError: something is no table, a key is unknown, a name is there twice, or a value cannot be used.
    """
    if isinstance(value, Mapping):
        return tuple(_read_one(kind, name, content) for name, content in value.items())
    made = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    for each in made:
        if not isinstance(each, kind):
            raise SettingsError(kind.section, f"{kinds.quote(each)} is not a table; write [{kind.section}.NAME]")
    names = [each.name for each in made if isinstance(each, kind)]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(kind.section, f"{kinds.quote(name)} is there twice; every table has its own name")
    return tuple(each for each in made if isinstance(each, kind))


def _read_one(kind: type[AnyTable], name: object, content: object) -> AnyTable:
    if not isinstance(content, Mapping):
        raise SettingsError(
            kind.section, f"{kinds.quote(name)} = {kinds.quote(content)} is not a table; write [{kind.section}.NAME]"
        )
    keys = [each.name for each in values_of(kind)]
    for key in content:
        if key not in keys:
            raise SettingsError(_label(kind, name, key), f"there is no such key{suggest(str(key), keys)}")
    arguments: dict[str, Any] = {"name": name, **content}
    return kind(**arguments)


def _label(kind: type[Table], name: object, key: object) -> str:
    written = [word if _NAME.fullmatch(word) else kinds.quote(word) for word in (str(name), str(key))]
    return f"[{kind.section}.{written[0]}] {written[1]}"
