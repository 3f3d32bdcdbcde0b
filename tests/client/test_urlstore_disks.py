"""What is remembered of uploads, on disks that cannot be written to."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.client.test_urlstore import ENDPOINT, STORED
from tests.support.disks import small_disk
from tusd_py.client.errors import StoreUnusable
from tusd_py.client.urlstore import UrlStore


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        yield disk


async def test_read_only(disk: Path) -> None:
    """What can only be read is read."""
    store = UrlStore(disk / "tusd-py" / "resumable.sqlite3", now=lambda: 100.0)
    await store.remember(STORED)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert await store.find(STORED.path, ENDPOINT) == replace(STORED, updated_at=100.0)
    for refused in (store.remember(STORED), store.forget("/x"), store.claim("/x", "e").__aenter__()):
        with pytest.raises(StoreUnusable, match="cannot be used: "):
            await refused


async def test_full_disk(disk: Path) -> None:
    """What does not fit is told, what was there is still there, and with space all is as before."""
    store = UrlStore(disk / "tusd-py" / "resumable.sqlite3", now=lambda: 100.0)
    await store.remember(STORED)
    with (disk / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
        while rest.write(bytes(4096)):
            pass
    large = replace(STORED, path="/large", urls=("x" * 100_000,))
    with pytest.raises(StoreUnusable, match="cannot be used: "):
        await store.remember(large)
    assert len(await store.list()) == 1
    (disk / "rest").unlink()
    await store.remember(large)
    assert len(await store.list()) == 2
