"""What can be set of hooks and jobs: whom the server tells what happens, and what it owes to finished uploads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from tusd_py.hooks.payload import PayloadStyle
from tusd_py.models.hook import Moment
from tusd_py.settings import addresses, checks, kinds, tables
from tusd_py.settings.checked import Checked, docs_of, values_of
from tusd_py.settings.doc import Doc, Group
from tusd_py.settings.tables import HookSettings, JobSettings, TablesDoc


class ProcessingSettings(Checked, frozen=True, kw_only=True):
    """The part of `Settings` that is about hooks and jobs.

    Raises:
        SettingsError: a value cannot be used.
    """

    hooks_dir: Annotated[
        Path | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.PATH),
            "Directory of programs that are run as hooks.",
            "Each is called like its event: `pre-create`, `post-finish`. Those that are not there are not missed.",
        ),
    ] = None
    hooks_http: Annotated[
        tuple[str, ...],
        Doc(
            Group.HOOKS,
            kinds.many("URL", addresses.check_hook_url, hide=addresses.hide_user),
            "URLs that hooks are sent to by POST.",
            "With `user:password@`, the request is authenticated; then prefer the environment or a file, because every "
            "user of the machine sees flags. A comma inside a URL is written `%2C`.",
        ),
    ] = ()
    hooks_enabled_events: Annotated[
        tuple[Moment, ...],
        Doc(
            Group.HOOKS,
            kinds.many("EVENT", checks.check_moment),
            "Events that hooks are told.",
            f"Some of {', '.join(f'`{moment}`' for moment in Moment)}. Each `pre-` one holds up requests; two of them "
            "have to be asked for.",
        ),
    ] = (Moment.PRE_CREATE, Moment.POST_CREATE, Moment.POST_RECEIVE, Moment.POST_FINISH, Moment.POST_TERMINATE)
    hooks_timeout: Annotated[
        float,
        Doc(
            Group.HOOKS,
            kinds.duration(),
            "Time that one call of a hook may take.",
            "Clients wait for `pre-` hooks. What takes longer counts as failed.",
        ),
    ] = 15.0
    hooks_format: Annotated[
        PayloadStyle,
        Doc(
            Group.HOOKS,
            kinds.choice(PayloadStyle),
            "What hooks are sent as.",
            "`tusd-v1` for receivers written for tusd 1.",
        ),
    ] = PayloadStyle.TUSD_V2
    hooks_http_retry: Annotated[
        int,
        Doc(
            Group.HOOKS,
            kinds.whole("NUMBER", 0, 100),
            "Further requests after one failed.",
            "Failed means at the network, or with 429 or 5xx; other answers are final. Those that tell of the end of "
            "an upload are jobs and go on after that.",
        ),
    ] = 3
    hooks_http_backoff: Annotated[
        float,
        Doc(Group.HOOKS, kinds.duration(), "Pause before each further request."),
    ] = 1.0
    hooks_http_forward_headers: Annotated[
        tuple[str, ...],
        Doc(
            Group.HOOKS,
            kinds.many("HEADER", addresses.check_header),
            "Headers of the client's request that are sent on.",
            "Hooks see `Authorization`, `Cookie`, `Idempotency-Key` and `Proxy-Authorization` only if named here.",
        ),
    ] = ()
    hooks_secret: Annotated[
        str | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.secret()),
            "Secret that requests to URLs are signed with.",
            f"At least {kinds.SHORTEST_SECRET} characters. No flag, because every user of the machine sees flags: set "
            "`TUSD_PY_HOOKS_SECRET`, or name a file below.",
        ),
    ] = None
    hooks_secret_file: Annotated[
        Path | None,
        Doc(
            Group.HOOKS,
            kinds.optional(kinds.PATH),
            "File with the secret that requests to URLs are signed with.",
            "Its text without the newline at its end; it is read at start. Not together with `hooks_secret`.",
        ),
    ] = None
    hooks_env: Annotated[
        tuple[str, ...],
        Doc(
            Group.HOOKS,
            kinds.many("NAME", checks.check_variable),
            "Environment variables that programs get.",
            "In addition to `PATH`, `HOME`, `LANG`, `LC_*`, `TZ` and `TMPDIR`. The settings of the server, which may "
            "be secret, are never among them.",
        ),
    ] = ()
    progress_hooks_interval: Annotated[
        float,
        Doc(Group.HOOKS, kinds.duration(), "Tell post-receive at most so often per upload."),
    ] = 1.0
    hooks: Annotated[
        tuple[HookSettings, ...],
        TablesDoc(
            Group.HOOKS,
            HookSettings,
            "Receivers of hooks, beside `hooks_dir` and `hooks_http`, each with events and conditions of its own. One "
            "without `when` is told of parts of concatenations too.",
        ),
    ] = ()

    job_concurrency: Annotated[
        int,
        Doc(
            Group.JOBS,
            kinds.whole("NUMBER", 1, 1000),
            "Most jobs at a time.",
            "Tasks with a `concurrency` of their own do not count.",
        ),
    ] = 4
    jobs_keep: Annotated[
        float,
        Doc(
            Group.JOBS,
            kinds.duration(),
            "Remember jobs so long after their end.",
            "So long can people see what became of one, and clients ask for its result.",
        ),
    ] = 7 * 86400.0
    jobs: Annotated[
        tuple[JobSettings, ...],
        TablesDoc(
            Group.JOBS,
            JobSettings,
            "What is to be done for finished or removed uploads. It is stored in the transaction that makes the event "
            "a fact, so no crash loses it, and tried again until it succeeds or has failed too often.",
        ),
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, doc in declared_tables().items():
            msgspec.structs.force_setattr(self, name, tables.read(doc.kind, getattr(self, name)))
        for each in values_of(type(self)):
            if each.doc.kind.secret:
                value = checks.settle_secret(each.name, getattr(self, each.name), getattr(self, f"{each.name}_file"))
                msgspec.structs.force_setattr(self, each.name, value)


@cache
def declared_tables() -> dict[str, TablesDoc]:
    """Return the settings that are tables, in the order of their declaration."""
    return docs_of(ProcessingSettings, TablesDoc)
