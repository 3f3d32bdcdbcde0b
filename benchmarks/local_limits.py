"""Limits that need no server: the disk, one core, the kernel's own copying."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.client import Failed
from benchmarks.site import Outcome
from benchmarks.tus import Source

if TYPE_CHECKING:
    from benchmarks.workloads import Sizes

BLOCK = 2**20


def _measured(work: Callable[[], None], size: int, who: int = resource.RUSAGE_SELF) -> Outcome:
    before, began = resource.getrusage(who), time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, resource.getrusage(who)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Outcome(wall=wall, bytes=size, cpu=cpu)


def dd(source: Source, sizes: Sizes, place: Path) -> Outcome:
    """Copy the same bytes with dd and sync them."""
    command = ["dd", f"if=/dev/fd/{source.file}", f"of={place / 'dd'}", "bs=1M", f"count={sizes.size}"]
    command += ["iflag=count_bytes", "conv=fdatasync", "status=none"]

    def copy() -> None:
        try:
            subprocess.run(command, check=True, pass_fds=[source.file])
        except (OSError, subprocess.CalledProcessError) as error:
            raise Failed(f"dd: {error}") from error

    return _measured(copy, sizes.size, resource.RUSAGE_CHILDREN)


def sha256(source: Source, sizes: Sizes, _: Path) -> Outcome:
    """Hash as many bytes, which are in memory."""

    def digest() -> None:
        total = hashlib.sha256()
        for _ in range(0, sizes.size, BLOCK):
            total.update(source.start)

    if len(source.start) != BLOCK:
        raise Failed("the source is too small")
    return _measured(digest, sizes.size)


def copy_file_range(source: Source, sizes: Sizes, place: Path) -> Outcome:
    """Join as many bytes inside the kernel."""

    def join(target: int) -> None:
        for _ in range(sizes.count):
            done = 0
            while done < sizes.size:
                done += os.copy_file_range(source.file, target, sizes.size - done, offset_src=done)

    with (place / "joined").open("wb") as target:
        return _measured(lambda: join(target.fileno()), sizes.size * sizes.count)
