"""File systems in a file that lose what was not synced, as they do when the power goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.waiting import until

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN of ext4, XFS_IOC_GOINGDOWN of XFS."""
NO_LOG_FLUSH = 2
ENOUGH = 2**30
"""Bytes that must be free in memory to have the file there."""


class System(NamedTuple):
    """One kind of file system."""

    name: str
    make: tuple[str, ...]
    options: str
    size: int


SYSTEMS = (
    System("ext4", ("mkfs.ext4", "-q", "-F", "-E", "nodiscard"), "data=ordered", 64 * 2**20),
    System("ext4 writeback", ("mkfs.ext4", "-q", "-F", "-E", "nodiscard"), "data=writeback", 64 * 2**20),
    System("XFS", ("mkfs.xfs", "-q", "-f", "-K"), "defaults", 300 * 2**20),
)


class NoDisk(Exception):
    """Such a file system cannot be had here; the message says why."""


class Disk:
    """A file system of its own. Use `disk()`."""

    def __init__(self, system: System, image: Path, place: Path) -> None:
        self.place = place
        """Where it is mounted."""
        self._system = system
        self._image = image

    def make(self) -> None:
        """Make it new, and mount it. Raises `NoDisk`."""
        with self._image.open("wb") as file:
            file.truncate(self._system.size)
        self._try(*self._system.make, str(self._image))
        self.place.mkdir(exist_ok=True)
        self.mount()

    def mount(self) -> None:
        """Mount it; the loop device goes with the mount."""
        kind = self._system.make[0].removeprefix("mkfs.")
        self._try("mount", "-t", kind, "-o", f"loop,{self._system.options}", str(self._image), str(self.place))

    def cut(self) -> None:
        """Let nothing more reach the disk, not even what its own log has not written yet."""
        with _opened(self.place) as fd:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))

    def sync(self, path: Path) -> None:
        """Bring one file to the disk, if it is there, as the kernel may do at any time."""
        with contextlib.suppress(FileNotFoundError), _opened(path) as fd:
            os.fsync(fd)

    async def remount(self) -> None:
        """Forget all that is only in memory. Nobody may have a file of it open."""
        await until(self._unmounted)
        self.mount()

    async def renew(self) -> None:
        """Make it new."""
        await until(self._unmounted)
        self.make()

    def close(self) -> None:
        """Leave nothing of it behind, whatever state it is in."""
        if os.path.ismount(self.place) and self._unmount().returncode:
            self._unmount("--lazy")

    async def _unmounted(self) -> bool:
        return self._unmount().returncode == 0

    def _unmount(self, *options: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["umount", *options, str(self.place)], capture_output=True, check=False)

    def _try(self, *command: str) -> None:
        if shutil.which(command[0]) is None:
            raise NoDisk(f"needs {command[0]}")
        done = subprocess.run(command, capture_output=True, check=False, text=True)
        if done.returncode:
            raise NoDisk(f"needs the right to mount: {done.stderr.strip()}")


@contextlib.contextmanager
def disk(system: System, place: Path) -> Iterator[Disk]:
    """Have such a file system mounted at `place`, with its file in memory where there is room. Raises `NoDisk`."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ENOUGH
    with tempfile.TemporaryDirectory(dir=memory if roomy else place.parent, prefix="disk-") as folder:
        its = Disk(system, Path(folder) / "image", place)
        try:
            its.make()
            yield its
        finally:
            its.close()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
