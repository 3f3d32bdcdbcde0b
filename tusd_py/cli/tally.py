"""How far some transfers are: counted from their events, in figures that can be shown at any moment."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from tusd_py.client.records import Checking, Created, Event, Finished, Progress, Restarted, Resumed, Retrying

_SPAN = 8.0
"""Seconds over which speed is measured: long enough to be calm, short enough to be true."""


class Pace:
    """How fast a count grows."""

    def __init__(self, now: float) -> None:
        self._seen = deque([(now, 0)])

    def add(self, now: float, count: int) -> None:
        """Note how large the count is."""
        seen = self._seen
        seen.append((now, count))
        while len(seen) > 2 and now - seen[0][0] > _SPAN:
            seen.popleft()

    def rate(self, now: float) -> float:
        """Return how much is added per second; while nothing is, this goes down."""
        began, least = self._seen[0]
        return (self._seen[-1][1] - least) / max(now - began, 1.0)


class Row:
    """One file on its way."""

    def __init__(self, size: int | None, now: float) -> None:
        self.size = size
        """Bytes; None = not known (yet)."""
        self.offset = 0
        """Bytes that are there."""
        self.sent = 0
        """Bytes that this run has moved."""
        self.retrying: Retrying | None = None
        """What failed last, while it is waited for the next try and until that moves something."""
        self.again_at = 0.0
        """When that is tried again."""
        self.checking = False
        self.told_at = now
        """When a line about it was last printed."""
        self.pace = Pace(now)

    @property
    def missing(self) -> int | None:
        """Bytes that are not there; None = nobody knows."""
        return None if self.size is None else max(self.size - self.offset, 0)


class Tally:
    """What has become of some files. One that ends is dropped from `rows` and counted."""

    def __init__(self, sizes: Iterable[int | None], now: Callable[[], float] = time.monotonic) -> None:
        known = list(sizes)
        self.files = len(known)
        self.size: int | None = None if None in known else sum(filter(None, known))
        """Bytes of all files, without those that failed; None = not known."""
        self.rows: dict[str, Row] = {}
        self.arrived = 0
        self.failed = 0
        self.sent = 0
        """Bytes that this run has moved."""
        self.now = now
        self.began = now()
        self.pace = Pace(self.began)
        self._ended = 0

    @property
    def offset(self) -> int:
        """Bytes that are there, of all files."""
        return self._ended + sum(row.offset for row in self.rows.values())

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self.now() - self.began

    def begin(self, file: str, size: int | None) -> None:
        """Count a file that is begun."""
        self.rows[file] = Row(size, self.now())

    def take(self, file: str, event: Event) -> Row:
        """Count what has happened to a file; return its row, also the one that is dropped."""
        row, now = self.rows[file], self.now()
        match event:
            case Created():
                row.offset = 0
                self._measure(row, event.size)
            case Resumed():
                row.offset = event.offset
                self._measure(row, event.size)
            case Progress():
                row.offset, row.retrying = event.offset, None
                self._measure(row, event.size)
                self._move(row, event.sent, now)
            case Retrying():
                row.retrying, row.again_at = event, now + event.delay
            case Restarted():
                row.offset = 0
            case Checking():
                row.checking, row.retrying = True, None
            case Finished():
                row.offset = event.size
                self._measure(row, event.size)
                self._move(row, event.sent, now)
                self._ended += event.size
                self.arrived += 1
                del self.rows[file]
        return row

    def fail(self, file: str) -> None:
        """Count a file that does not arrive, begun or not."""
        self.failed += 1
        row = self.rows.pop(file, None)
        if row and self.size is not None:
            self.size -= row.size or 0

    def _measure(self, row: Row, size: int | None) -> None:
        """Believe a transfer's own word on its size: a file may have grown since it was found."""
        if self.size is not None and row.size is not None and size is not None:
            self.size += size - row.size
        row.size = size

    def _move(self, row: Row, sent: int, now: float) -> None:
        self.sent += sent - row.sent
        row.sent = sent
        row.pace.add(now, sent)
        self.pace.add(now, self.sent)
