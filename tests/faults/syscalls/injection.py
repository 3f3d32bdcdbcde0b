"""`strace` beside a life: which calls it makes on which files, and what happens when one of them fails."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

from tests.faults.lives import Life, Lives
from tests.faults.syscalls.swept import SHARDS, name

CALLS = (
    "write",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "splice",
    "copy_file_range",
    "fallocate",
    "ftruncate",
    "fdatasync",
    "fsync",
    "openat",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rename",
    "chmod",
    "fchmod",
)
"""What changes files, and what opens them."""
STORING = frozenset({"write", "pwrite64", "pwritev", "pwritev2", "splice", "copy_file_range"})
UPLOADS = 32
"""More than a swept life makes."""

INJECTED = {
    "KILL": "signal=KILL",
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "nothing": "retval=0",
}
"""By fault, what `strace` is told. It skips the call, so no number but 0 is true of what a write has stored."""

_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_PATH = re.compile(r'<(/[^>]*)>|"(/[^"]*)"')


class Point(NamedTuple):
    """The n-th call of a thread on files of one kind, and what is to happen to it."""

    fault: str
    kind: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.fault} {self.kind} {self.call} {self.number}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read what `str` wrote."""
        fault, kind, call, number = text.split()
        return cls(fault, kind, call, int(number))


def files(data_dir: Path) -> dict[str, list[str]]:
    """Return all paths that a swept life may use, by kind: `strace` follows paths, not directories."""
    uploads = data_dir / "uploads"
    database = [f"uploads.sqlite3{ending}" for ending in ("", "-wal", "-shm", "-journal")]
    return {
        "data": [str(uploads / (its := name(number))[:2] / its) for number in range(UPLOADS)],
        "directory": [str(uploads), *(str(uploads / shard) for shard in SHARDS)],
        "database": [str(data_dir), *(str(data_dir / each) for each in (*database, "ballast", "lock"))],
    }


def has_strace() -> bool:
    """Return whether there is one."""
    return shutil.which("strace") is not None


@contextlib.asynccontextmanager
async def traced(life: Life, output: Path, *arguments: str) -> AsyncIterator[None]:
    """Have `strace` follow a life, and kill it at the end of the block: one that is let go of may not be stopped."""
    command = ["strace", "-f", "-qq", "-o", str(output), *arguments, "-p", str(life.pid)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        yield
    finally:
        await life.kill()
        # Without anybody to follow it ends by itself.
        await process.communicate()


@contextlib.asynccontextmanager
async def recorded(them: Lives, life: Life, output: Path) -> AsyncIterator[None]:
    """Write down all calls of a life on its files."""
    every = [path for paths in files(life.data_dir).values() for path in paths]
    async with traced(life, output, "-y", "-e", f"trace={_known(*CALLS)}", *_follow(every)):
        await them.served(life)
        yield


def injecting(data_dir: Path, point: Point) -> list[str]:
    """Return what `strace` has to be told for a point."""
    call = _known(point.call)
    inject = f"inject={call}:{INJECTED[point.fault]}:when={point.number}"
    return ["-e", f"trace={call}", "-e", inject, *_follow(files(data_dir)[point.kind])]


def counted(output: Path, data_dir: Path) -> dict[tuple[str, str], int]:
    """Return how many calls of each name the busiest thread made on files of each kind."""
    kinds = {path: kind for kind, paths in files(data_dir).items() for path in paths}
    calls: Counter[tuple[str, str, str]] = Counter()
    for line in output.read_text(errors="replace").splitlines():
        if (match := _CALL.match(line)) is None:
            continue
        thread, call, rest = match.groups()
        # What stands behind "=" is the result, which is a path for openat.
        paths = {first or second for first, second in _PATH.findall(rest.rpartition(" = ")[0] or rest)}
        for kind in {kinds[path] for path in paths if path in kinds}:
            calls[thread, kind, call] += 1
    most: dict[tuple[str, str], int] = {}
    for (_, kind, call), count in calls.items():
        most[kind, call] = max(most.get((kind, call), 0), count)
    return most


def points(calls: dict[tuple[str, str], int]) -> list[Point]:
    """Return every point of a sweep, those with the same fault beside one another."""
    found = []
    for (kind, call), count in calls.items():
        faults = ["KILL", "EIO", "ENOSPC"]
        if call in STORING and call != "copy_file_range":  # which says by 0 that there is nothing more to copy
            faults.append("nothing")
        if kind == "data" and call in STORING:
            faults.append("short")
        if kind == "data" and call == "fdatasync":
            faults += ["lost", "lost-ENOSPC"]
        found += [Point(fault, kind, call, number) for fault in faults for number in range(1, count + 1)]
    return sorted(found)


def _known(*calls: str) -> str:
    """Leave out what this machine has no name for."""
    return ",".join(f"?{call}" for call in calls)


def _follow(paths: list[str]) -> list[str]:
    return [argument for path in paths for argument in ("-P", path)]
