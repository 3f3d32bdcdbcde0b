"""What the clients did and saw: an append-only file that outlives the client that wrote it."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

Op = Literal["create", "patch", "head", "get", "delete", "expire"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request of a client, from the moment before it was sent to the moment after its answer was read.

    `status` is None where no whole answer came: whatever the request asked for may have happened, even later.
    """

    op: Op
    upload: str
    """The key of the upload: chosen before it is created, so that its bytes can name it."""
    start: float
    end: float = math.inf
    """Monotonic clock, the same for all processes of a machine."""
    status: int | None = None
    offset: int | None = None
    """Upload-Offset of the answer; the size of the body of a GET."""
    writer: int = 0
    at: int = 0
    """Upload-Offset of a PATCH."""
    size: int = 0
    """Bytes of the body that was promised."""
    sent: int | None = None
    """Bytes of the body that were sent before it was cut; None = all of them."""
    length: int | None = None
    """Upload-Length of a creation or a PATCH."""
    note: str = ""
    """The Location of a creation; what identifies the body of a GET; the code of an error."""

    @property
    def brought(self) -> int:
        """How many bytes the server can have got."""
        return self.size if self.sent is None else self.sent


class _Line(msgspec.Struct):
    id: int
    event: Event


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Line).decode


class Begun:
    """A request under way: in the file as one whose outcome is unknown until `end` is called."""

    def __init__(self, log: History, number: int, event: Event) -> None:
        self._log, self._number, self.event = log, number, event

    def end(self, status: int | None, offset: int | None = None, *, sent: int | None = None, note: str = "") -> Event:
        """Record the outcome; without a status it stays unknown, and so does the end."""
        end = math.inf if status is None else time.monotonic()
        event = msgspec.structs.replace(
            self.event, end=end, status=status, offset=offset, sent=sent, note=note or self.event.note
        )
        self._log._write(self._number, event)
        return event


class History:
    """Writes events as lines of JSON; what has been written is safe from the death of this process."""

    def __init__(self, path: Path) -> None:
        self._numbers = itertools.count(1)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._events: dict[int, Event] = {}

    def begin(self, op: Op, upload: str, **arguments: int | str | None) -> Begun:
        """Record that a request is about to be sent."""
        event = msgspec.convert({"op": op, "upload": upload, "start": time.monotonic(), **arguments}, Event)
        number = next(self._numbers)
        self._write(number, event)
        return Begun(self, number, event)

    def events(self) -> list[Event]:
        """Return everything so far, in the order of the beginnings."""
        return list(self._events.values())

    def close(self) -> None:
        os.close(self._fd)

    def _write(self, number: int, event: Event) -> None:
        self._events[number] = event
        # One write call, so that lines never mix and nothing waits in a buffer of this process.
        os.write(self._fd, _encode({"id": number, "event": _finite(event)}) + b"\n")


def _finite(event: Event) -> dict[str, object]:
    """JSON knows no infinity: an end that is not known is left out."""
    return {name: value for name, value in msgspec.structs.asdict(event).items() if value not in (None, math.inf)}


def read(path: Path) -> list[Event]:
    """Read the file of a client that may have been killed: a request without an end has an unknown outcome."""
    events: dict[int, Event] = {}
    # What stands behind the last newline was being written when the client died.
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = _decode(line)
        events[record.id] = record.event
    return list(events.values())


def by_upload(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Sort events by upload, keeping their order."""
    uploads: dict[str, list[Event]] = {}
    for event in events:
        uploads.setdefault(event.upload, []).append(event)
    return uploads
