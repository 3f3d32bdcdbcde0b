"""Bodies that may not come faster than `max_upload_rate`, read here and moved by the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.servers import Target
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.web.body import RequestBody


async def test_every_byte_arrives(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A body that is slowed down arrives whole, and a client that keeps below the rate is not slowed down."""
    server = await start_server(max_upload_rate="1MiB")
    client, data = client_of(server), os.urandom(900_000)
    url = await client.upload(data)
    assert (await client.get(url)).body == data
    small = await client.upload(b"small")
    assert (await client.get(small)).body == b"small"


async def test_taken_over(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A body that waits for its turn gives way to the next at once, and what was taken counts (CONC-04)."""
    server = await start_server(max_upload_rate="1KiB", lock_timeout="30s")
    client, data = client_of(server), os.urandom(200_000)
    url = await client.create(len(data))
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": str(len(data))})
        wire.send(data[:60_000])
        await until(lambda: _is_slowed(server, url))
        early = await client.patch(url, 0, b"")
        assert early.status == 409
        assert early.offset is not None
        assert server.data_path(url).read_bytes()[: early.offset] == data[: early.offset] != b""
        assert (await wire.answer()).code == "ERR_UPLOAD_INTERRUPTED"


async def _is_slowed(server: Target, url: str) -> bool:
    """Whether the body that an upload receives may not go on; of another process, whether a part of it is there."""
    if server.tus is None:
        return server.stored(url) > 0
    body = server.tus.engine._ctx.receiving.get(url.rpartition("/")[2])
    if not isinstance(body, RequestBody):
        return False
    return body._pausing is not None or (body._transfer is not None and body._transfer.paused)
