"""Where a run took place: machine, system and versions, as far as figures depend on them."""

from __future__ import annotations

import datetime
import os
import platform
import sqlite3
import subprocess
import timeit
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import file_system

ROOT = Path(__file__).parents[1]
_STEPS = "for n in numbers: things[n] = Thing(n).text().partition('1')"
_THING = """
class Thing:
    def __init__(self, n):
        self.n = n
    def text(self):
        return str(self.n)
numbers, things = range(2000), {}
"""


def about(place: Path) -> dict[str, str]:
    """Return what stands above the figures."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": file_system(place),
        "python": platform.python_version(),
        "interpreter": f"{platform.python_compiler()}, {_steps():.1f} million steps a second",
        "aiohttp": version("aiohttp"),
        "SQLite": sqlite3.sqlite_version,
    }


@cache
def _steps() -> float:
    """Return how many million simple steps a second this interpreter takes: builds of one version differ."""
    times = timeit.repeat(_STEPS, _THING, number=20, repeat=9)
    return 2000 * 20 / min(times) / 1e6


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()  # fmt: skip

    try:
        changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "--short=12", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
