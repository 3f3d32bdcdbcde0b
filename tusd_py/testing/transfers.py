"""What every data store must do that moves bodies from their sockets itself; part of `DataStoreTests`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tusd_py.abc import Data, DataStore, Rest, Transfer
from tusd_py.errors import ConnectionReset, DataLost, ReadTimeout, ServerShutdown, UploadInterrupted
from tusd_py.testing.stored import ID, content, fill


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


class TransferTests:
    """The contract of `tusd_py.abc.Data.transfer`; skipped where the store does not transfer."""

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
