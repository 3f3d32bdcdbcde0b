"""Programs that behave badly (row 57): nothing of them stays, and nothing they write costs much."""

from __future__ import annotations

import asyncio
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.waiting import until
from tusd_py.hooks import process
from tusd_py.hooks.process import MAX_OUTPUT, MAX_STDOUT, CommandFailed, Outcome, run_command

STUBBORN = "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
TELLS_PID = "import os, sys, time\nprint(os.getpid(), file=open(sys.argv[1], 'w'), flush=True)\n"


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    monkeypatch.setattr(process, "LINGER", 0.2)


@pytest.fixture(autouse=True)
async def no_zombies() -> AsyncIterator[None]:
    """No test leaves a child, dead or alive."""
    before = _children()
    yield
    await until(lambda: _same(before))


async def _same(before: set[int]) -> bool:
    return before >= _children()


def _children() -> set[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in lists for pid in path.read_text().split()}


def _is_alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    async def is_gone() -> bool:
        return not _is_alive(pid)

    await until(is_gone)


async def pid_in(path: Path) -> int:
    """The number that a program writes to a file as a line."""

    async def is_written() -> bool:
        return path.exists() and path.read_text().endswith("\n")

    await until(is_written, timeout=60)
    return int(path.read_text())


async def run(script: str, *arguments: object, stdin: bytes = b"", timeout: float = 60.0, **options: Any) -> Outcome:
    argv = [sys.executable, "-c", script, *map(str, arguments)]
    async with asyncio.timeout(100):
        return await run_command(argv, stdin=stdin, env={}, timeout=timeout, **options)


async def failure(script: str, *arguments: object, **options: Any) -> CommandFailed:
    with pytest.raises(CommandFailed) as caught:
        await run(script, *arguments, **options)
    return caught.value


async def test_output_is_what_it_wrote() -> None:
    """Up to the limit, to the byte, with its input as it was given."""
    size = MAX_STDOUT
    outcome = await run("import sys; sys.stdout.write(sys.stdin.read())", stdin=b"x" * size)
    assert Outcome(stdout=b"x" * size, output="") == outcome


@pytest.mark.parametrize("script", ["pass", "import os; os.close(0)", "import sys; sys.stdin.read(1)"])
async def test_input_need_not_be_read(script: str) -> None:
    """More than a pipe holds, and nobody who wants it."""
    assert b"" == (await run(script, stdin=b"x" * 1_000_000)).stdout


async def test_input_that_nobody_reads_does_not_hold_it_up() -> None:
    """It writes first, and reads when it likes."""
    script = "import sys; print('first', flush=True); print(len(sys.stdin.read()))"
    assert b"first\n1000000\n" == (await run(script, stdin=b"x" * 1_000_000)).stdout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit(42)", "exited with 42"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "ended by signal 40"),
    ],
)
async def test_bad_end_is_a_failure(script: str, said: str) -> None:
    """The message names the status or the signal."""
    assert (await failure(script)).message.endswith(said)


@pytest.mark.parametrize("argv", [["/no/such/program"], ["/"], ["/etc/passwd"]])
async def test_what_cannot_be_started_is_a_failure(argv: list[str]) -> None:
    """Missing, a directory, not executable."""
    with pytest.raises(CommandFailed, match="cannot be started"):
        await run_command(argv, stdin=b"", env={}, timeout=10)


async def test_endless_output_is_a_failure(tmp_path: Path) -> None:
    """10 MB, and more to come: it is ended, and not read on."""
    script = f"{TELLS_PID}while True: os.write(1, b'x' * 10_000_000)"
    error = await failure(script, tmp_path / "pid")
    assert "more than 65536 bytes" in error.message
    assert MAX_STDOUT == len(error.stdout)
    await gone(await pid_in(tmp_path / "pid"))


async def test_one_byte_too_many_is_a_failure() -> None:
    """Cutting it would make another answer of it."""
    assert "more than" in (await failure(f"print('x' * {MAX_STDOUT})")).message


@pytest.mark.parametrize("sieve", [None, lambda _: False], ids=["whole", "lines"])
async def test_flood_on_standard_error_is_thrown_away(sieve: Any) -> None:
    """50 MB: only the end is kept."""
    script = "import os\nfor _ in range(50): os.write(2, b'x' * 1_000_000)\nos.write(2, b'\\xffend')\nprint('ok')"
    tracemalloc.start()
    try:
        outcome = await run(script, sieve=sieve)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert b"ok\n" == outcome.stdout
    assert "x" * (MAX_OUTPUT - 4) + "\ufffdend" == outcome.output


async def test_a_long_line_is_bounded_too() -> None:
    """Waiting for the end of a line is no way to use memory."""
    assert "more than" in (await failure("print('x' * 10_000_000)", sieve=lambda _: True)).message


@pytest.mark.parametrize("prelude", ["", STUBBORN], ids=["plain", "ignores SIGTERM"])
async def test_at_the_deadline_all_of_it_is_ended(prelude: str, tmp_path: Path) -> None:
    """The program, and what it began; SIGKILL for those that do not listen."""
    script = (
        f"{prelude}import os, sys, time\n"
        "child = os.fork()\n"
        "if child: print(child, file=open(sys.argv[1], 'w'), flush=True)\n"
        "os.write(2, b'hangs')\n"
        "time.sleep(1000)"
    )
    error = await failure(script, tmp_path / "pid", timeout=1.0)
    assert "longer than 1 s" in error.message
    await gone(await pid_in(tmp_path / "pid"))
    assert "hangs" in error.output


async def test_it_may_clean_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM comes first, and time to heed it."""
    monkeypatch.setattr(process, "GRACE", 60.0)
    script = (
        "import os, signal\n"
        "def stop(*_): os.write(2, b'bye'); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "while True: signal.pause()"
    )
    error = await failure(script, timeout=2.0)
    assert "longer than" in error.message
    assert "bye" == error.output


async def test_what_holds_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    """A child of it that lives on, and does not listen: the answer counts, the child is ended."""
    script = (
        f"{STUBBORN}child = os.fork()\n"
        "if child:\n"
        "    print(child, file=open(sys.argv[1], 'w'), flush=True)\n"
        "    os.write(1, b'{}')\n"
        "    os._exit(0)\n"
        "time.sleep(1000)"
    )
    assert b"{}" == (await run(script, tmp_path / "pid")).stdout
    await gone(await pid_in(tmp_path / "pid"))


async def test_what_left_the_group_is_not_waited_for_either(tmp_path: Path) -> None:
    """It cannot be ended, but it keeps nobody waiting and no pipe open on this side."""
    script = (
        "import os, sys, time\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True)\n"
        "time.sleep(1000)"
    )
    before = len(os.listdir("/proc/self/fd"))
    assert b"" == (await run(script, tmp_path / "pid", stdin=b"x" * 1_000_000)).stdout
    pid = await pid_in(tmp_path / "pid")

    async def all_closed() -> bool:
        return len(os.listdir("/proc/self/fd")) <= before

    try:
        await until(all_closed)
    finally:
        os.kill(pid, 9)


async def test_a_service_that_it_started_lives_on(tmp_path: Path) -> None:
    """With its outputs closed it is in nobody's way, as scripts that use `&` expect."""
    argv = ["/bin/sh", "-c", 'sleep 1000 >/dev/null 2>&1 </dev/null & echo $! > "$0"', str(tmp_path / "pid")]
    async with asyncio.timeout(60):
        await run_command(argv, stdin=b"", env={"PATH": os.environ["PATH"]}, timeout=30)
    pid = await pid_in(tmp_path / "pid")
    assert _is_alive(pid)
    os.kill(pid, 9)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("prelude", ["", STUBBORN], ids=["plain", "ignores SIGTERM"])
async def test_cancelling_leaves_nothing(times: int, prelude: str, tmp_path: Path) -> None:
    """Also when whoever waits is cancelled once more while it is being ended."""
    script = f"{prelude}{TELLS_PID}time.sleep(1000)"
    running = asyncio.create_task(run(script, tmp_path / "pid"))
    pid = await pid_in(tmp_path / "pid")
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(pid)


def test_it_is_the_same_on_uvloop() -> None:
    """Input, outputs, deadline and what lives on."""

    async def main() -> None:
        size = MAX_STDOUT
        outcome = await run("import sys; sys.stdout.write(sys.stdin.read()); sys.exit(0)", stdin=b"x" * size)
        assert size == len(outcome.stdout)
        assert b"" == (await run("pass", stdin=b"x" * 1_000_000)).stdout
        assert "longer than" in (await failure(f"{STUBBORN}time.sleep(1000)", timeout=0.5)).message
        forks = "import os, time\nif os.fork(): os._exit(0)\ntime.sleep(1000)"
        assert b"" == (await run(forks)).stdout
        assert "exited with 3" in (await failure("import sys; sys.exit(3)")).message

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
