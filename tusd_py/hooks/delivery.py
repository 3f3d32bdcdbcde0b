"""What all transports have in common: whom they serve, what they are given, what they hand over."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from tusd_py.abc import HookHandler
from tusd_py.errors import HookFailed
from tusd_py.hooks.payload import PayloadStyle, Storage, encode
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.upload import UploadInfo

Locate = Callable[[UploadInfo], Path | None]
"""Says where the data of an upload is; None when the store is not a file system."""


class Work(Protocol):
    """One attempt of a job, as far as a command or a URL needs to know it."""

    @property
    def event(self) -> HookEvent:
        """What happened to the upload."""

    @property
    def attempt(self) -> int:
        """Counts from 1."""

    @property
    def key(self) -> str:
        """The idempotency key, the same on every attempt."""

    def report(self, fraction: float, /) -> None:
        """Say how much is done, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Writes the payload of an event."""

    style: PayloadStyle = PayloadStyle.TUSD_V2
    locate: Locate = lambda _: None

    def write(self, event: HookEvent) -> bytes:
        """Return the payload, JSON in UTF-8."""
        path = None if event.moment is Moment.PRE_CREATE else self.locate(event.upload)
        return encode(event, style=self.style, storage=None if path is None else Storage(path=str(path)))


class SelectiveHandler(HookHandler):
    """A handler that is told at which moments and of which events it is called."""

    def __init__(self, name: str, *, moments: Collection[Moment], wants: Callable[[HookEvent], bool]) -> None:
        self.name = name
        self._moments = frozenset(moments)
        self._wants = wants

    def heeds(self, moment: Moment) -> bool:
        """Whether it is among its moments."""
        return moment in self._moments

    def wants(self, event: HookEvent) -> bool:
        """Whether the event is at one of its moments, and among those it was told to want."""
        return event.moment in self._moments and self._wants(event)


def read_result(data: bytes) -> object:
    """Return what a job made of an upload, from JSON; None when there is nothing.

    Raises:
        HookFailed: it is not JSON.
    """
    if not data.strip():
        return None
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise HookFailed("the answer is not JSON") from error
