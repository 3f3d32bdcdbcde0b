"""A file system on which every write is synced before it returns, for a while: what a server needs that never syncs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from conformance.peers import NotRun

SBIN = "/usr/sbin:/sbin"


def why_not(place: Path) -> str:
    """Return why the file system of a place cannot be mounted in another way; nothing if it can."""
    if os.geteuid() != 0:
        return "only root can mount a file system in another way"
    point = _mount_point(place)
    if point == Path("/"):
        return f"{place} is not on a file system of its own"
    return ""


@contextlib.contextmanager
def synced(place: Path) -> Iterator[None]:
    """Have every write to the file system of a place synced (`mount -o sync`) until the block ends.

    Raises:
        NotRun: That is not possible here.
    """
    point = _mount_point(place)
    _remount(point, "sync")
    try:
        yield
    finally:
        _remount(point, "async")


def _mount_point(place: Path) -> Path:
    return next(path for path in (place.resolve(), *place.resolve().parents) if path.is_mount())


def _remount(point: Path, how: str) -> None:
    run(tool("mount"), "-o", f"remount,{how}", str(point))


def tool(name: str) -> str:
    """Return where a program of the administrator is. Raises `NotRun`: nowhere."""
    found = shutil.which(name) or shutil.which(name, path=SBIN)
    if found is None:
        raise NotRun(f"{name} is not there")
    return found


def run(*command: str) -> None:
    """Run a program that must work. Raises `NotRun`: it did not."""
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotRun(f"{Path(command[0]).name} did not work") from error
