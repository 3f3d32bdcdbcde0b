"""What several tests of the data plane need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.stores.moving import Disk, Room, room


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Room]:
    """An open file store."""
    async with room(tmp_path / "uploads") as each:
        yield each


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """The disk below the data plane, which stands still or fails when told to."""
    disk = Disk(monkeypatch)
    yield disk
    disk.let_go()
