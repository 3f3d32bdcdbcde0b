"""A command, and servers to use it with."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Command
from tests.support.servers import Target, process


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `tusd-py`, with nothing remembered yet."""
    return Command(tmp_path / "home")


@pytest.fixture(scope="session")
async def uploads_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server of its own process, shared: tests make their own uploads and look at those only."""
    async with process(tmp_path_factory.mktemp("uploads") / "data") as target:
        yield target


@pytest.fixture
async def start_process(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Target]]]:
    """Start servers of their own process with other settings."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**settings: Any) -> Target:
            return await stack.enter_async_context(process(tmp_path / "data", **settings))

        yield start
