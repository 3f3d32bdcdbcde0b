"""Fixtures for everything that talks to a server: each test runs against both ways of having one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

# The suites that are shipped show values when they fail here too; this must come before anybody imports them.
pytest.register_assert_rewrite("tusd_py.testing")

from tests.support.client import Client
from tests.support.servers import MODES, Target, serve

pytest_plugins = ["tests.faults.plugin"]
"""Options must be known before folders are entered."""

StartServer = Callable[..., Awaitable[Target]]


@pytest.fixture(scope="session", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How the server runs, and how bodies come in; see `tests.support.servers.WAYS`."""
    return str(request.param)


@pytest.fixture(scope="session")
async def server(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server with default settings, shared: tests make their own uploads and look at those only."""
    async with serve(mode, tmp_path_factory.mktemp(mode) / "data") as target:
        yield target


@pytest.fixture
async def start_server(mode: str, tmp_path: Path) -> AsyncIterator[StartServer]:
    """Start servers with other settings; a second one in the same directory needs the first to be gone."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(data_dir: Path | None = None, **settings: Any) -> Target:
            return await stack.enter_async_context(serve(mode, data_dir or tmp_path / "data", **settings))

        yield start


@pytest.fixture(scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session that does not touch bodies."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
def client(session: aiohttp.ClientSession, server: Target) -> Client:
    """A client of the shared server."""
    return Client(session, server.url)


@pytest.fixture
def client_of(session: aiohttp.ClientSession) -> Callable[[Target], Client]:
    """Make clients of other servers."""
    return lambda target: Client(session, target.url)
