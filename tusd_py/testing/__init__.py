"""What every plug-in must do, as suites to subclass, and fakes to do it with. Needs pytest and pytest-asyncio.

A suite is a class of coroutine tests; a subclass gives the fixture that the suite's docstring names. It runs with
`asyncio_mode = auto`. Call `pytest.register_assert_rewrite("tusd_py.testing")` in a `conftest.py` before importing
anything from here, for failures that show the values::

    class TestMyStore(DataStoreTests):
        @pytest.fixture
        async def store(self, tmp_path):
            store = MyStore(tmp_path)
            await store.open()
            yield store
            await store.close()
"""

from tusd_py.testing.data import DataStoreTests
from tusd_py.testing.fakes import FakeClock
from tusd_py.testing.info import InfoStoreTests
from tusd_py.testing.jobs import JobStoreTests
from tusd_py.testing.journal import JournalTests
from tusd_py.testing.lockers import LockerTests

__all__ = ["DataStoreTests", "FakeClock", "InfoStoreTests", "JobStoreTests", "JournalTests", "LockerTests"]
