"""Transfers on a terminal: a bar per file on its way, a total, and a line for each that has ended.

Imported only where there is a terminal.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tusd_py.cli.display import PlainDisplay, percent, remaining, wait
from tusd_py.cli.tally import Row, Tally
from tusd_py.cli.text import printable, round_size
from tusd_py.client.records import Event, Finished, Restarted, Resumed, Warned

_GAP = "  "
_LONGEST_NAME = 40
_LONGEST_BAR = 40
_SHORTEST_BAR = 8
_REST = 47
"""Cells of everything but name and bar."""
_DONE, _MISSING = "━", "─"
_ELLIPSIS = "…"


class TerminalDisplay(PlainDisplay):
    """Bars at the bottom of the terminal, above them a line for each file that has ended."""

    interval = 0.1

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._live: Live | None = None
        self._lines: list[tuple[bool, str | bytes]] = []
        """What is to be written above the bars: whether to standard output, and what."""

    def tell(self, file: str, row: Row, event: Event) -> None:
        """Leave a line for what cannot be seen any more in a moment; the bars show the rest."""
        if isinstance(event, Resumed | Restarted | Warned | Finished):
            super().tell(file, row, event)

    def say(self, line: str, *, error: bool = False) -> None:
        """Write a line for people above the bars, soon."""
        self._lines.append((False, line))

    def write(self, line: str | bytes) -> None:
        """Write a line to standard output, soon: it may be the same terminal."""
        self._lines.append((True, line))

    def tick(self) -> None:
        """Write the lines that have gathered, and draw the bars anew."""
        if self._lines:
            self.close()
        if self.tally.rows and self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        if self._live is not None:
            self._live.refresh()

    def close(self) -> None:
        """Take the bars away, and write the lines that have gathered."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        lines, self._lines = self._lines, []
        for is_result, line in lines:
            if is_result:
                super().write(line)
            else:
                self.print(str(line))

    def end(self, exit_code: int) -> None:
        """Sum up, when there was more than one file."""
        super().end(exit_code)
        self.close()

    def _render(self) -> Text:
        now, width = self.tally.now(), self._console.width
        rows = [line(file, row, now, width) for file, row in self.tally.rows.items()]
        if self.tally.files > 1:
            rows.append(total(self.tally, now, width))
        return Text("\n").join(rows)


def line(file: str, row: Row, now: float, width: int) -> Text:
    """Return one file on its way, in so many cells."""
    text = _begin(printable(file), row.offset, row.size, width)
    if row.retrying:
        when = f"again in {wait(row.again_at - now)}" if row.again_at > now else "trying again"
        text.append(f"{when}: {printable(row.retrying.reason)}", "yellow")
    elif row.checking:
        text.append("checking", "cyan")
    else:
        _end(text, row.offset, row.size, row.pace.rate(now))
    text.truncate(width, overflow="ellipsis")
    return text


def total(tally: Tally, now: float, width: int) -> Text:
    """Return the sum of all files, in so many cells."""
    offset = tally.offset
    text = _begin(f"{tally.arrived} of {tally.files} files", offset, tally.size, width)
    _end(text, offset, tally.size, tally.pace.rate(now))
    text.truncate(width, overflow="ellipsis")
    return text


def shortened(text: str, width: int) -> str:
    """Return a text in exactly so many cells: what is too long lacks its middle, what is too short has spaces."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    rest = width - cell_len(_ELLIPSIS)
    tail = set_cell_size(text[::-1], rest // 2)[::-1]
    return set_cell_size(text, rest - rest // 2) + _ELLIPSIS + tail


def _begin(name: str, offset: int, size: int | None, width: int) -> Text:
    """Return the columns that are always there: name and bar."""
    names = min(width // 4, _LONGEST_NAME)
    bar = max(min(width - names - _REST, _LONGEST_BAR), _SHORTEST_BAR)
    done = min(offset * bar // size, bar) if size else bar if size == 0 else 0
    text = Text(shortened(name, names) + _GAP, no_wrap=True)
    text.append(_DONE * done, "green")
    text.append(_MISSING * (bar - done), "bright_black")
    return text.append(_GAP)


def _end(text: Text, offset: int, size: int | None, rate: float) -> None:
    """Add the columns of a transfer that moves: percent, bytes, speed, time left."""
    share = "" if size is None else f"{percent(offset, size)}%"
    of = round_size(offset) if size is None else f"{_in_unit_of(offset, size)}/{round_size(size)}"
    left = remaining(None if size is None else size - offset, rate)
    text.append(f"{share:>4}{_GAP}{of:>15}{_GAP}{round_size(int(rate)):>9}/s{_GAP}{left:>7}")


def _in_unit_of(offset: int, size: int) -> str:
    """Return the figure of an offset in the unit in which the size is shown."""
    figure, unit = round_size(size).split()
    return str(offset) if unit == "B" else f"{offset * float(figure) / size:.1f}"
