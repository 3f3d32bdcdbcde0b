"""What tests of data stores put there and look at."""

from __future__ import annotations

import pytest

from tusd_py.abc import DataStore

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


async def all_names(store: DataStore, older_than: float) -> set[str]:
    """Return the names of all data changed before a moment."""
    found: set[str] = set()
    async for batch in store.names(older_than=older_than):
        found |= set(batch)
    return found
