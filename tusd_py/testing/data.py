"""What every data store must do. Subclass and give a `store` fixture: an open, empty store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time

import pytest

from tusd_py.abc import DataStore
from tusd_py.errors import DataLost, UploadExists
from tusd_py.testing.stored import ID, OTHER, all_names, content, each_key, fill
from tusd_py.testing.transfers import TransferTests


async def _use(store: DataStore, key: str, *, holds: int | None = 0) -> None:
    """Open an upload's data for writing, use it and close it: a store may open it with the first use."""
    data = await store.write_to(key, holds=holds)
    try:
        await data.write(0, [])
    finally:
        await data.close()


class DataStoreTests(TransferTests):
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
