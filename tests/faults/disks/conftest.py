"""What the scenarios of disks and of the life of a process need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.disks.trial import Trial, trial
from tests.faults.lives import Lives, lives


@pytest.fixture(scope="module")
async def them(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lives]:
    """Where all servers of a file come from."""
    async with lives(tmp_path_factory.mktemp("lives")) as them:
        yield them


@pytest.fixture
async def one(them: Lives, tmp_path: Path) -> AsyncIterator[Trial]:
    """The client of a scenario; it is gone before its disks are."""
    async with trial(them, tmp_path / "data") as one:
        yield one
