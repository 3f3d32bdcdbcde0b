"""Fixtures of the fault programme."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest

from tests.faults.figures import Figures
from tests.faults.plugin import FIGURES, SEEDS
from tests.faults.volumes import volume


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """What this run counts; it is printed and written at the end."""
    return pytestconfig.stash[FIGURES]


@pytest.fixture(scope="session")
def seeds(pytestconfig: pytest.Config) -> list[int]:
    """The fixed seed, and at larger volumes a new one for every run."""
    return pytestconfig.stash[SEEDS]


@pytest.fixture(scope="session")
def volume_of(pytestconfig: pytest.Config) -> Callable[[str], int]:
    """How much a test does: `volume_of("T5")` kills."""
    return lambda test: volume(test, pytestconfig.getoption("volume"))


@pytest.fixture(scope="session")
def not_run(figures: Figures) -> Callable[[str, str], NoReturn]:
    """Skip what cannot run here, and say so in the figures: `not_run("power cuts on XFS", "needs mkfs.xfs")`."""

    def leave_out(what: str, reason: str) -> NoReturn:
        figures.not_run(what, reason)
        pytest.skip(f"NOT RUN: {reason}")

    return leave_out
