"""The rooms of these tests do what the engine may expect of such rooms."""

from __future__ import annotations

import pytest

from tests.engine.rooms import Diary, RecordingInfoStore
from tusd_py.abc import InfoStore
from tusd_py.testing import JournalTests


class TestMemoryJournal(JournalTests):
    @pytest.fixture
    async def store(self) -> InfoStore:
        return RecordingInfoStore(Diary())
