"""Bodies of requests, as payloads of aiohttp.

Over plain TCP they go past the transport, straight into the socket: the kernel copies from the file, and the transport
goes on reading meanwhile, so that an answer that comes early is seen at once. Over TLS they go through it.

A server that refuses a body answers, and may close the connection while the body is still going out. Then writing
fails, and nothing is said of it: the answer is in the socket, and aiohttp reads it. Where there is none, it notices.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_writer import StreamWriter

from tusd_py.client.pace import Bucket, Meter
from tusd_py.client.source import FileSource

PIECE = 1024 * 1024
"""Most bytes that go into a socket at once: until they are there, the event loop stands still."""
COPIED_PIECE = 256 * 1024
"""Most bytes that are read, and written through a transport, at once."""

_AHEAD = 8 * PIECE
# What ends a connection, whichever side or router between did it. Anything else is a matter of this machine.
_LOST = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
    }
)


class Body(payload.Payload):
    """Bytes of a known number, for one request."""

    _autoclose = True

    def __init__(self, size: int, meter: Meter, bucket: Bucket) -> None:
        super().__init__(None)
        self._size: int = size
        self.meter = meter
        self.is_complete = False
        """Whether everything was handed over."""
        self.failure: Exception | None = None
        """What of ours went wrong, as when the file has changed: the connection was cut for it."""
        self._bucket = bucket

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: this is no text."""
        raise TypeError("the body of an upload is no text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send everything, as `write_with_length` does."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send everything. Return early, without a word, when the other side has ended the connection.

        A connection on which not everything was sent is never used again.
        """
        del content_length  # of the same number
        self._consumed = True
        sender = cast("StreamWriter", writer)
        transport = sender.transport
        if transport is None:
            raise _lost()
        self.meter.attach(transport)
        sender.send_headers()
        is_ended = False
        try:
            await self._send(sender, transport)
            self.is_complete = True
        except OSError as error:
            is_ended = _is_lost(error)
            if not is_ended:
                raise
        except Exception as error:
            self.failure = error
            raise
        finally:
            if not self.is_complete:
                cast("ResponseHandler", sender.protocol).force_close()
                if not is_ended:
                    # What waits in the transport would keep a connection open that nobody reads from.
                    transport.abort()

    async def _send(self, sender: StreamWriter, transport: asyncio.Transport) -> None:
        fd = None if transport.get_extra_info("sslcontext") else await _descriptor(sender, transport)
        if fd is not None:
            try:
                await self._pour(fd)
            finally:
                os.close(fd)
        await self._copy(sender, transport)

    async def _pour(self, fd: int) -> None:
        """Push everything into a socket; less only where it cannot be done so."""
        granted = 0
        while self.meter.handed < self._size:
            granted = granted or await self._grant(PIECE)
            try:
                pushed = self._push(fd, self.meter.handed, granted)
            except BlockingIOError:
                pushed = 0
            except _CannotPush:
                return
            self.meter.handed += pushed
            granted -= pushed
            if self.meter.handed == self._size:
                # At once: an answer that came while we wait would find a body that is not complete.
                return
            # Other tasks have their turn after each piece, even when the network never keeps us waiting.
            await (_writable(fd) if granted else asyncio.sleep(0))

    async def _copy(self, sender: StreamWriter, transport: asyncio.Transport) -> None:
        """Write what is left through the transport."""
        while self.meter.handed < self._size:
            data = await self._read(self.meter.handed, await self._grant(COPIED_PIECE))
            await _let_answers_in(transport)
            await sender.write(data, drain=False)
            self.meter.handed += len(data)
            if self.meter.handed < self._size:
                await sender.drain()

    async def _grant(self, most: int) -> int:
        """Return how many of the next bytes may go now."""
        count = min(most, self._size - self.meter.handed)
        if self._bucket.piece is not None:
            count = min(count, self._bucket.piece)
            with self.meter.held():
                await self._bucket.take(count)
        return count

    @abstractmethod
    def _push(self, fd: int, offset: int, count: int) -> int:
        """Give a socket at most `count` bytes from `offset` on; return how many. Raises `_CannotPush`."""

    @abstractmethod
    async def _read(self, offset: int, count: int) -> bytes | memoryview:
        """Return `count` bytes at `offset`."""


class FileBody(Body):
    """The bytes from `start` to `end` of a file, of which `source.check` holds until the last of them is sent."""

    def __init__(self, source: FileSource, start: int, end: int, meter: Meter, bucket: Bucket) -> None:
        super().__init__(end - start, meter, bucket)
        self._source = source
        self._start = start
        self._end = end
        self._advised = start

    def _push(self, fd: int, offset: int, count: int) -> int:
        self._advise(self._start + offset)
        self._source.check()
        try:
            pushed = os.sendfile(fd, self._source.fd, self._start + offset, count)
        except BlockingIOError:
            raise
        except OSError as error:
            if _is_lost(error):
                raise
            # A file system that cannot, or a disk that fails: reading tells.
            raise _CannotPush from error
        if not pushed:
            raise _CannotPush
        return pushed

    async def _read(self, offset: int, count: int) -> bytes:
        self._advise(self._start + offset)
        with self.meter.held():
            data = await self._source.read(self._start + offset, count)
        self._source.check()
        return data

    def _advise(self, offset: int) -> None:
        """Have the disk read ahead of us."""
        if offset + _AHEAD // 2 > self._advised and self._advised < self._end:
            begin = max(offset, self._advised)
            os.posix_fadvise(self._source.fd, begin, _AHEAD, os.POSIX_FADV_WILLNEED)
            self._advised = begin + _AHEAD


class BytesBody(Body):
    """Bytes in memory, which nobody may write to until the connection is closed, or the answer is there."""

    def __init__(self, views: Sequence[bytes | memoryview], meter: Meter, bucket: Bucket) -> None:
        super().__init__(sum(map(len, views)), meter, bucket)
        self._views = [memoryview(view) for view in views]
        self._passed = 0

    def _push(self, fd: int, offset: int, count: int) -> int:
        return os.write(fd, self._view(offset, count))

    async def _read(self, offset: int, count: int) -> memoryview:
        return self._view(offset, count)

    def _view(self, offset: int, count: int) -> memoryview:
        """Return bytes at `offset`, which only grows: `count`, or fewer at the end of a view."""
        while offset >= self._passed + len(self._views[0]):
            self._passed += len(self._views.pop(0))
        return self._views[0][offset - self._passed :][:count]


class _CannotPush(Exception):
    """The kernel does not copy from this file into a socket."""


async def _descriptor(sender: StreamWriter, transport: asyncio.Transport) -> int | None:
    """Return a descriptor of the connection for writing past its transport, which has written everything then.

    One of our own: event loops watch no descriptor for us that a transport has.
    """
    transport.set_write_buffer_limits(0)
    try:
        await sender.drain()
    finally:
        transport.set_write_buffer_limits()
    if transport.is_closing():
        raise _lost()
    try:
        return os.dup(transport.get_extra_info("socket").fileno())
    except (OSError, AttributeError):
        return None


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(fd, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _let_answers_in(transport: asyncio.Transport) -> None:
    """Have the transport read what has come: when a write fails, it throws that away."""
    for _ in range(3):
        if transport.is_closing():
            return
        waiting = select.poll()
        waiting.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        if not waiting.poll(0):
            return
        await asyncio.sleep(0)


def _is_lost(error: OSError) -> bool:
    return isinstance(error, ConnectionError) or error.errno in _LOST


def _lost() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, "the connection was lost")
