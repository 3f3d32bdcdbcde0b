"""Fixtures of the interop tests: every client meets every way of having a server."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.interop.mounts import MOUNTS, Member, Mount, mounted
from tests.support.proxy import CuttingProxy

MIB = 2**20


@pytest.fixture(scope="session", params=MOUNTS)
def mode(request: pytest.FixtureRequest) -> str:
    """How the server runs."""
    return str(request.param)


@pytest.fixture(scope="session")
async def server(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mount]:
    """A server with default settings, shared: tests make their own uploads and look at those only."""
    async with mounted(mode, tmp_path_factory.mktemp(mode) / "data") as mount:
        yield mount


@pytest.fixture
def client(session: aiohttp.ClientSession, server: Mount) -> Member:
    """A client of the shared server that hides nothing, to look at what the strangers did."""
    return Member(session, server)


@pytest.fixture
def collected_here() -> Iterator[None]:
    """Let the files that a client leaves open, in cycles with its exceptions, go here and not in another test."""
    yield
    gc.collect()


@pytest.fixture
async def proxy(server: Mount) -> AsyncIterator[CuttingProxy]:
    """A way to the server that can be cut."""
    async with CuttingProxy.open(server.url) as proxy:
        yield proxy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of a bit more than 3 MiB."""
    path = tmp_path / "film.bin"
    path.write_bytes(os.urandom(3 * MIB + 17))
    return path
