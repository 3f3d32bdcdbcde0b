"""What a process does while a block runs: instructions in user mode, or CPU time where they cannot be counted.

Instructions are steadier than seconds: they do not depend on the clock of the core, nor much on who else is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

from benchmarks.client import Failed
from benchmarks.measure import cpu_of

INSTRUCTIONS, CPU = "instructions", "CPU us"
EVENT = "instructions:u"
MICRO = 1_000_000
ANSWER = 10.0
SETTLING = 0.02
"""Seconds until a process that has nothing to do sleeps: its CPU clock is right only then."""


def unit() -> str:
    """Return what can be counted here."""
    if shutil.which("perf") is None:
        return CPU
    command = ["perf", "stat", "-x", ",", "-e", EVENT, "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    with contextlib.suppress(Failed):
        if done.returncode == 0 and parse(done.stderr, EVENT) > 0:
            return INSTRUCTIONS
    return CPU


def parse(said: str, event: str) -> float:
    """Return the figure of an event in what `perf stat -x ,` printed.

    Raises:
        Failed: There is none.
    """
    for line in said.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[2] == event and fields[0].replace(".", "").isdecimal():
            return float(fields[0])
    raise Failed("perf counted nothing")


@contextlib.contextmanager
def counting(pid: int, what: str, event: str = EVENT) -> Iterator[list[float]]:
    """Count what a process does until the block ends; yield a list that has one figure then.

    Args:
        pid: The process, with all its threads, also those that begin meanwhile.
        what: `INSTRUCTIONS` or `CPU` (microseconds, user and system).
        event: What perf is to count.
    """
    figure: list[float] = []
    if what == CPU:
        time.sleep(SETTLING)
        before = cpu_of([pid])
        yield figure
        time.sleep(SETTLING)
        figure.append((cpu_of([pid]) - before) * MICRO)
        return
    with contextlib.ExitStack() as stack:
        said, control, answers = (_Pipe(stack) for _ in range(3))
        theirs = [said.write, control.read, answers.write]
        command = ["perf", "stat", "-x", ",", "-e", event, "-D", "-1", "-p", str(pid)]
        command += ["--control", f"fd:{control.read.fileno()},{answers.write.fileno()}"]
        command += ["--log-fd", str(said.write.fileno())]
        with subprocess.Popen(command, pass_fds=[each.fileno() for each in theirs], stderr=subprocess.DEVNULL) as perf:
            for each in theirs:
                each.close()
            try:
                _tell(control, answers, b"enable\n")
                yield figure
                _tell(control, answers, b"disable\n")
                perf.send_signal(signal.SIGINT)
                perf.wait(ANSWER)
                figure.append(parse(said.read.read().decode(), event))
            finally:
                if perf.poll() is None:
                    perf.kill()


class _Pipe:
    """A pipe whose ends are closed once, early or at the end."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        read, write = os.pipe()
        self.read = stack.enter_context(os.fdopen(read, "rb", buffering=0))
        self.write = stack.enter_context(os.fdopen(write, "wb", buffering=0))


def _tell(control: _Pipe, answers: _Pipe, order: bytes) -> None:
    try:
        control.write.write(order)
        answer = answers.read.read(64)
    except OSError as error:
        raise Failed(f"perf ended: {error.strerror}") from error
    if not answer.startswith(b"ack"):
        raise Failed("perf did not do what it was told")
