"""A tusd-py of this work tree as a process: started with a stopwatch, asked, killed, started again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.client import Failed, Load, Response, Script, drive
from benchmarks.measure import memory_of
from benchmarks.subjects import ROOT
from benchmarks.tus import Source, Speaker, one

READY = "You can now upload files to: "
PATIENCE, ENDING = 120.0, 30.0


@dataclass
class Own:
    """A server that runs."""

    child: subprocess.Popen[str]
    speaker: Speaker
    began: float
    """When it was executed, on the clock of `time.perf_counter`."""
    ready: float
    """Seconds from then to the line that says that it listens."""
    log: Path

    @property
    def pid(self) -> int:
        """The process, which has no children."""
        return self.child.pid

    def resident(self, name: str = "VmRSS") -> int:
        """Return resident bytes; `VmHWM`: the most since the peak was forgotten."""
        return memory_of([self.pid], name)

    def drive(self, *scripts: Script) -> Load:
        """Run scripts side by side."""
        return drive(self.speaker.address, scripts)

    def first_head(self, path: str) -> float:
        """Ask for an upload; return the seconds from the start of the process to the answer."""
        answers: list[Response] = []
        self.drive(one(self.speaker.head(path), answers))
        return time.perf_counter() - self.began

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(ENDING)


@contextlib.contextmanager
def serving(data: Path, source: Source, *flags: str, log: Path | None = None) -> Iterator[Own]:
    """Run a server over a data directory until the block ends.

    Args:
        data: Made when it is not there.
        source: What its clients send.
        flags: More options of `tusd-py serve`.
        log: Where its log goes; beside the data.

    Raises:
        Failed: It did not start; the message is its last line.
    """
    command = ["tusd_py", "serve", "--port", "0", "--data-dir", str(data), *flags]
    with running(command, source, log or data.with_name(f"{data.name}.log")) as own:
        yield own


@contextlib.contextmanager
def running(module: Sequence[str], source: Source, log: Path) -> Iterator[Own]:
    """Run a module of this work tree, with its arguments, that says where it listens as `tusd-py serve` does.

    Raises:
        Failed: It did not start; the message is its last line.
    """
    # A machine's own settings must not change what is measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")}
    environment["PYTHONPATH"] = str(ROOT)
    began = time.perf_counter()
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", *module], cwd=log.parent, env=environment, stdout=subprocess.PIPE, stderr=errors,
            text=True, start_new_session=True,
        ) as child,
    ):  # fmt: skip
        try:
            url = urlsplit(_url_of(child, log))
            ready = time.perf_counter() - began
            speaker = Speaker((str(url.hostname), int(url.port or 0)), url.path, source, extensions=_OURS)
            yield Own(child, speaker, began, ready, log)
        finally:
            _end(child)


_OURS = frozenset({"creation-with-upload", "termination"})
"""What the scripts want to know of a server; ours has all of it by default."""


def _url_of(child: subprocess.Popen[str], log: Path) -> str:
    assert child.stdout is not None
    line = ""
    if select.select([child.stdout], [], [], PATIENCE)[0]:
        line = child.stdout.readline()
    if not line.startswith(READY):
        said = log.read_text(errors="replace").strip().splitlines()
        raise Failed(f"the server did not start: {said[-1] if said else 'it said nothing'}")
    return line.removeprefix(READY).strip()


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(ENDING)
        except subprocess.TimeoutExpired:
            child.kill()


def created(own: Own, count: int, length: int, connections: int = 1, *more: str) -> Sequence[str]:
    """Make uploads, over some connections, with more lines of a head; return their paths."""
    made: list[str] = []
    numbers = iter(range(count))
    own.drive(*(own.speaker.create(numbers, length, made, *more) for _ in range(connections)))
    return made
