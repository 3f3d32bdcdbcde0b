"""A file system on which everything is synced is that only for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from benchmarks.memory.frozen import disk
from benchmarks.remounting import synced, why_not
from conformance.peers import NotRun


def options_of(point: Path) -> set[str]:
    """Return how a file system is mounted."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return next(set(line[3].split(",")) for line in lines if line[1] == str(point))


def how_it_was(point: Path) -> set[str]:
    """Return how a file system is mounted inside a block that does not end well."""
    seen: set[str] = set()
    with contextlib.suppress(RuntimeError), synced(point):
        seen = options_of(point)
        raise RuntimeError
    return seen


def test_until_the_end(tmp_path: Path) -> None:
    """Every write is synced inside the block, and no longer, however it ends."""
    try:
        with disk(tmp_path) as point:
            assert "" == why_not(point)
            assert "sync" not in options_of(point)
            seen = how_it_was(point)
            assert "sync" in seen
            assert "sync" not in options_of(point)
    except NotRun as reason:
        pytest.skip(f"NOT RUN: {reason}")


def test_not_for_the_whole_machine() -> None:
    """The file system of everybody is left alone."""
    if os.geteuid() == 0:
        assert "is not on a file system of its own" in why_not(Path("/"))
    else:
        assert "only root" in why_not(Path("/"))
