"""Running a program for hooks and jobs, so that nothing of it outlives its time and nothing it writes can do harm.

Reliability 5.2, rows 54, 57 and 58: no shell, its own process group, bounded output, no environment but what is named.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tusd_py.errors import HookFailed

MAX_STDOUT = 64 * 1024
"""Most bytes that a program may write to its standard output, reports of progress not counted."""
MAX_OUTPUT = 4 * 1024
"""Bytes of what it writes that are kept for people, the last ones."""
GRACE = 2.0
"""Seconds from SIGTERM to SIGKILL."""
LINGER = 1.0
"""Seconds for which the output may stay open when the program has ended: something that it began still holds it."""

_ALLOWED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
_STDIN, _STDOUT, _STDERR = 0, 1, 2

Sieve = Callable[[bytes], bool]
"""Looks at a line of the standard output, without its end; True = it is taken and is no part of the answer."""


class CommandFailed(HookFailed):
    """The program could not be run, or it did not end well."""

    def __init__(self, message: str, *, output: str = "", stdout: bytes = b"") -> None:
        super().__init__(message)
        self.output = output
        """The end of its standard error, at most `MAX_OUTPUT` bytes."""
        self.stdout = stdout
        """Its standard output as far as it was read, at most `MAX_STDOUT` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program that ended well has written."""

    stdout: bytes
    output: str
    """The end of its standard error, at most `MAX_OUTPUT` bytes."""


def environment(names: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: the harmless part of the server's, what `names` adds to it, and `own`."""
    allowed = {*_ALLOWED, *names}
    return {key: value for key, value in os.environ.items() if key in allowed or key.startswith("LC_")} | dict(own)


def tail(data: bytes | bytearray) -> str:
    """Return the end of what a program wrote as text, at most `MAX_OUTPUT` bytes of it."""
    return data[-MAX_OUTPUT:].decode("utf-8", "replace")


async def run_command(
    argv: Sequence[str],
    *,
    stdin: bytes,
    env: Mapping[str, str],
    timeout: float,
    cwd: Path | None = None,
    sieve: Sieve | None = None,
) -> Outcome:
    """Run a program to its end, in a session of its own.

    When the time is over, when it writes too much or when this is cancelled, SIGTERM goes to everything that it
    began, and SIGKILL after `GRACE`. What it left behind with closed outputs when it ended by itself is let alone:
    it is a service that it started; what holds an output open for more than `LINGER` is not waited for, and killed.

    Args:
        argv: the program and its arguments; anybody on the machine can read them.
        stdin: given to it while its output is read; it may leave it.
        env: all of its environment.
        timeout: seconds until SIGTERM.
        cwd: None = that of the server.
        sieve: takes lines out of the standard output.

    Raises:
        CommandFailed: it cannot be started, takes too long, writes too much, is killed or says that it failed.
    """
    child = _Child(sieve)
    problem = ""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            place = None if cwd is None else str(cwd)
            await loop.subprocess_exec(lambda: child, *argv, env=dict(env), cwd=place, start_new_session=True)
            child.feed(stdin)
            await child.wait()
    except TimeoutError:
        problem = f"the command took longer than {timeout:g} s"
    except OSError as error:
        problem = f"the command cannot be started: {error.strerror}"
    finally:
        await child.clear()
    # Not before: what it says when it is told to end is worth reading.
    if problem := problem or child.problem():
        raise CommandFailed(problem, output=tail(child.stderr), stdout=bytes(child.stdout[:MAX_STDOUT]))
    return Outcome(stdout=bytes(child.stdout), output=tail(child.stderr))


class _Child(asyncio.SubprocessProtocol):
    """A program that runs: what it writes is read for as long as it writes; what is too much is thrown away."""

    def __init__(self, sieve: Sieve | None) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._sieve = sieve
        self._line = bytearray()
        self._transport: asyncio.SubprocessTransport | None = None
        self._open = {_STDIN, _STDOUT, _STDERR}
        self._has_exited = self._overflowed = False
        self._stopped = asyncio.Event()
        """It exited, or wrote too much."""
        self._gone = asyncio.Event()
        """It exited, and nobody holds its outputs."""

    def feed(self, data: bytes) -> None:
        """Give it its input; what it does not read is no loss."""
        pipe = self._input()
        pipe.write(data)
        pipe.write_eof()

    async def wait(self) -> None:
        """Wait until there is nothing more to expect of it."""
        await self._stopped.wait()
        if not self._overflowed:
            await _within(LINGER, self._gone)

    async def clear(self) -> None:
        """End whatever of it is still there, and release everything. Cancelling makes that quicker, not less."""
        if self._transport is None:
            return
        try:
            if not self._gone.is_set():
                await self._end(self._transport.get_pid())
        finally:
            # Closing waits until what was written is read, which may be never.
            if _STDIN in self._open:
                self._input().abort()
            self._transport.close()

    def problem(self) -> str:
        """Return why it did not end well; empty when it did."""
        assert self._transport is not None
        if self._overflowed:
            return f"the command wrote more than {MAX_STDOUT} bytes to its standard output"
        code = self._transport.get_returncode()
        assert code is not None
        if not code:
            return ""
        return f"the command was ended by {_name(-code)}" if code < 0 else f"the command exited with {code}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It runs."""
        # Of uvloop it is one in all but its class.
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It wrote something."""
        if fd == _STDERR:
            self.stderr += data
            del self.stderr[:-MAX_OUTPUT]
        elif not self._overflowed:
            self._sift(data)
            if len(self.stdout) + len(self._line) > MAX_STDOUT:
                self._overflowed = True
                self._stopped.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It closed one of its ends."""
        del exc  # it need not read its input
        if fd == _STDOUT:
            self.stdout += self._line
            self._line.clear()
        self._open.discard(fd)
        self._look()

    def process_exited(self) -> None:
        """It exited; what it began may still write."""
        self._has_exited = True
        self._stopped.set()
        self._look()

    def _look(self) -> None:
        if self._has_exited and self._open <= {_STDIN}:
            self._gone.set()

    def _sift(self, data: bytes) -> None:
        if self._sieve is None:
            self.stdout += data
            return
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        for line in lines:
            if not self._sieve(bytes(line)):
                self.stdout += line + b"\n"

    async def _end(self, group: int) -> None:
        try:
            _signal(group, signal.SIGTERM)
            await _within(GRACE, self._gone)
        finally:
            # Also when it has gone: something that it began may run on with closed outputs.
            _signal(group, signal.SIGKILL)
        await _within(GRACE, self._gone)

    def _input(self) -> asyncio.WriteTransport:
        assert self._transport is not None
        return cast("asyncio.WriteTransport", self._transport.get_pipe_transport(_STDIN))


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, but not longer than that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _name(number: int) -> str:
    """Return what people call a signal; those for real time have no names."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _signal(group: int, number: signal.Signals) -> None:
    # None of it is left, or it gave itself rights that this process does not have.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
