"""A disk that is held up: an ext4 in a file, mounted through a loop device, frozen while a block runs.

It is thawed by a process of its own as soon as this one says so or is gone, however it ended; a file system that stays
frozen stops whoever touches it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.remounting import run, tool
from conformance.peers import NotRun

SIZE = 8 * 2**30
"""Bytes of the file system; the file has holes, and takes what is written to it."""
TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")


@contextlib.contextmanager
def disk(place: Path) -> Iterator[Path]:
    """Have an ext4 of its own until the block ends.

    Raises:
        NotRun: That is not possible here.
    """
    if os.geteuid() != 0:
        raise NotRun("a disk can be held up by root only")
    tools = {name: tool(name) for name in TOOLS}
    image, point = place / "disk.img", place / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    point.mkdir()
    run(tools["mkfs.ext4"], "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(image))
    try:
        run(tools["mount"], "-o", "loop", str(image), str(point))
        try:
            yield point
        finally:
            # Whoever still has a file open there is about to end; lazily, so that nothing is left in any case.
            subprocess.run([tools["umount"], "--lazy", str(point)], check=True)
    finally:
        image.unlink()


@contextlib.contextmanager
def freezing(point: Path) -> Iterator[None]:
    """Hold up everybody who writes to a file system until the block ends.

    Raises:
        NotRun: That is not possible here.
    """
    freezer = tool("fsfreeze")
    # Its own session: what ends us, by a terminal too, must not end who thaws.
    with subprocess.Popen(
        ["sh", "-c", 'read -r _; exec "$0" --unfreeze "$1"', freezer, str(point)], stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    ) as thaw:  # fmt: skip
        # Leaving this block closes its stdin, which makes it thaw, and waits for it.
        if thaw.poll() is None:
            run(freezer, "--freeze", str(point))
        yield
