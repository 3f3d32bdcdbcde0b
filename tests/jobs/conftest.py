"""What all tests of jobs need."""

from __future__ import annotations

import pytest

from tests.jobs.office import Office


@pytest.fixture
def office() -> Office:
    """A worker over memory whose time stands still, without any task."""
    return Office()
