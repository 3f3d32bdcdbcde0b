"""Servers with settings that several files of tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.servers import Target, serve


@pytest.fixture(scope="session")
async def hasty_server(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that gives up on silent clients after 300 ms and stores the offset inside a PATCH at once."""
    place = tmp_path_factory.mktemp(f"hasty-{mode}") / "data"
    async with serve(mode, place, network_timeout="300ms", checkpoint_bytes=1) as target:
        yield target
