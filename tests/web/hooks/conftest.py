"""A server whose application is asked and told everything, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Client
from tests.support.hooked import PATHS, Hooked, hooked


@pytest.fixture(params=PATHS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hooked]:
    """A server with one hook at all moments; bodies come in on either path."""
    async with hooked(tmp_path / "data", request.param) as server:
        yield server


@pytest.fixture
def client(session: aiohttp.ClientSession, server: Hooked) -> Client:
    """A client of it."""
    return Client(session, server.target.url)
