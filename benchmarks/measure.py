"""What the operating system knows of a server while it works: CPU time, memory, and what the host took away."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    # The name of a process may contain anything, also spaces and brackets.
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [root]
    for each in found:
        found += children.get(each, [])
    return found


def cpu_of(pids: Sequence[int]) -> float:
    """Return user and system seconds of processes, their threads that ended included.

    Their CPU clocks count nanoseconds; /proc counts ticks, which are long beside a small workload. One that has ended
    meanwhile counts for nothing: some servers have children for a moment.
    """
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | 2)
    return total


def memory_of(pids: Sequence[int], name: str) -> int:
    """Return a `Vm...` line of /proc/PID/status in bytes, summed over processes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (PROC / str(pid) / "status").read_text().splitlines():
                if line.startswith(name + ":"):
                    total += int(line.split()[1]) * 1024
    return total


def forget_peaks(pids: Sequence[int]) -> None:
    """Let the peak of each process begin anew, where that is allowed."""
    for pid in pids:
        with contextlib.suppress(OSError):
            (PROC / str(pid) / "clear_refs").write_text("5")


def steal() -> float:
    """Return the seconds that the host has taken from all cores of this machine so far."""
    line = (PROC / "stat").read_text().partition("\n")[0].split()
    return int(line[8]) / TICKS


@dataclass
class Watch:
    """What was seen of a server while a block ran."""

    cpu: float = 0.0
    peak: int = 0
    """Most resident bytes meanwhile."""
    steal: float = 0.0


@contextlib.contextmanager
def watching(pid: int) -> Iterator[tuple[Watch, Callable[[], None]]]:
    """Watch a server; yield what will be filled in at the end, and what to call when the load begins."""
    pids = tree(pid)
    watch = Watch()
    forget_peaks(pids)
    before = [0.0, 0.0]

    def begin() -> None:
        before[:] = [cpu_of(pids), steal()]

    yield watch, begin
    # Children that began meanwhile are new in the tree, and all of their time belongs to the load.
    now = tree(pid)
    watch.cpu, watch.steal = cpu_of(now) - before[0], steal() - before[1]
    watch.peak = memory_of(now, "VmHWM")


def file_system(place: Path) -> str:
    """Return the type of the file system that a directory is on, and what is unusual about it."""
    best, kind = "", "unknown"
    for line in (PROC / "mounts").read_text().splitlines():
        point, name = line.split()[1:3]
        point = point.encode().decode("unicode_escape")
        if place.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, name
    number = place.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
    if kind == "ext4" and not list((PROC / "fs" / "jbd2").glob(f"{device}-*")):
        # It makes files slower for minutes after others were removed.
        kind += " without a journal"
    return f"{kind} on a loop device" if device.startswith("loop") else kind
