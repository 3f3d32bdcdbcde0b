"""What every data store must do. Subclass and give a `store` fixture: an open, empty store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tusd_py.abc import Data, DataStore, Rest, Transfer
from tusd_py.errors import ConnectionReset, DataLost, ReadTimeout, ServerShutdown, UploadExists, UploadInterrupted

ID = "Data-Store_1"
OTHER = "Data-Store_2"
NAMED = "/project-1/\N{CAT} pictures/Tom.jpg"

each_key = pytest.mark.parametrize("key", [ID, NAMED], ids=["id", "path"])
"""Runs a test with data that is kept under its id, and under a path of its own."""


async def content(store: DataStore, key: str) -> bytes:
    """Return everything a store holds of an upload."""
    reader = await store.read_from(key)
    try:
        return await reader.read(0, reader.size)
    finally:
        await reader.close()


async def fill(store: DataStore, key: str, data: bytes) -> None:
    """Make an upload's data as a finished upload leaves it."""
    await store.create(key, durable=False)
    handle = await store.write_to(key)
    await handle.write(0, [data])
    await handle.seal(len(data), durable=False)
    await handle.close()


async def _use(store: DataStore, key: str, *, holds: int | None = 0) -> None:
    """Open an upload's data for writing, use it and close it: a store may open it with the first use."""
    data = await store.write_to(key, holds=holds)
    try:
        await data.write(0, [])
    finally:
        await data.close()


async def all_names(store: DataStore, older_than: float) -> set[str]:
    """Return the names of all data changed before a moment."""
    found: set[str] = set()
    async for batch in store.names(older_than=older_than):
        found |= set(batch)
    return found


@asynccontextmanager
async def _transferring(
    store: DataStore,
    count: int,
    *,
    offset: int = 0,
    buffers: Sequence[bytes] = (),
    timeout: float = 10,
    last: bool = False,
) -> AsyncIterator[tuple[Data, Transfer, socket.socket, socket.socket]]:
    """Begin a transfer into an upload; yield it, the client's end of its connection, and a second server's end.

    The test is skipped where the store does not transfer.
    """
    if not store.can_transfer:
        pytest.skip("this store does not transfer")
    own, peer = socket.socketpair()
    own.setblocking(False)
    with own.dup() as after, peer:
        try:
            data = await store.write_to(ID)
        except DataLost:
            own.close()
            raise
        transfer = data.transfer(offset, Rest(list(buffers), own, count, timeout), last=last)
        try:
            yield data, transfer, peer, after
        finally:
            transfer.interrupt(ServerShutdown())
            await _over(transfer)
            await data.close()


async def _over(transfer: Transfer) -> None:
    """Wait until nothing more is moved."""
    await asyncio.wait_for(transfer.wait(sys.maxsize), 10)
    assert transfer.is_over
    assert transfer.is_ending()


class DataStoreTests:
    """The contract of `tusd_py.abc.DataStore`, `Data` and `DataReader`."""

    @each_key
    @pytest.mark.parametrize("durable", [True, False])
    async def test_begins_empty(self, store: DataStore, key: str, durable: bool) -> None:
        """A created upload has no bytes."""
        await store.create(key, durable=durable)
        assert await content(store, key) == b""

    @each_key
    async def test_creates_once(self, store: DataStore, key: str) -> None:
        """A second creation is refused and leaves the bytes of the first alone (row 22)."""
        await fill(store, key, b"first")
        with pytest.raises(UploadExists):
            await store.create(key, durable=True)
        assert await content(store, key) == b"first"

    async def test_writes_at_absolute_offsets(self, store: DataStore) -> None:
        """Bytes go to the offset that is told, over what is there, and never to the end (I4)."""
        await store.create(ID, durable=False)
        data = await store.write_to(ID)
        await data.write(0, [b"abc", b"", b"def", b"ghi"])
        view = memoryview(bytearray(b"DEF"))
        await data.write(3, [view])
        view[:] = b"xyz"  # its memory is somebody else's when it is written
        await data.close()
        assert await content(store, ID) == b"abcDEFghi"

    @each_key
    async def test_continues_in_a_new_handle(self, store: DataStore, key: str) -> None:
        """What one handle wrote, another one continues (I1)."""
        await store.create(key, durable=True)
        for offset, part in ((0, b"one"), (3, b"two")):
            data = await store.write_to(key)
            await data.write(offset, [part])
            await data.sync()
            await data.close()
        assert await content(store, key) == b"onetwo"

    @each_key
    async def test_writes_nothing(self, store: DataStore, key: str) -> None:
        """No buffers, and empty ones, are fine."""
        await store.create(key, durable=False)
        data = await store.write_to(key)
        await data.write(0, [])
        await data.write(0, [b""])
        await data.seal(0, durable=True)
        await data.close()
        assert await content(store, key) == b""

    async def test_feeds_the_digest(self, store: DataStore) -> None:
        """Every byte stored goes through the digest, in order (I6)."""
        await store.create(ID, durable=False)
        data = await store.write_to(ID)
        digest = hashlib.sha256(b"so far ")
        await data.write(0, [b"one", b"two"], digest)
        await data.write(6, [b"three"], digest)
        await data.close()
        assert digest.digest() == hashlib.sha256(b"so far onetwothree").digest()

    async def test_many_buffers(self, store: DataStore) -> None:
        """The number of buffers has no limit, not even that of the operating system for one call."""
        buffers = [bytes([index % 251]) * (index % 3) for index in range(5000)]
        await store.create(ID, durable=False)
        data = await store.write_to(ID)
        await data.write(2, buffers)
        await data.close()
        assert await content(store, ID) == bytes(2) + b"".join(buffers)

    @each_key
    async def test_seal_cuts_the_tail(self, store: DataStore, key: str) -> None:
        """Bytes beyond the length never exist after the finish (I2)."""
        await store.create(key, durable=False)
        data = await store.write_to(key)
        await data.write(0, [b"0123456789"])
        await data.seal(4, durable=True)
        await data.close()
        assert await content(store, key) == b"0123"

    async def test_seal_refuses_short_data(self, store: DataStore) -> None:
        """Data that is shorter than the upload is never called finished (I7)."""
        await store.create(ID, durable=False)
        data = await store.write_to(ID)
        await data.write(0, [b"012"])
        with pytest.raises(DataLost):
            await data.seal(4, durable=False)
        await data.close()

    @each_key
    async def test_opening_short_data_is_refused(self, store: DataStore, key: str) -> None:
        """Nothing is written behind acknowledged bytes that are gone: that would hide the loss (I7)."""
        await fill(store, key, b"012345")
        await _use(store, key, holds=6)
        with pytest.raises(DataLost):
            await _use(store, key, holds=7)

    @each_key
    async def test_opening_makes_what_never_held_anything(self, store: DataStore, key: str) -> None:
        """Data that never had an acknowledged byte is made where it is not there, and else left as it is (I7)."""
        await _use(store, key, holds=None)
        assert await content(store, key) == b""
        other = f"{key}2"
        await fill(store, other, b"0123")
        await _use(store, other, holds=None)
        assert await content(store, other) == b"0123"

    @each_key
    async def test_truncate(self, store: DataStore, key: str) -> None:
        """Truncating drops what is beyond and never makes data longer (I5)."""
        await store.create(key, durable=False)
        data = await store.write_to(key)
        await data.write(0, [b"0123456789"])
        await data.truncate(5)
        await data.truncate(8)
        await data.close()
        assert await content(store, key) == b"01234"

    @each_key
    async def test_copy(self, store: DataStore, key: str) -> None:
        """Parts are copied behind each other and stay as they are."""
        await fill(store, key, b"first.")
        await fill(store, OTHER, b"second, and more")
        await store.create("Final", durable=False)
        data = await store.write_to("Final")
        await data.copy(0, key, 6)
        await data.copy(6, OTHER, 6)
        await data.copy(12, key, 6)
        await data.copy(18, key, 0)
        await data.seal(18, durable=True)
        await data.close()
        assert await content(store, "Final") == b"first.secondfirst."
        assert await content(store, key) == b"first."

    @each_key
    async def test_copy_of_short_or_missing_data(self, store: DataStore, key: str) -> None:
        """A part that is not as long as it should be is never filled up with anything (I7)."""
        await fill(store, key, b"short")
        await store.create("Final", durable=False)
        data = await store.write_to("Final")
        for source, length in ((key, 6), (OTHER, 1)):
            with pytest.raises(DataLost):
                await data.copy(0, source, length)
        await data.close()

    @each_key
    async def test_missing_data(self, store: DataStore, key: str) -> None:
        """Data that is not there is lost, for reading and writing; removing it is fine."""
        with pytest.raises(DataLost):
            await _use(store, key)
        with pytest.raises(DataLost):
            await store.read_from(key)
        await store.remove(key, durable=True)

    @each_key
    @pytest.mark.parametrize("durable", [True, False])
    async def test_remove(self, store: DataStore, key: str, durable: bool) -> None:
        """Removed data is gone, its neighbour is not, and removing twice is fine (I12)."""
        await fill(store, key, b"gone")
        await fill(store, OTHER, b"stays")
        await store.remove(key, durable=durable)
        await store.remove(key, durable=durable)
        with pytest.raises(DataLost):
            await store.read_from(key)
        assert await content(store, OTHER) == b"stays"

    @each_key
    async def test_reader(self, store: DataStore, key: str) -> None:
        """A reader knows size and time, reads any range, and is empty at the end."""
        before = time.time()
        await fill(store, key, b"0123456789")
        reader = await store.read_from(key)
        assert reader.size == 10
        assert before - 2 < reader.modified_at < time.time() + 2
        assert await reader.read(3, 4) == b"3456"
        assert await reader.read(8, 100) == b"89"
        assert await reader.read(10, 100) == b""
        await reader.close()

    async def test_reader_descriptor(self, store: DataStore) -> None:
        """A file descriptor, where there is one, is that of the data."""
        await fill(store, ID, b"0123456789")
        reader = await store.read_from(ID)
        fd = reader.fileno()
        if fd is not None:
            assert os.pread(fd, 4, 3) == b"3456"
        await reader.close()

    @each_key
    async def test_reader_survives_removal(self, store: DataStore, key: str) -> None:
        """A download that has begun can end, although the upload is removed meanwhile."""
        await fill(store, key, b"0123456789")
        reader = await store.read_from(key)
        await store.remove(key, durable=False)
        assert await reader.read(0, 10) == b"0123456789"
        await reader.close()

    @each_key
    async def test_close_twice(self, store: DataStore, key: str) -> None:
        """Handles can be closed twice."""
        await fill(store, key, b"x")
        reader, data = await store.read_from(key), await store.write_to(key)
        for handle in (reader, data):
            await handle.close()
            await handle.close()

    async def test_names(self, store: DataStore) -> None:
        """The sweep for orphans sees all data that is old enough, and no other."""
        names = {f"{first}{second}-{number}" for first in "aZ_-" for second in "0z" for number in range(70)}
        names |= {f"/{project}/{number}.jpg" for project in ("a/b", "a/b/c", "\N{CAT}") for number in range(200)}
        for name in names:
            await store.create(name, durable=False)
        now = time.time()
        assert await all_names(store, now + 60) == names
        assert await all_names(store, now - 60) == set()

    async def test_writers_do_not_meet(self, store: DataStore) -> None:
        """Writers of different uploads at the same time do not mix their bytes (I4)."""
        names = [f"writer-{number}" for number in range(20)]

        async def upload(name: str) -> None:
            await store.create(name, durable=False)
            data = await store.write_to(name)
            for step in range(10):
                await data.write(step * 6, [name.encode()[-2:], b"%4d" % step])
            await data.seal(60, durable=False)
            await data.close()

        await asyncio.gather(*map(upload, names))
        for name in names:
            assert await content(store, name) == b"".join(name.encode()[-2:] + b"%4d" % step for step in range(10))

    @pytest.mark.parametrize("count", [1, 5000, 2_000_000])
    async def test_transfer(self, store: DataStore, count: int) -> None:
        """A transfer stores what had arrived and `count` bytes behind it, at its offset; the next byte stays (I4)."""
        await fill(store, ID, b"=" * 10)
        body, loop = os.urandom(count), asyncio.get_running_loop()
        async with _transferring(store, count, offset=4, buffers=(b"ab", b"", b"c")) as (_, transfer, peer, after):
            peer.setblocking(False)
            await asyncio.wait_for(loop.sock_sendall(peer, body + b"next"), 10)
            await _over(transfer)
            assert (transfer.error, transfer.is_complete, transfer.position) == (None, True, 7 + count)
            assert transfer.idle() == 0
            assert after.recv(10) == b"next"
        assert await content(store, ID) == (b"=" * 4 + b"abc" + body).ljust(10, b"=")

    async def test_transfer_of_nothing_more(self, store: DataStore) -> None:
        """A transfer may have nothing to take from its connection."""
        await store.create(ID, durable=False)
        async with _transferring(store, 0, buffers=(b"all",)) as (_, transfer, _, _):
            await _over(transfer)
            assert (transfer.error, transfer.is_complete, transfer.position) == (None, True, 3)
        assert await content(store, ID) == b"all"

    async def test_last_transfer(self, store: DataStore) -> None:
        """Behind one that was to be the last, everything works all the same (3.1 PATCH, I12)."""
        await store.create(ID, durable=False)
        digest = hashlib.sha256()
        async with _transferring(store, 4, buffers=(b"some",), last=True) as (data, transfer, peer, _):
            peer.send(b"more")
            await _over(transfer)
            await data.hash(0, 8, digest)
            await data.sync()
            await data.write(8, [b", and more"])
            await data.truncate(12)
            await data.seal(12, durable=True)
        assert digest.digest() == hashlib.sha256(b"somemore").digest()
        assert await content(store, ID) == b"somemore, an"

    @pytest.mark.parametrize("ending", [ConnectionReset, ReadTimeout, UploadInterrupted])
    async def test_transfer_that_is_cut(self, store: DataStore, ending: type[Exception]) -> None:
        """Whatever ends a transfer early, what had arrived is stored, and the reason is told (CORE-BODY-03, 07)."""
        await store.create(ID, durable=False)
        timeout = 0.2 if ending is ReadTimeout else 10
        async with _transferring(store, 100, buffers=(b"ab",), timeout=timeout) as (_, transfer, peer, _):
            peer.send(b"cde")
            if ending is ConnectionReset:
                peer.shutdown(socket.SHUT_WR)
            elif ending is UploadInterrupted:
                transfer.interrupt(UploadInterrupted())
                transfer.interrupt(ServerShutdown())
            await _over(transfer)
            assert isinstance(transfer.error, ending)
            assert (transfer.is_complete, transfer.position) == (False, 5)
        assert await content(store, ID) == b"abcde"

    async def test_transfer_into_lost_data(self, store: DataStore) -> None:
        """Data that is not there is lost for a transfer, too (I7)."""
        lost: Exception | None
        try:
            async with _transferring(store, 5) as (_, transfer, _, _):
                await _over(transfer)
                assert (transfer.is_complete, transfer.position) == (False, 0)
                lost = transfer.error
        except DataLost as error:
            lost = error
        assert isinstance(lost, DataLost)

    async def test_transfer_is_followed(self, store: DataStore) -> None:
        """While a transfer runs its bytes can be waited for, hashed and synced; closing waits for it (I6, I10)."""
        await store.create(ID, durable=False)
        digest = hashlib.sha256(b"so far ")
        async with _transferring(store, 100, buffers=(b"one",)) as (data, transfer, peer, _):
            peer.send(b"two")
            await asyncio.wait_for(transfer.wait(6), 10)
            assert (transfer.position, transfer.is_over, transfer.is_ending()) == (6, False, False)
            await data.hash(0, 6, digest)
            await data.sync()
            assert digest.digest() == hashlib.sha256(b"so far onetwo").digest()
            with pytest.raises(DataLost):
                await data.hash(6, 7, digest)
            await asyncio.wait_for(transfer.wait(7, timeout=0.01), 10)
            closing = asyncio.create_task(data.close())
            await asyncio.wait([closing], timeout=0.05)
            assert not closing.done()
            transfer.interrupt(ServerShutdown())
            await asyncio.wait_for(closing, 10)
            await _over(transfer)
        assert await content(store, ID) == b"onetwo"
