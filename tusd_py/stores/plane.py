"""A data plane: a thread on which the kernel moves bodies from sockets into files, past the interpreter.

Python decides, the kernel moves: each round is two system calls for up to a MiB (`splice` into a pipe and out of it),
during which the interpreter is free for everybody else. Bodies take turns, so that a fast client cannot starve the
others. A disk that hangs holds up all of them, and nobody else: they are all on their way to this disk.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import select
import socket
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress

from tusd_py.abc import Rest
from tusd_py.errors import ConnectionReset, ReadTimeout, TusError
from tusd_py.stores.descriptor import Descriptor
from tusd_py.stores.posix import translated, write_buffers

log = logging.getLogger(__name__)

ROUND = 1024 * 1024
"""Bytes moved by one pair of system calls; the capacity of the pipe."""
ROUNDS = 4
"""Rounds before it is the next body's turn."""
WAKE_AT = 640 * 1024
"""Bytes that have to be in a socket before the thread is woken for it; fewer are taken at the next tick."""
TICK = 0.25
"""Seconds between two looks at bodies that bring less than that, or may not go on yet."""

_NO_SPLICE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP})
_F_SETPIPE_SZ = 1031


class PlaneTransfer:
    """One body on its way. The loop's side is `tusd_py.abc.Transfer`; the rest belongs to the plane's thread."""

    def __init__(self, plane: Plane, data: Descriptor, offset: int, rest: Rest, *, last: bool) -> None:
        self.position = offset
        self.error: TusError | OSError | None = None
        self._plane = plane
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._mark: int | None = None
        self._over = False
        # Of the thread from here on.
        self.data = data
        self.rest = rest
        self.last = last
        self.remaining = rest.count
        self.socket = rest.socket
        self.file = -1
        self.reason: TusError | None = None
        self.busy = True  # until what had arrived is stored
        self.paused = False  # not listened to: it came too fast
        self.moved_at = time.monotonic()
        self.wakes_at = 1

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be moved."""
        return self._over

    @property
    def is_complete(self) -> bool:
        """Whether the whole body was taken from the connection."""
        return self.remaining == 0

    def is_ending(self) -> bool:
        """Whether nothing more will arrive; see `tusd_py.abc.Transfer.is_ending`."""
        if self._over or self.reason is not None or self.remaining == 0:
            return True
        hung_up = select.poll()
        try:
            hung_up.register(self.socket, select.POLLRDHUP)
            return bool(hung_up.poll(0))
        except (OSError, ValueError):  # the thread has closed it
            return True

    def idle(self) -> float:
        """Return the seconds for which no byte has come; 0 while there is one to be moved."""
        if self._over or self.busy or self._waiting_bytes():
            return 0.0
        return time.monotonic() - self.moved_at

    def interrupt(self, reason: TusError) -> None:
        """End soon, for `reason`; see `tusd_py.abc.Transfer.interrupt`."""
        if self.reason is None and not self._over:
            self.reason = reason
            self._plane.look_at(self)

    async def wait(self, position: int, *, timeout: float | None = None) -> None:
        """Wait until bytes up to `position` are stored; see `tusd_py.abc.Transfer.wait`."""
        waiter = self._waiter = self._loop.create_future()
        # The mark before the look at the position: the thread does it the other way round.
        self._mark = position
        if self._over or self.position >= position:
            self._mark = self._waiter = None
            return
        timer = None if timeout is None else self._loop.call_later(timeout, self._wake)
        try:
            await waiter
        finally:
            self._mark = self._waiter = None
            if timer is not None:
                timer.cancel()
        if timeout is None and not self.is_over and self.position < position:
            await self.wait(position)  # woken by what was told to the wait before

    def moved(self, count: int) -> None:
        """Note that so many more bytes are stored, and tell whoever waits for them (thread)."""
        self.position += count
        mark = self._mark
        if mark is not None and self.position >= mark:
            self._mark = None
            self._tell(self._wake)

    def end(self, error: TusError | OSError | None) -> None:
        """Note that it is over, and why (thread)."""
        self.error = error
        self._over = True
        self._tell(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(what)

    def _waiting_bytes(self) -> bool:
        try:
            return any(fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, bytes(4)))
        except (OSError, ValueError):
            return False


class Plane:
    """Moves any number of bodies at once. The thread begins with the first one and ends with `close`."""

    def __init__(self) -> None:
        """Get pipe, epoll and wake-up ready. Raises `OSError` when the system has none (left)."""
        with ExitStack() as undo:
            self._epoll = undo.enter_context(select.epoll())
            self._doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            undo.callback(os.close, self._doorbell)
            self._epoll.register(self._doorbell, select.EPOLLIN)
            self._pipe = _make_pipe()
            for fd in self._pipe:
                undo.callback(os.close, fd)
            self._held = undo.pop_all()
        self._orders: deque[PlaneTransfer] = deque()
        self._active: dict[int, PlaneTransfer] = {}
        self._begun = 0  # of the loop
        self._ended = 0  # of the thread
        self._buffer = memoryview(b"")
        self._move = self._splice
        self._closing = False
        self._thread: threading.Thread | None = None

    @property
    def load(self) -> int:
        """How many bodies it is moving, or about to."""
        return self._begun - self._ended

    def begin(self, data: Descriptor, offset: int, rest: Rest, *, last: bool = False) -> PlaneTransfer:
        """Begin to move a body to `offset` of a file, whose handle must stay open until the transfer is over.

        Behind the `last` one the file is closed, unless somebody uses it.
        """
        transfer = PlaneTransfer(self, data, offset, rest, last=last)
        self._begun += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tusd-py data plane", daemon=True)
            self._thread.start()
        self.look_at(transfer)
        return transfer

    def look_at(self, transfer: PlaneTransfer) -> None:
        """Make the thread see to a transfer soon."""
        self._orders.append(transfer)
        os.eventfd_write(self._doorbell, 1)

    def close(self) -> None:
        """End the thread and give everything back. End all transfers before. Blocks; safe to call twice."""
        if self._closing:
            return
        self._closing = True
        if self._thread is not None:
            os.eventfd_write(self._doorbell, 1)
            self._thread.join()
        self._held.close()

    def _run(self) -> None:
        next_tick = time.monotonic() + TICK
        while not self._closing:
            timeout = max(0.0, next_tick - time.monotonic()) if self._active else None
            for fd, _ in self._epoll.poll(timeout):
                if fd == self._doorbell:
                    self._take_orders()
                elif (transfer := self._active.get(fd)) is not None:
                    self._serve(transfer)
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + TICK
                for transfer in list(self._active.values()):
                    if transfer.paused or now - transfer.moved_at >= TICK / 2:
                        self._serve(transfer)

    def _take_orders(self) -> None:
        os.eventfd_read(self._doorbell)
        while self._orders:
            transfer = self._orders.popleft()
            if transfer.is_over:
                continue
            if transfer.file < 0:
                self._guarded(self._enter, transfer)
            self._serve(transfer)

    def _enter(self, transfer: PlaneTransfer) -> None:
        """Open the file, store what had arrived, and begin to listen to the socket."""
        transfer.file = transfer.data.acquire()
        if transfer.rest.buffers:
            count = sum(map(len, transfer.rest.buffers))
            write_buffers(transfer.data, transfer.position, transfer.rest.buffers, None)
            transfer.moved(count)
            transfer.rest.buffers.clear()
            if transfer.rest.pace is not None:
                transfer.rest.pace.spend(count)
        self._epoll.register(transfer.socket.fileno(), select.EPOLLIN)
        self._active[transfer.socket.fileno()] = transfer
        _wake_at(transfer, WAKE_AT)

    def _serve(self, transfer: PlaneTransfer) -> None:
        if not transfer.is_over:
            self._guarded(self._turn, transfer)

    def _guarded(self, step: Callable[[PlaneTransfer], None], transfer: PlaneTransfer) -> None:
        """Run a step; whatever goes wrong ends this transfer and no other."""
        try:
            step(transfer)
        except (TusError, OSError) as error:
            self._end(transfer, error)
        except Exception as error:
            log.exception("moving a body failed", extra={"action": "data_plane_failed"})
            self._end(transfer, OSError(errno.EIO, str(error)))

    def _turn(self, transfer: PlaneTransfer) -> None:
        """Move what has arrived, a few rounds of it; end the transfer when there is nothing more to come."""
        transfer.busy = True
        before = transfer.position
        # Before the looks at the socket: what arrived until the interruption counts, however the disk held us up.
        reason = transfer.reason
        most = self._allowed(transfer)
        try:
            while transfer.remaining and (left := before + most - transfer.position) > 0:
                if self._move(transfer, min(left, ROUND)) < ROUND // 2 and reason is None:
                    break
        except BlockingIOError:
            pass
        finally:
            transfer.busy = False
        now = time.monotonic()
        if transfer.position > before:
            transfer.moved_at = now
            if transfer.rest.pace is not None:
                transfer.rest.pace.spend(transfer.position - before)
        self._listen(transfer, paused=transfer.rest.pace is not None and transfer.position - before >= most)
        if transfer.remaining == 0:
            self._end(transfer, None)
        elif reason is not None:
            self._end(transfer, reason)
        elif now - transfer.moved_at >= transfer.rest.timeout:
            self._end(transfer, ReadTimeout())
        elif transfer.remaining < transfer.wakes_at:
            _wake_at(transfer, transfer.remaining)

    def _allowed(self, transfer: PlaneTransfer) -> int:
        """Return how many bytes may be moved in this turn: all of its turn, if nobody is slowed down any more."""
        pace = transfer.rest.pace
        if pace is None or transfer.is_ending():
            return ROUNDS * ROUND
        return min(pace.room(time.monotonic()), ROUNDS * ROUND)

    def _listen(self, transfer: PlaneTransfer, *, paused: bool) -> None:
        """Listen to a transfer's socket, or not until the next tick."""
        if transfer.paused == paused:
            return
        transfer.paused = paused
        if paused:
            # Out of the set altogether: a hang-up would be told again and again.
            self._epoll.unregister(transfer.socket.fileno())
        else:
            self._epoll.register(transfer.socket.fileno(), select.EPOLLIN)

    def _splice(self, transfer: PlaneTransfer, most: int) -> int:
        """Move one round through the pipe."""
        reader, writer = self._pipe
        flags = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
        try:
            count = os.splice(transfer.socket.fileno(), writer, min(transfer.remaining, most), flags=flags)
        except OSError as error:
            if error.errno in _NO_SPLICE:
                self._give_up_splicing()
                return 0
            raise _lost(error) from error
        if count == 0:
            raise ConnectionReset
        transfer.remaining -= count
        left = count
        try:
            while left:
                stored = os.splice(reader, transfer.file, left, offset_dst=transfer.position, flags=os.SPLICE_F_MOVE)
                if stored == 0:
                    raise OSError(errno.EIO, "The file takes no more bytes")
                left -= stored
                transfer.moved(stored)
        except OSError as error:
            if error.errno in _NO_SPLICE:
                write_buffers(transfer.data, transfer.position, [os.read(reader, left)], None)
                transfer.moved(left)
                self._give_up_splicing()
                return count
            # What is left in the pipe belongs to nobody any more.
            while left > 0:
                left -= len(os.read(reader, left))
            raise translated(error) from error
        return count

    def _give_up_splicing(self) -> None:
        """Go on by copying: some file systems and sandboxes know no splice."""
        self._buffer = memoryview(bytearray(ROUND))
        self._move = self._copy

    def _copy(self, transfer: PlaneTransfer, most: int) -> int:
        """Move one round through a buffer."""
        try:
            count = transfer.socket.recv_into(self._buffer[: min(transfer.remaining, most)], 0, socket.MSG_DONTWAIT)
        except OSError as error:
            raise _lost(error) from error
        if count == 0:
            raise ConnectionReset
        transfer.remaining -= count
        write_buffers(transfer.data, transfer.position, [self._buffer[:count]], None)
        transfer.moved(count)
        return count

    def _end(self, transfer: PlaneTransfer, error: TusError | OSError | None) -> None:
        fd = transfer.socket.fileno()
        if self._active.pop(fd, None) is not None:
            if not transfer.paused:
                self._epoll.unregister(fd)
            with suppress(OSError):  # the socket may be gone
                _wake_at(transfer, 1)
        transfer.socket.close()
        if transfer.file >= 0:
            transfer.data.release()
            if transfer.last:
                transfer.data.rest()
        self._ended += 1
        transfer.end(error)


def _wake_at(transfer: PlaneTransfer, count: int) -> None:
    """Let the socket count as readable from so many bytes on; the end of a stream always counts."""
    count = min(count, transfer.remaining) or 1
    if count != transfer.wakes_at:
        transfer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
        transfer.wakes_at = count


def _make_pipe() -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # a limit of the user; the usual 64 KiB work too
        fcntl.fcntl(writer, _F_SETPIPE_SZ, ROUND)
    return reader, writer


def _lost(error: OSError) -> OSError | ConnectionReset:
    """Return what an error of a socket means: nothing there yet stays as it is, all others end the connection."""
    return error if isinstance(error, BlockingIOError) else ConnectionReset()
