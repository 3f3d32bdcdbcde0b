"""What `upload` and `download` have in common: their flags, and what each failure comes to."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable, Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from tusd_py.cli.options import Refusal
from tusd_py.client.errors import (
    CannotResume,
    DestinationUnusable,
    GaveUp,
    NotATusServer,
    NotVerified,
    Refused,
    SourceBusy,
    SourceChanged,
    SourceUnusable,
    TransferFailed,
    Untrusted,
)
from tusd_py.client.records import Options, Token
from tusd_py.protocol.headers import is_field_value
from tusd_py.settings import kinds

_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = ("connection", "content-length", "content-type", "expect", "range", "tus-resumable", "transfer-encoding")
_OUR_PREFIX = "upload-"
_LARGEST_TOKEN = 65536

Command = TypeVar("Command", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """What a command that transfers files ends with."""

    ARRIVED = 0
    FAILED = 1
    UNUSABLE = 2
    REFUSED = 3
    GAVE_UP = 4
    CHANGED = 5
    NOT_VERIFIED = 6
    CANNOT_RESUME = 7


EXIT_CODES = """\
\b
Exit codes:
  0  everything has arrived
  1  files failed for different reasons, or the fault is here
  2  an argument is not right, or a local file cannot be used
  3  the server refused, does not speak tus, or cannot prove who it is
  4  nothing went forward for as long as --retry-for says
  5  a file was changed while it was read
  6  what has arrived is not what was sent, or nobody can tell
  7  bytes are missing that cannot be read again
  130, 143  ended by SIGINT (Ctrl-C), by SIGTERM
"""
"""For the end of `--help`."""

_CODES: dict[type[TransferFailed], ExitCode] = {
    SourceUnusable: ExitCode.UNUSABLE,
    SourceBusy: ExitCode.UNUSABLE,
    DestinationUnusable: ExitCode.UNUSABLE,
    Refused: ExitCode.REFUSED,
    NotATusServer: ExitCode.REFUSED,
    Untrusted: ExitCode.REFUSED,
    GaveUp: ExitCode.GAVE_UP,
    SourceChanged: ExitCode.CHANGED,
    NotVerified: ExitCode.NOT_VERIFIED,
    CannotResume: ExitCode.CANNOT_RESUME,
}


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a file has not arrived, as it is shown."""

    code: str
    """As `TransferFailed.code`; `internal` = the fault is ours."""
    sentence: str
    """One line."""
    exit_code: int
    status: int | None = None
    """HTTP status, when the server refused."""
    error: str | None = None
    """The server's own code, when it named one."""


def explain(error: Exception) -> Failure:
    """Return what is told of an exception, whatever it is."""
    if not isinstance(error, TransferFailed):
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        sentence = f"{what} (this should not happen; please report it)"
        return Failure(code="internal", sentence=sentence, exit_code=ExitCode.FAILED)
    return Failure(
        code=error.code,
        sentence=error.sentence,
        exit_code=next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAILED),
        status=error.status if isinstance(error, Refused) else None,
        error=error.error if isinstance(error, Refused) else None,
    )


def together(exit_codes: Iterable[int]) -> int:
    """Return the exit code of several files, given those of the ones that failed."""
    different = set(exit_codes)
    return different.pop() if len(different) == 1 else ExitCode.FAILED if different else ExitCode.ARRIVED


class KindType(click.ParamType[object]):
    """A flag whose value is written as that of a setting is."""

    def __init__(self, kind: kinds.Kind) -> None:
        self._kind = kind
        self.name = kind.metavar

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what stands for the value in `--help`."""
        return self._kind.metavar

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Return the value. Raises `click.BadParameter`."""
        try:
            return self._kind.accept(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """Two texts with a sign between them. `check` answers with what is wrong with them, or ''."""

    def __init__(self, sign: str, check: Callable[[str, str], str]) -> None:
        self._sign, self._check = sign, check
        self.name = f"NAME{sign}VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return both. Raises `click.BadParameter`."""
        if isinstance(value, tuple):
            return value
        name, sign, rest = value.partition(self._sign)
        wrong = self._check(name, rest) if sign else f"there is no '{self._sign}' in it"
        if wrong:
            self.fail(f"{kinds.quote(value)}: {wrong}", param, ctx)
        return name, rest


class UrlType(click.ParamType[str]):
    """An address of the web."""

    name = "URL"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it is. Raises `click.BadParameter`."""
        try:
            parts = urlsplit(value)
            host = (parts.hostname or "").encode("idna").decode("idna")
            right = parts.scheme in ("http", "https") and host and parts.port != 0
        except ValueError:
            right = False
        right = right and value.isprintable() and " " not in value
        if not right:
            self.fail(f"{kinds.quote(value)} is no http:// or https:// URL", param, ctx)
        return value


def one_each(ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return pairs as a dictionary. A callback; raises `click.BadParameter` for two of one name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise click.BadParameter("a name is given twice", ctx, param)
    return found


def _headers(ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return one_each(ctx, param, tuple((name.title(), value.strip()) for name, value in pairs))


def _wrong_with_header(name: str, value: str) -> str:
    if not _FIELD_NAME.fullmatch(name):
        return "that is no name of a header"
    if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIX):
        return "this header belongs to the protocol"
    return "" if is_field_value(value) else "a header has printable ASCII only"


_SHARED = (
    click.option(
        "--header", "-H", "headers", type=Pair(":", _wrong_with_header), multiple=True, callback=_headers,
        metavar="'NAME: VALUE'", help="Send this with every request to the server; may be given more than once.",
    ),
    click.option(
        "--token-file", type=click.Path(path_type=Path), metavar="FILE",
        help="Send what is in this file as a bearer token. Read again before every request.",
    ),
    click.option(
        "--ca-file", type=click.Path(path_type=Path), metavar="FILE",
        help="Trust certificates signed by those in this file (PEM), and no others.",
    ),
    click.option("--limit-rate", type=KindType(kinds.size()), help="Most bytes per second, in all."),
    click.option(
        "--retry-for", type=KindType(kinds.duration()), default="24h", show_default=True,
        help="Give up when nothing has gone forward for so long.",
    ),
    click.option(
        "--network-timeout", type=KindType(kinds.duration()), default="60s", show_default=True,
        help="Take a connection for dead when nothing has moved for so long, and try again.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per event and line."),
    click.option("--quiet", "-q", is_flag=True, help="Tell results and failures only."),
)  # fmt: skip


def transfer_options(command: Command) -> Command:
    """Give a command the flags that `read_options` reads, and `--json` and `--quiet` (`as_json`, `quiet`)."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


def read_options(ctx: click.Context, **own: Any) -> Options:
    """Return the options of a command that has `transfer_options`; `own` are those that only it has.

    Raises:
        BadFile: a file that a flag names cannot be used.
        click.UsageError: flags contradict each other.
    """
    given = ctx.params
    if given["token_file"] and "Authorization" in given["headers"]:
        raise click.UsageError("Give --token-file or a header Authorization, not both.", ctx)
    return Options(
        headers=given["headers"],
        token=token_from(given["token_file"]) if given["token_file"] else None,
        ssl=_trusting(given["ca_file"]) if given["ca_file"] else None,
        limit_rate=given["limit_rate"],
        retry_for=given["retry_for"],
        network_timeout=given["network_timeout"],
        **own,
    )


class BadFile(Refusal):
    """Which file that a flag names cannot be used."""

    exit_code = ExitCode.UNUSABLE


def token_from(path: Path) -> Token:
    """Return a token that is read from a file whenever it is asked for. Raises `BadFile` when there is none now."""
    try:
        last = _read_token(path)
    except (OSError, ValueError) as error:
        raise BadFile(f"--token-file {kinds.quote(str(path))}: {_reason(error)}") from error

    async def token() -> str:
        nonlocal last
        # Just being written anew, maybe. A token that has run out is refused by the server.
        with contextlib.suppress(OSError, ValueError):
            last = await asyncio.to_thread(_read_token, path)
        return last

    return token


def _read_token(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_LARGEST_TOKEN)
    token = content.decode("latin-1").strip()
    if not token or " " in token or not (token.isascii() and token.isprintable()):
        raise ValueError("there is no token in it, alone and in printable ASCII")
    return token


def _trusting(path: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        reason = "there are no certificates in PEM in it" if isinstance(error, ssl.SSLError) else _reason(error)
        raise BadFile(f"--ca-file {kinds.quote(str(path))}: {reason}") from error


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
