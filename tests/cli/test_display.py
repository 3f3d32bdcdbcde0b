"""What is shown of transfers: on lines, as JSON, and on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from rich.cells import cell_len

from tests.cli.commands import Command, Running
from tests.support.servers import Target
from tusd_py.cli.display import Display, JsonDisplay, PlainDisplay, open_display
from tusd_py.cli.tally import Pace, Tally
from tusd_py.cli.terminal import line, shortened, total
from tusd_py.cli.transfer_options import Failure
from tusd_py.client.records import (
    Checking,
    Created,
    Event,
    Finished,
    Progress,
    Restarted,
    Resumed,
    Retrying,
    Warned,
)

MIB = 2**20
URL = "http://a.example/files/1"
LOST = Retrying(reason="connection\x1b lost", delay=2.5, attempt=3, status=None)
DONE = Finished(url=URL, size=4 * MIB, sent=3 * MIB, seconds=62.0, verified=True)


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The only one."""
    return Clock()


def _moved(offset: int, size: int | None = 4 * MIB, sent: int | None = None) -> Progress:
    return Progress(offset=offset, size=size, sent=offset if sent is None else sent)


def test_each_event_has_its_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and reasons cannot move a cursor; a retry tells reason, delay and attempt."""
    display = PlainDisplay(Tally([4 * MIB], clock))
    display.begin("a\n", 4 * MIB)
    events: list[Event] = [
        Created(url=URL, size=4 * MIB, parts=1),
        Created(url=URL, size=None, parts=2),
        Resumed(url=URL, size=4 * MIB, offset=MIB, parts=1),
        _moved(2 * MIB),
        LOST,
        Restarted(reason="the server has forgotten it"),
        Warned(reason="no store"),
        Warned(reason="no store"),
        Checking(),
        DONE,
    ]
    for event in events:
        display.show("a\n", event)
    assert capsys.readouterr().err.splitlines() == [
        "a\\n: begins, 4.0 MiB",
        "a\\n: begins, size not known yet, in 2 parts",
        "a\\n: goes on at 1.0 MiB of 4.0 MiB",
        "a\\n: attempt 3 failed: connection\\x1b lost; trying again in 2.5s",
        "a\\n: begins anew: the server has forgotten it",
        "a\\n: warning: no store",
        "a\\n: all bytes are there; checking them",
        "a\\n: arrived, 4.0 MiB in 1m 2s, verified",
    ]


def test_a_file_is_told_of_again_after_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """How far it is, how fast, how long it will take; or for what it waits."""
    display = PlainDisplay(Tally([4 * MIB], clock))
    display.begin("a", 4 * MIB)
    for _ in range(10):
        clock.now += 1
        display.show("a", _moved(int(clock.now - 1000) * MIB // 10))
        display.tick()
    display.tick()
    display.show("a", LOST)
    clock.now += 10
    display.tick()
    assert capsys.readouterr().err.splitlines() == [
        "a: 25 %, 1.0 MiB of 4.0 MiB, 102.4 KiB/s, 29s left",
        "a: attempt 3 failed: connection\\x1b lost; trying again in 2.5s",
        "a: waiting since attempt 3 failed: connection\\x1b lost",
    ]


def test_the_sum_is_told_for_several_files(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """What arrived, what failed and why, what had no turn."""
    display = PlainDisplay(Tally([4 * MIB, 1, 1], clock))
    display.begin("a", 4 * MIB)
    display.show("a", DONE)
    display.result(f"{URL}\ta")
    display.begin("b", 1)
    display.fail("b", Failure(code="refused", sentence="no", exit_code=3))
    clock.now += 61
    display.end(3)
    said = capsys.readouterr()
    assert f"{URL}\ta\n" == said.out
    assert said.err.splitlines()[1:] == [
        "Error: b: no",
        "1 of 3 files arrived, 1 failed, 1 did not get their turn or were cut off; 3.0 MiB moved in 1m 1s",
    ]


def test_quiet_is_results_and_failures(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure names its file, unless its sentence does."""
    display = open_display([1, 1], as_json=False, quiet=True)
    assert type(display) is Display
    display.note("by the way")
    display.begin("a", 1)
    for event in (Created(url=URL, size=1, parts=1), LOST, DONE):
        display.show("a", event)
    display.result(URL)
    display.fail("/b", Failure(code="source-unusable", sentence="/b cannot be read\n", exit_code=2))
    display.end(2)
    assert (f"{URL}\n", "Error: /b cannot be read\\n\n") == capsys.readouterr()


def test_json_is_one_object_per_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Each event with its file, failures and the sum too; a name that is no text does not break it."""
    display = JsonDisplay(Tally([1, 1], clock))
    display.begin("\udcff", 1)
    display.show("\udcff", LOST)
    display.result("not shown")
    failure = Failure(code="refused", sentence="no", exit_code=3, status=413, error="ERR_MAX_SIZE_EXCEEDED")
    display.fail("\udcff", failure)
    display.end(3)
    said = capsys.readouterr()
    assert "Error: \\udcff: no\n" == said.err
    assert [msgspec.json.decode(each) for each in said.out.splitlines()] == [
        {
            "event": "retrying",
            "file": "\\xff",
            "reason": "connection\x1b lost",
            "delay": 2.5,
            "attempt": 3,
            "status": None,
        },
        {
            "event": "failed",
            "file": "\\xff",
            "code": "refused",
            "sentence": "no",
            "exit_code": 3,
            "status": 413,
            "error": "ERR_MAX_SIZE_EXCEEDED",
        },
        {"event": "summary", "files": 2, "arrived": 0, "failed": 1, "sent": 0, "seconds": 0.0, "exit_code": 3},
    ]


def test_the_tally_adds_up(clock: Clock) -> None:
    """Files that end, fail, grow, go back and are resumed are counted right."""
    tally = Tally([4 * MIB, 100, 50], clock)
    tally.begin("a", 4 * MIB)
    tally.begin("b", 100)
    tally.take("a", Resumed(url=URL, size=4 * MIB, offset=MIB, parts=1))
    tally.take("a", _moved(2 * MIB, sent=MIB))
    tally.take("b", _moved(60, 120))
    assert (4 * MIB + 170, 2 * MIB + 60, MIB + 60) == (tally.size, tally.offset, tally.sent)
    tally.take("b", Restarted(reason="lost"))
    tally.take("a", DONE)
    assert (4 * MIB, 3 * MIB + 60, 1, ["b"]) == (tally.offset, tally.sent, tally.arrived, list(tally.rows))
    tally.fail("b")
    tally.fail("never begun")
    assert (4 * MIB + 50, 4 * MIB, 2, {}) == (tally.size, tally.offset, tally.failed, tally.rows)
    assert Tally([1, None], clock).size is None


def test_speed_is_of_the_last_seconds() -> None:
    """What moved long ago does not count, and while nothing moves it goes down."""
    pace = Pace(0.0)
    for second in range(1, 21):
        pace.add(float(second), second * 1000)
    for second in range(21, 41):
        pace.add(float(second), 20000 + (second - 20) * 10)
    assert 10 == round(pace.rate(40.0))
    assert 1 >= pace.rate(140.0)
    assert 0 == Pace(0.0).rate(0.0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short     "),
        ("exactly 10", "exactly 10"),
        ("a long name.tar", "a lon….tar"),
        ("世界世界世界世界", "世界 …世界"),
    ],
)
def test_long_names_lack_their_middle(text: str, shown: str) -> None:
    """Beginning and end tell files apart; characters may be two cells wide."""
    assert shown == shortened(text, 10)
    assert 10 == cell_len(shortened(text, 10))


def test_lines_of_a_terminal_fit(clock: Clock) -> None:
    """In 80 columns everything can be read; in fewer the end is cut."""
    tally = Tally([4 * MIB, 2**34, None], clock)
    name = "photographs/of a long summer/IMG_2031.heic"
    tally.begin(name, 4 * MIB)
    clock.now += 1
    row = tally.take(name, _moved(3 * MIB))
    rendered = line(name, row, clock.now, 80)
    assert "photograph…2031.heic  ━━━━━━━━━────   75%      3.0/4.0 MiB    3.0 MiB/s       0s" == rendered.plain
    row = tally.take(name, LOST)
    assert "again in 2.5s: connection\\x1b lost" in line(name, row, clock.now, 80).plain
    clock.now += 3
    assert "trying again: connection\\x1b lost" in line(name, row, clock.now, 80).plain
    row = tally.take(name, Checking())
    assert "checking" in line(name, row, clock.now, 80).plain
    assert "0 of 3 files" in total(tally, clock.now, 80).plain
    for width in (10, 20, 40, 80, 200):
        assert cell_len(line(name, row, clock.now, width).plain) <= width
        assert cell_len(total(tally, clock.now, width).plain) <= width


class Terminal:
    """What a person sees: the other end of a pseudo-terminal."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.seen = ""
        self._more = asyncio.Event()
        self.ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._fd)
            self.ended.set()
        self.seen += data.decode(errors="replace")
        self._more.set()

    async def until(self, pattern: str) -> str:
        """Wait until something was written; return everything."""
        async with asyncio.timeout(30):
            while not re.search(pattern, self.seen):
                assert not self.ended.is_set(), self.seen
                self._more.clear()
                await self._more.wait()
        return self.seen

    @property
    def lines(self) -> list[str]:
        """What is left on it, without colours and what was erased again."""
        left: list[str] = []
        for each in self.seen.replace("\r\n", "\n").split("\n"):
            for _ in range(each.count("\x1b[1A")):
                left.pop()
            left.append(re.sub(r".*\x1b\[2K|\x1b\[[?0-9;]*[a-zA-Z]|\r", "", each))
        return [each for each in left if each]


@contextlib.asynccontextmanager
async def _on_terminal(
    command: Command, *args: object, results: bool = False, term: str = "xterm-256color", columns: int = 80
) -> AsyncIterator[tuple[Terminal, Running]]:
    """Run a command whose messages, and with `results` whose results, too, go to a terminal."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    terminal = Terminal(ours)
    try:
        streams = {"stderr": theirs, "stdout": theirs if results else asyncio.subprocess.PIPE}
        running = await command.start(*args, env=command.env | {"TERM": term}, **streams)
        os.close(theirs)
        async with running:
            yield terminal, running
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)


def _file(tmp_path: Path, name: str, size: int) -> Path:
    path = tmp_path / name
    path.write_bytes(random.Random(size).randbytes(size))
    return path


async def test_a_terminal_has_bars_and_keeps_what_is_over(
    command: Command, uploads_server: Target, tmp_path: Path
) -> None:
    """Bars while files are on their way; at the end a line for each, the results, and a cursor."""
    words = ["upload", *(_file(tmp_path, f"{name}.bin", MIB) for name in "abc"), uploads_server.url]
    async with _on_terminal(command, *words, "--limit-rate=4MiB", "--jobs=1", results=True) as (terminal, running):
        await terminal.until("arrived, 1.0 MiB(?s:.*)━━━━━")
        await terminal.until(r"3 of 3 files arrived; 3.0 MiB moved")
        assert 0 == (await running.end()).code
    assert "━━━━━" in terminal.seen
    assert re.search(r" [0-9]+%  +[0-9.]+/1.0 MiB", terminal.seen)
    assert "0 of 3 files" in terminal.seen
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    assert 3 == len([each for each in terminal.lines if ".bin: arrived, 1.0 MiB in " in each])
    assert 3 == len([each for each in terminal.lines if each.startswith(uploads_server.url)])
    assert 7 == len(terminal.lines), terminal.lines


async def test_results_go_where_they_are_sent(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Bars on the terminal leave standard output to programs."""
    words = ("upload", _file(tmp_path, "a.bin", MIB), uploads_server.url, "--limit-rate=4MiB")
    async with _on_terminal(command, *words) as (terminal, running):
        await terminal.until("arrived")
        done = await running.end()
    assert (0, 1) == (done.code, len(done.lines))
    assert "━━━━━" in terminal.seen
    assert uploads_server.url not in terminal.seen


async def test_an_interrupted_terminal_is_left_in_order(
    command: Command, uploads_server: Target, tmp_path: Path
) -> None:
    """No bars are left over, the cursor is back, the last line says how it goes on, and so it does."""
    words = ("upload", _file(tmp_path, "a.bin", 3 * MIB), uploads_server.url, "--limit-rate=1MiB")
    async with _on_terminal(command, *words, results=True) as (terminal, running):
        await terminal.until(" [1-9][0-9]*%  ")
        running.process.send_signal(signal.SIGINT)
        await terminal.until("goes on from there")
        assert 130 == (await running.end()).code
    assert ["interrupted; nothing that has arrived is lost, and the same command goes on from there"] == terminal.lines
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    async with _on_terminal(command, *words[:-1], columns=200) as (terminal, running):
        await terminal.until("a.bin: goes on at [0-9.]+ [KM]iB of 3.0 MiB")
        assert 0 == (await running.end()).code


async def test_a_terminal_shows_why_it_waits(command: Command, tmp_path: Path) -> None:
    """Reason and time beside the bar."""
    words = ("upload", _file(tmp_path, "a.bin", 1), "http://127.0.0.1:1/", "--retry-for=2s")
    async with _on_terminal(command, *words) as (terminal, running):
        await terminal.until(r"(again in [0-9.]+s|trying again): .*refused")
        await terminal.until("Error: .*a.bin: nothing has gone forward")
        assert 4 == (await running.end()).code


@pytest.mark.parametrize("term", ["dumb", ""])
async def test_a_terminal_that_can_do_nothing_gets_lines(
    command: Command, uploads_server: Target, tmp_path: Path, term: str
) -> None:
    """Nothing is erased on it."""
    words = ("upload", _file(tmp_path, "a.bin", 1), uploads_server.url)
    async with _on_terminal(command, *words, term=term) as (terminal, running):
        await terminal.until("arrived")
        assert 0 == (await running.end()).code
    assert "\x1b" not in terminal.seen
