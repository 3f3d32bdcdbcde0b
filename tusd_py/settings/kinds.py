"""What values a setting takes: how they are read, checked and written.

Every kind takes what a Python caller, a TOML file, an environment variable or a flag may hold, and answers with the
one value the server works with, or a `ValueError` whose message begins with the value that was refused.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

LARGEST = 2**63 - 1
"""The largest whole number that SQLite and `off_t` hold."""

MASK = "********"
"""What is shown instead of a secret."""

SHORTEST_SECRET = 16
"""Characters that a secret has at least."""

_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([a-z]{0,3})", re.IGNORECASE | re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,19}")
_DURATION_PART = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"
_DURATION = re.compile(rf"(?:{_DURATION_PART})+")
_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?")

_BYTES = {
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "kB": 10**3,
}
_BYTES_READ = {"": 1, "b": 1} | {
    spelling: count for unit, count in _BYTES.items() for spelling in (unit.lower(), unit.lower().removesuffix("b"))
}
_UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


Value = TypeVar("Value")


def _as_it_is(value: Value) -> Value:
    return value


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What values one setting takes."""

    metavar: str
    """How the value is called in `--help`."""
    accept: Callable[[object], object]
    """Turn what somebody wrote into the value. Raises `ValueError` naming what is wrong with it."""
    show: Callable[[object], str] = str
    """Write the value so that `accept` reads the same value again."""
    choices: tuple[str, ...] = ()
    """All values, where they can be counted."""
    repeatable: bool = False
    """Whether the value is a list: a flag may be given several times, the environment separates by commas."""
    switch: bool = False
    """Whether the flag stands alone."""
    secret: bool = False
    """Whether nobody may see the value: it has no flag, and a second setting `..._file` names a file that holds it."""
    hide: Callable[[Any], object] = _as_it_is
    """Return the value as everybody may see it, with `MASK` for what is secret in it."""


def parse_size(text: str) -> int:
    """Read a number of bytes: `1048576`, `10GiB` (powers of 1024), `500MB` or `1k` (powers of 1000)."""
    match = _SIZE.fullmatch(text.strip())
    unit = _BYTES_READ.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{quote(text)} is not a size; write bytes, or a number with a unit like 500MB or 10GiB")
    return int(Decimal(match[1]) * unit)


def parse_duration(text: str) -> float:
    """Read a time span in seconds: `90`, `3s`, `500ms`, `15m`, `1h30m`, `7d`."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(
            f"{quote(text)} is not a duration; write seconds, or a number with a unit: 500ms 3s 15m 12h 7d"
        )
    return sum(
        float(number) / 1000 if unit == "ms" else float(number) * _UNIT_SECONDS[unit]
        for number, unit in re.findall(_DURATION_PART, text)
    )


def show_size(count: object) -> str:
    """Write a number of bytes in the largest unit that leaves no fraction."""
    assert isinstance(count, int)
    for unit, factor in _BYTES.items():
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def show_duration(seconds: object) -> str:
    """Write a time span in the largest unit that leaves no fraction; one minute stays `60s`."""
    assert isinstance(seconds, int | float)
    for unit, factor in _UNIT_SECONDS.items():
        if seconds and seconds % factor == 0 and not (unit == "m" and seconds == factor):
            return f"{int(seconds // factor)}{unit}"
    return f"{seconds * 1000:.9g}ms" if seconds else "0s"


def text(metavar: str, check: Callable[[str], str] = str, *, hide: Callable[[Any], str] = _as_it_is) -> Kind:
    """Return the kind of a non-empty text; `check` answers with its normal form or raises `ValueError`."""

    def accept(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{quote(value)} is not a text")
        return check(value)

    return Kind(metavar=metavar, accept=accept, hide=hide)


def secret() -> Kind:
    """Return the kind of a text that nobody may see. `MASK` is taken too: the value is elsewhere then, or missing."""

    def accept(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("a secret is a text")
        if value != MASK and len(value) < SHORTEST_SECRET:
            raise ValueError(f"a secret has at least {SHORTEST_SECRET} characters, this one has {len(value)}")
        return value

    return Kind(metavar="SECRET", accept=accept, secret=True, hide=lambda _: MASK)


def whole(metavar: str, low: int, high: int = LARGEST) -> Kind:
    """Return the kind of a whole number in a range."""

    def accept(value: object) -> int:
        number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"{quote(value)} is not a whole number")
        return _within(number, value, low, high)

    return Kind(metavar=metavar, accept=accept)


def size(low: int = 1, high: int = LARGEST) -> Kind:
    """Return the kind of a number of bytes."""

    def accept(value: object) -> int:
        count = parse_size(value) if isinstance(value, str) else value
        if not isinstance(count, int) or isinstance(count, bool):
            raise ValueError(f"{quote(value)} is not a size; write bytes, or a text like '10GiB'")
        return _within(count, value, low, high)

    return Kind(metavar="SIZE", accept=accept, show=show_size)


def duration(*, positive: bool = True) -> Kind:
    """Return the kind of a time span in seconds; with `positive`, zero is refused."""

    def accept(value: object) -> float:
        seconds = parse_duration(value) if isinstance(value, str) else value
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds):
            raise ValueError(f"{quote(value)} is not a duration; write seconds, or a text like '15m'")
        if seconds < 0 or (positive and seconds == 0):
            raise ValueError(f"{quote(value)} is too short; it must be {'more than' if positive else 'at least'} 0s")
        return float(seconds)

    return Kind(metavar="TIME", accept=accept, show=show_duration)


def optional(kind: Kind, *, off: tuple[str, ...] = ("none",)) -> Kind:
    """Return the kind that also takes None, written as any of `off`; the first is how it is shown."""

    def accept(value: object) -> object:
        if value is None or str(value) in off:
            return None
        return kind.accept(value)

    def show(value: object) -> str:
        return off[0] if value is None else kind.show(value)

    def hide(value: object) -> object:
        return None if value is None else kind.hide(value)

    return msgspec.structs.replace(kind, accept=accept, show=show, hide=hide)


def choice(values: Iterable[StrEnum]) -> Kind:
    """Return the kind of one value out of a few."""
    by_name = {str(value): value for value in values}
    names = tuple(by_name)

    def accept(value: object) -> StrEnum:
        if value not in names:
            raise ValueError(f"{quote(value)} is none of {', '.join(names)}")
        return by_name[str(value)]

    return Kind(metavar="|".join(names), accept=accept, choices=names)


def many(
    metavar: str, check: Callable[[str], str], *, everything: str = "", hide: Callable[[str], str] = _as_it_is
) -> Kind:
    """Return the kind of a list of texts, each of them there once.

    Args:
        check: answers with an item's normal form or raises `ValueError`.
        everything: the item that stands for all others; with it, the list is empty.
    """

    def accept(value: object) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, Iterable):
            raise ValueError(f"{quote(value)} is not a list")
        checked = tuple(dict.fromkeys(check(item) for item in _split(items)))
        return () if everything in checked else checked

    def show(value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(value) or everything

    def hide_each(value: object) -> tuple[str, ...]:
        assert isinstance(value, tuple)
        return tuple(map(hide, value))

    return Kind(metavar=metavar, accept=accept, show=show, repeatable=True, hide=hide_each)


def _split(items: Iterable[object]) -> Iterable[str]:
    for item in items:
        if not isinstance(item, str):
            raise ValueError(f"{quote(item)} is not a text")
        yield from filter(None, map(str.strip, item.split(",")))


def _accept_switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "1"):
        return True
    if value in ("false", "0"):
        return False
    raise ValueError(f"{quote(value)} is neither true nor false (1 and 0 will do)")


def _accept_path(value: object) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise ValueError(f"{quote(value)} is not a path")
    return Path(value)


def _within(number: int, value: object, low: int, high: int) -> int:
    if number < low:
        raise ValueError(f"{quote(value)} is too small; it must be at least {low}")
    if number > high:
        raise ValueError(f"{quote(value)} is too large; it must be at most {high}")
    return number


def _accept_command(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{quote(value)} is not a list; write the program and each argument as a text of its own")
    words = tuple(value)
    for word in words:
        if not isinstance(word, str) or "\0" in word:
            raise ValueError(f"{quote(word)} is not a text that a program can be given")
    if not words or not words[0]:
        raise ValueError(f"{quote(list(words))} names no program")
    return words


def toml_string(text: str) -> str:
    """Return a text as TOML writes it: basic strings know the escapes of JSON but for DEL (TOML 1.0, String)."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def quote(value: object) -> str:
    """Return a value as it stands in an error message: one line, and not without end."""
    written = ascii(value) if not isinstance(value, str) else f"'{value.encode('unicode_escape').decode()}'"
    return written if len(written) <= 200 else f"{written[:200]}..."


SWITCH = Kind(metavar="BOOL", accept=_accept_switch, show=lambda value: "true" if value else "false", switch=True)
PATH = Kind(metavar="PATH", accept=_accept_path)
COMMAND = Kind(metavar="TEXT", accept=_accept_command, repeatable=True)
