"""File systems that run out of something, that turn read-only, and that are gone: for whoever may mount them.

A disk that is held up is `benchmarks.memory.frozen`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN; with NO_LOG_FLUSH nothing more is written, as after a power cut."""
NO_LOG_FLUSH = 2
LOOP = 7
"""Major number of loop devices."""
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextlib.contextmanager
def tmpfs(point: Path, **options: str | int) -> Iterator[Path]:
    """Mount a tmpfs that only its owner may use; `options` such as `size="16m"` and `nr_inodes=40`."""
    point.mkdir(exist_ok=True)
    texts = ["mode=0700", *(f"{name}={value}" for name, value in options.items())]
    _run("mount", "-t", "tmpfs", "-o", ",".join(texts), "tmpfs", str(point))
    try:
        yield point
    finally:
        _run("umount", "--lazy", str(point))


def make_ext4(image: Path, size: int) -> None:
    """Make an ext4 in a file with holes."""
    with image.open("wb") as file:
        file.truncate(size)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", str(image))


@contextlib.contextmanager
def mounted(image: Path, point: Path, *, errors: str = "remount-ro") -> Iterator[Path]:
    """Mount an image through a loop device; `errors` says what those do to it that it finds in itself."""
    point.mkdir(exist_ok=True)
    _run("mount", "-o", f"loop,errors={errors}", str(image), str(point))
    try:
        point.chmod(0o700)
        yield point
    finally:
        # Whoever has a file open there is about to end, or is dead; nothing stays mounted in any case.
        _run("umount", "--lazy", str(point))


def shut_down(point: Path) -> None:
    """Let every further call to a file system fail with EIO."""
    directory = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(directory, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(directory)


def find_an_error(point: Path) -> None:
    """Let an ext4 of `mounted` find something wrong with itself, upon which it turns read-only."""
    device = point.stat().st_dev
    assert os.major(device) == LOOP, "never a real disk"
    (Path("/sys/fs/ext4") / f"loop{os.minor(device)}" / "trigger_fs_error").write_text("a test")


def remount(point: Path, how: str) -> None:
    """Mount a file system in another way; to be read only (`ro`) while nobody has a file open to write to it."""
    _run("mount", "-o", f"remount,{how}", str(point))


def resize(point: Path, size: str) -> None:
    """Let a tmpfs be larger, or smaller."""
    remount(point, f"size={size}")


def unaccounted(disk: Path) -> int:
    """Return how many bytes of a file system are used, but by no file that has a name."""
    entries = [disk, *disk.rglob("*")]
    return shutil.disk_usage(disk).used - sum(entry.lstat().st_blocks * 512 for entry in entries)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": PATH})
