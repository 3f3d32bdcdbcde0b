"""Whether a file arrived."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.client import Client
from tests.support.servers import Target
from tests.support.waiting import until


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def location_of(client: Client, url: str) -> str:
    """Return the URL of an upload that may have been made through a proxy, on the direct way."""
    return client.base + url.rpartition("/")[2]


async def assert_arrived(client: Client, server: Target, url: str, path: Path) -> str:
    """The upload is finished, and its bytes are those of the file, on the disk and on the way back."""
    location = location_of(client, url)
    head = await client.head(location)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == (str(path.stat().st_size),) * 2
    assert sha256(server.data_path(location)) == sha256(path)
    assert (await client.get(location)).body == path.read_bytes()
    return location


async def until_committed(client: Client, url: str) -> None:
    """Wait until the server has noticed that the connection was cut, and has committed what came."""

    async def is_committed() -> bool:
        return await client.offset(url) > 0

    await until(is_committed)
