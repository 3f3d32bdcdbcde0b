"""How the command writes log records: one line each, whatever is in them (reliability 5.2, row 26).

Installed by `tusd-py serve` only. An application that embeds the library keeps its own logging.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TextIO

import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from tusd_py.cli.text import printable
from tusd_py.settings import LogFormat

LOGGERS = ("tusd_py", "aiohttp", "asyncio")
"""Whose records are written. One line per request is among them, from `ACCESS`."""
ACCESS = "aiohttp.access"
LONGEST = 8192
"""Most bytes of one line."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_CUT = "..."


def install(log_format: LogFormat, stream: TextIO, level: int = logging.INFO) -> logging.Handler:
    """Write the records of `LOGGERS` to a stream; a second call replaces the first."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    handler.addFilter(_tame_malformed)
    # Facts that none of our lines shows are not worth finding out for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    return handler


def _tame_malformed(record: logging.LogRecord) -> bool:
    """Make one short line of a request that the HTTP parser refused: anybody can send such, as often as they like."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.msg, record.args = "refused a malformed request: %s", (error.message.partition("\n")[0],)
        record.exc_info = record.exc_text = None
    return True


class TextFormatter(logging.Formatter):
    """Time, level, logger, sentence, then what else is known as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        if record.name == ACCESS and not record.exc_info:
            # One for each request, so in one go; its sentence has all its fields.
            return _cut(f"{_time_of(record)} {record.levelname} {ACCESS}: {printable(record.getMessage())}", LONGEST)
        fields = _fields_of(record)
        head = [fields.pop("time"), fields.pop("level"), fields.pop("logger") + ":", fields.pop("message")]
        return _cut(printable(" ".join([*head, *(f"{key}={value}" for key, value in fields.items())])), LONGEST)


class JsonFormatter(logging.Formatter):
    """One JSON object per line, all values texts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = {printable(key): printable(value, keep="\n\t") for key, value in _fields_of(record).items()}
        line = msgspec.json.encode(fields)
        longest = LONGEST
        while len(line) > LONGEST:
            longest //= 2
            line = msgspec.json.encode(_shortened(fields, longest))
        return line.decode()


def _fields_of(record: logging.LogRecord) -> dict[str, str]:
    """Return what a record says: the standard fields first, then its `extra`, then its traceback."""
    fields = {
        "time": _time_of(record),
        "level": record.levelname,
        "logger": record.name,
        "message": _message_of(record),
    }
    fields |= {key: str(value) for key, value in vars(record).items() if key not in _STANDARD and key not in fields}
    if record.exc_info:
        fields["error"] = logging.Formatter().formatException(record.exc_info)
    return fields


def _time_of(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03}+00:00"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return a moment without fraction and zone: most lines have that of the line before."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # A wrong format string must not cost the record, nor print a traceback between the lines.
        return f"{record.msg} {record.args!r}"


def _shortened(fields: Mapping[str, str], longest: int) -> dict[str, str]:
    """Return the fields with every value cut, and as many of them as a line can have."""
    few = list(fields.items())[: max(longest // 16, 4)]
    return {_cut(key, longest): _cut(value, longest) for key, value in few}


def _cut(text: str, longest: int) -> str:
    """Return a text of at most so many bytes in UTF-8."""
    encoded = text.encode()
    if len(encoded) <= longest:
        return text
    return encoded[: longest - len(_CUT)].decode(errors="ignore") + _CUT
