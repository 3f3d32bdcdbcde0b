"""What some settings are one of."""

from __future__ import annotations

from enum import StrEnum


class LogFormat(StrEnum):
    """How log records are written."""

    TEXT = "text"
    JSON = "json"


class EventLoop(StrEnum):
    """What runs the server's coroutines."""

    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"
