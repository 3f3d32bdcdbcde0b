"""Lives for the sweep through their system calls: every kind of work has one thread, every upload a known name.

`strace` counts the calls of each thread for itself, so "the n-th call" says most where one thread makes all calls of a
kind. What `strace` cannot do honestly is done here: it makes a call that it changes the result of not happen at all,
so that a write which it calls short has stored nothing, and a sync which it lets fail has lost nothing.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import itertools
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults import lives
from tusd_py import server
from tusd_py.assembly import service
from tusd_py.engine import finishing
from tusd_py.stores.file import FileDataStore

VARIABLE = "SWEPT"
"""A life that has it waits until it is traced; what it holds is JSON: `call`, `number`, `fault` and `fired`, or {}."""
SHARDS = ("00", "01")
ASKED_AGAIN = 0.1
"""Seconds until a life goes on with an upload whose end could not be stored."""

_plain: Mapping[str, Callable[..., int]] = {"splice": os.splice, "copy_file_range": os.copy_file_range}
_pwritev, _fdatasync = os.pwritev, os.fdatasync


def name(number: int) -> str:
    """Return the id of the upload that is made as the n-th: half of them lie in one directory, half in another."""
    return f"{SHARDS[number % 2]}{number:030x}"


def jobs_of(data_dir: Path) -> Path:
    """Return the file in which the lives on a data directory note their jobs."""
    return data_dir.with_name("jobs.txt")


class Harm:
    """What befalls the n-th call of one kind on the data: `short` stores half, `lost` is a sync that loses bytes.

    A failed sync may leave pages that are called clean and were never written: they are gone as soon as the kernel
    needs their memory. Here they are gone at once: every byte written since the last sync becomes zero.
    """

    def __init__(self, call: str, number: int, fault: str, fired: str) -> None:
        # The system has two names for it; which one Python uses depends on how it was built.
        self._call = "pwritev" if call == "pwritev2" else call
        self._number, self._fault, self._fired = number, fault, Path(fired)
        self._calls = 0
        self._unsynced: dict[int, list[tuple[int, int]]] = {}
        self._lock = threading.Lock()

    def install(self) -> None:
        """Stand between the server and the system."""
        os.pwritev = self.pwritev  # type: ignore[assignment]
        os.splice = self.splice  # type: ignore[assignment]
        os.copy_file_range = self.copy  # type: ignore[assignment]
        os.fdatasync = self.fdatasync  # type: ignore[assignment]

    def pwritev(self, fd: int, buffers: Sequence[bytes], offset: int) -> int:
        total = sum(map(len, buffers))
        if total > 1 and self._is_due("pwritev"):
            buffers = [b"".join(buffers)[: total // 2]]
        return self._note(fd, offset, _pwritev(fd, buffers, offset))

    def splice(self, source: int, target: int, count: int, **options: Any) -> int:
        if "offset_dst" not in options:
            return _plain["splice"](source, target, count, **options)
        if count > 1 and self._is_due("splice"):
            count //= 2
        return self._note(target, options["offset_dst"], _plain["splice"](source, target, count, **options))

    def copy(self, source: int, target: int, count: int, start: int, offset: int) -> int:
        if count > 1 and self._is_due("copy_file_range"):
            # More than is there may be asked for.
            count = min(count, os.fstat(source).st_size - start) // 2
        return self._note(target, offset, _plain["copy_file_range"](source, target, count, start, offset))

    def fdatasync(self, fd: int) -> None:
        due = self._is_due("fdatasync")
        file = os.fstat(fd)
        with self._lock:
            unsynced = self._unsynced.pop(file.st_ino, [])
        if not due:
            _fdatasync(fd)
            return
        for offset, count in unsynced:
            if (count := min(count, file.st_size - offset)) > 0:
                _pwritev(fd, [bytes(count)], offset)
        code = errno.ENOSPC if self._fault == "lost-ENOSPC" else errno.EIO
        raise OSError(code, os.strerror(code))

    def _is_due(self, call: str) -> bool:
        if call != self._call:
            return False
        self._calls += 1
        if self._calls != self._number:
            return False
        self._fired.touch()
        return True

    def _note(self, fd: int, offset: int, count: int) -> int:
        with self._lock:
            self._unsynced.setdefault(os.fstat(fd).st_ino, []).append((offset, count))
        return count


def _begin(order: Mapping[str, Any]) -> None:
    """Be a life, a swept one if it is to be; its jobs are noted beside its data, and not among those of others."""
    order = {**order, "jobs": str(jobs_of(Path(order["settings"]["data_dir"])))}
    finishing.FIRST_DELAY = ASKED_AGAIN
    if VARIABLE in order["environ"]:
        numbers = itertools.count()
        secrets.token_hex = lambda nbytes=None: name(next(numbers))
        service.FileDataStore = functools.partial(FileDataStore, threads=1)  # type: ignore[assignment,attr-defined]
        server.run = functools.partial(_run, server.run)
        if harm := json.loads(order["environ"][VARIABLE]):
            Harm(**harm).install()
        else:
            _wait_for_tracer()
    _be(order)


async def _run(run: Callable[..., Any], *arguments: Any) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await run(*arguments)


def _wait_for_tracer() -> None:
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.002)


if __name__ == "__main__":
    _be = lives._begin
    lives._begin = _begin
    lives._wait_for_orders()
