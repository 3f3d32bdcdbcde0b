"""A file descriptor that coroutines and threads can share without hurting each other."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Descriptor:
    """A file descriptor that threads share: opened when the first of them needs it, closed when none uses it.

    A cancelled coroutine cannot stop its thread. Were the descriptor closed under it, the thread would go on
    writing to whatever file gets the number next.
    """

    def __init__(self, fd: int = -1, *, opens: Callable[[], int] | None = None) -> None:
        """Take over an open descriptor, or remember how to get one."""
        self._fd = fd
        self._opens = opens
        self._users = 0
        self._closing = False
        self._lock = threading.Lock()
        self._unused: threading.Event | None = None
        """Made by whoever waits for the last user."""

    @property
    def number(self) -> int:
        """The descriptor itself, for whoever guarantees that it stays open meanwhile."""
        return self._fd

    def acquire(self) -> int:
        """Return the descriptor, which stays open until `release`.

        Raises `OSError` (EBADF) when it was closed, and what opening raises.
        """
        with self._lock:
            if self._closing:
                raise OSError(errno.EBADF, "The upload's data was closed")
            if self._fd < 0 and self._opens is not None:
                self._fd = self._opens()
            self._users += 1
            return self._fd

    def release(self) -> None:
        """Undo one `acquire`."""
        with self._lock:
            self._users -= 1
            if not self._users and self._unused is not None:
                self._unused.set()

    def rest(self) -> None:
        """Close the descriptor if nobody uses it; whoever comes next opens it again."""
        with self._lock:
            if self._users or self._opens is None:
                return
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    @contextmanager
    def use(self) -> Iterator[int]:
        """Keep the descriptor open for the time of the block. Raises as `acquire`."""
        fd = self.acquire()
        try:
            yield fd
        finally:
            self.release()

    def retire(self) -> int | None:
        """Refuse new users; return the descriptor for the caller to close (-1 = none), or None while it is used.

        Never waits, so that an event loop may call it.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            self._closing = True
            if self._users:
                return None
            fd, self._fd = self._fd, -1
            return fd
        finally:
            self._lock.release()

    def close(self) -> None:
        """Refuse new users, wait for those at work, then close. Safe to call twice."""
        with self._lock:
            self._closing = True
            unused = self._unused = self._unused or threading.Event()
            if not self._users:
                unused.set()
        unused.wait()
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        # The caller of an open was cancelled while a thread opened the file: nobody else has the number.
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
