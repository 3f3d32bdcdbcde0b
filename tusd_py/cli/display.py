"""What people, and their programs, see of transfers: plain lines, JSON lines, or nothing but results and failures.

Results go to standard output, everything else to standard error. What a terminal shows is in `terminal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, ClassVar, Self

import click
import msgspec

from tusd_py.cli.tally import Row, Tally
from tusd_py.cli.text import printable, round_size, round_span
from tusd_py.cli.transfer_options import Failure
from tusd_py.client.records import Checking, Created, Event, Finished, Restarted, Resumed, Retrying, Warned

_SILENCE = 10.0
"""Seconds after which a file on its way is told of again, on plain lines."""


class Display:
    """Tells of transfers; this one of results and failures only. Used by one event loop, inside its `async with`.

    Files are known by their names, which are shown.
    """

    interval: ClassVar[float | None] = None
    """Seconds between two calls of `tick`; None = it has no need of them."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.unwritten: str | None = None
        """Why results could not be written to standard output; None = all were."""
        self._ticking: asyncio.Task[None] | None = None

    def begin(self, file: str, size: int | None) -> None:
        """Say that a file is begun. `size` in bytes; None = not known."""
        self.tally.begin(file, size)

    def show(self, file: str, event: Event) -> None:
        """Say what has happened to a file that was begun."""
        self.tell(file, self.tally.take(file, event), event)

    def fail(self, file: str, failure: Failure) -> None:
        """Say why a file, begun or not, does not arrive."""
        self.tally.fail(file)
        about = "" if file in failure.sentence else f"{file}: "
        self.say(f"Error: {printable(about + failure.sentence)}", error=True)

    def result(self, line: str) -> None:
        """Write a line that other programs read."""
        self.write(line)

    def note(self, sentence: str) -> None:
        """Say something by the way."""

    def end(self, exit_code: int) -> None:
        """Say what it has all come to, when the block has ended."""

    def tell(self, file: str, row: Row, event: Event) -> None:
        """Show an event that has been counted; `row` has the figures. For subclasses."""

    def tick(self) -> None:
        """Show how far everything is. For subclasses."""

    def close(self) -> None:
        """Show nothing more of what changes, and leave the terminal in order. May be called at any moment."""

    def say(self, line: str, *, error: bool = False) -> None:
        """Write a line for people; `error` = whatever else they do not want to see."""
        if error:
            self.print(line)

    @staticmethod
    def print(line: str) -> None:
        """Write a line to standard error. When nobody can read it, work goes on."""
        with contextlib.suppress(OSError):
            click.echo(line, err=True)

    def write(self, line: str | bytes) -> None:
        """Write a line to standard output; once this has failed, nothing more is tried."""
        if self.unwritten is None:
            try:
                click.echo(line)
            except OSError as error:
                self.unwritten = error.strerror or str(error)

    async def __aenter__(self) -> Self:
        if self.interval is not None:
            self._ticking = asyncio.create_task(self._tick(self.interval), name="tusd-py display")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        self.close()

    async def _tick(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.tick()


class PlainDisplay(Display):
    """Lines for a log, or for a terminal that can do no more."""

    interval = 1.0

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self._warned: set[str] = set()

    def note(self, sentence: str) -> None:
        """Say something by the way."""
        self.say(printable(sentence))

    def end(self, exit_code: int) -> None:
        """Sum up, when there was more than one file."""
        if self.tally.files > 1:
            self.say(summary(self.tally))

    def tell(self, file: str, row: Row, event: Event) -> None:
        """Write a line for everything but progress, and the same warning once, however many files there are."""
        if isinstance(event, Warned):
            if event.reason in self._warned:
                return
            self._warned.add(event.reason)
        if text := sentence(event):
            row.told_at = self.tally.now()
            self.say(f"{printable(file)}: {text}")

    def tick(self) -> None:
        """Write a line about each file of which nothing was said for a while."""
        now = self.tally.now()
        for file, row in self.tally.rows.items():
            if now - row.told_at >= _SILENCE:
                row.told_at = now
                self.say(f"{printable(file)}: {standing(row, now)}")

    def say(self, line: str, *, error: bool = False) -> None:
        """Write a line for people."""
        self.print(line)


class JsonDisplay(Display):
    """One JSON object per event and line, on standard output; failures are told to people, too."""

    def fail(self, file: str, failure: Failure) -> None:
        """Say why a file, begun or not, does not arrive."""
        super().fail(file, failure)
        self._write("failed", file, msgspec.to_builtins(failure) | {"sentence": printable(failure.sentence)})

    def result(self, line: str) -> None:
        """Write nothing: the event of the end has it all."""

    def note(self, sentence: str) -> None:
        """Say something by the way."""
        self.print(printable(sentence))

    def end(self, exit_code: int) -> None:
        """Sum up."""
        tally = self.tally
        record = {
            "event": "summary",
            "files": tally.files,
            "arrived": tally.arrived,
            "failed": tally.failed,
            "sent": tally.sent,
            "seconds": tally.seconds,
            "exit_code": exit_code,
        }
        self.write(msgspec.json.encode(record))

    def tell(self, file: str, row: Row, event: Event) -> None:
        """Write the event."""
        fields = msgspec.to_builtins(event)
        self._write(fields.pop("event"), file, fields)

    def _write(self, event: str, file: str, fields: dict[str, Any]) -> None:
        # A name need not be text.
        name = os.fsencode(file).decode(errors="backslashreplace")
        self.write(msgspec.json.encode({"event": event, "file": name, **fields}))


def open_display(sizes: Iterable[int | None], *, as_json: bool, quiet: bool) -> Display:
    """Return the display that suits the flags and the terminal.

    Args:
        sizes: of all files, in bytes; None = not known.
        as_json: the flag `--json`; it wins.
        quiet: the flag `--quiet`.
    """
    tally = Tally(sizes)
    if as_json:
        return JsonDisplay(tally)
    if quiet:
        return Display(tally)
    if sys.stderr and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb"):
        # Takes a tenth of a second, and nobody else needs it.
        from tusd_py.cli.terminal import TerminalDisplay  # noqa: PLC0415

        return TerminalDisplay(tally)
    return PlainDisplay(tally)


def sentence(event: Event) -> str:
    """Return what a line says of an event; '' for those of which there are too many."""
    text = ""
    match event:
        case Created():
            parts = f", in {event.parts} parts" if event.parts > 1 else ""
            text = f"begins, {_size(event.size)}{parts}"
        case Resumed():
            text = f"goes on at {round_size(event.offset)} of {_size(event.size)}"
        case Retrying():
            text = f"attempt {event.attempt} failed: {printable(event.reason)}; trying again in {wait(event.delay)}"
        case Restarted():
            text = f"begins anew: {printable(event.reason)}"
        case Warned():
            text = f"warning: {printable(event.reason)}"
        case Checking():
            text = "all bytes are there; checking them"
        case Finished():
            verified = ", verified" if event.verified else ""
            text = f"arrived, {round_size(event.size)} in {round_span(event.seconds)}{verified}"
    return text


def standing(row: Row, now: float) -> str:
    """Return how far a file is."""
    if row.checking:
        return "checking"
    if row.retrying:
        return f"waiting since attempt {row.retrying.attempt} failed: {printable(row.retrying.reason)}"
    rate = row.pace.rate(now)
    parts = [f"{percent(row.offset, row.size)} %"] if row.size else []
    there = "so far" if row.size is None else f"of {round_size(row.size)}"
    parts += [f"{round_size(row.offset)} {there}", f"{round_size(int(rate))}/s"]
    parts += [f"{left} left"] if (left := remaining(row.missing, rate)) else []
    return ", ".join(parts)


def summary(tally: Tally) -> str:
    """Return what some files have come to."""
    left = tally.files - tally.arrived - tally.failed
    failed = f", {tally.failed} failed" if tally.failed else ""
    others = f", {left} did not get their turn or were cut off" if left else ""
    took = f"{round_size(tally.sent)} moved in {round_span(tally.seconds)}"
    return f"{tally.arrived} of {tally.files} files arrived{failed}{others}; {took}"


def percent(offset: int, size: int) -> int:
    """Return how much is there; never 100 while a byte is missing."""
    return offset * 100 // size if size else 100


def remaining(missing: int | None, rate: float) -> str:
    """Return how long it will take at this rate; '' = nobody can tell."""
    return round_span(missing / rate) if missing and rate >= 1 else ""


def wait(seconds: float) -> str:
    """Return a delay, exactly where it is short."""
    return f"{seconds:.1f}s" if seconds < 10 else round_span(seconds)


def _size(size: int | None) -> str:
    return "size not known yet" if size is None else round_size(size)
