"""The locker of one process keeps the contract of all lockers."""

import pytest

from tusd_py.lockers.memory import MemoryLocker
from tusd_py.testing.lockers import LockerTests


class TestMemoryLocker(LockerTests):
    """`MemoryLocker` against the contract."""

    @pytest.fixture
    def locker(self) -> MemoryLocker:
        """A fresh locker."""
        return MemoryLocker()

    async def test_holds_nothing_when_idle(self, locker: MemoryLocker) -> None:
        """Nothing is remembered of an upload that nobody uses: memory does not grow with their number (I19)."""
        lock = await locker.acquire("a", timeout=0)
        await lock.release()
        assert locker._lines == {}
