"""Every store keeps the contract that is shipped for plug-in authors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tusd_py.abc import DataStore, InfoStore, JobStore
from tusd_py.models.limits import Durability
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.memory import MemoryDataStore, MemoryInfoStore
from tusd_py.stores.sqlite import SqliteInfoStore
from tusd_py.testing import DataStoreTests, InfoStoreTests, JobStoreTests, JournalTests


class TestMemoryData(DataStoreTests):
    @pytest.fixture
    async def store(self) -> AsyncIterator[DataStore]:
        store = MemoryDataStore()
        await store.open()
        yield store
        await store.close()


class TestFileData(DataStoreTests):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[DataStore]:
        store = FileDataStore(tmp_path / "uploads", threads=2)
        await store.open()
        yield store
        await store.close()


class TestMemoryInfo(InfoStoreTests):
    @pytest.fixture
    async def store(self) -> AsyncIterator[InfoStore]:
        store = MemoryInfoStore()
        await store.open()
        yield store
        await store.close()


class TestSqliteInfo(InfoStoreTests, JournalTests):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[InfoStore]:
        store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.PATCH)
        await store.open()
        yield store
        await store.close()


class TestMemoryJobs(JobStoreTests):
    @pytest.fixture
    async def info(self) -> MemoryInfoStore:
        return MemoryInfoStore()

    @pytest.fixture
    async def jobs(self, info: JobStore) -> JobStore:
        return info


class TestSqliteJobs(JobStoreTests):
    @pytest.fixture
    async def info(self, tmp_path: Path) -> AsyncIterator[SqliteInfoStore]:
        store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.FINISH)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def jobs(self, info: JobStore) -> JobStore:
        return info
