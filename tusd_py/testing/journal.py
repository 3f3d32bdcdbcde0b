"""What every journal must do. Subclass and give a `store` fixture: an open, empty info store that has one."""

from __future__ import annotations

import pytest

from tusd_py.abc import InfoStore, Journal
from tusd_py.errors import StaleWriter, UploadExists
from tusd_py.models.upload import UploadInfo
from tusd_py.testing.info import ID, last_step, step


def journal_of(store: InfoStore) -> Journal:
    """Return the journal of a store that has one."""
    assert store.journal is not None
    return store.journal


async def kept(store: InfoStore, *, after: int = 0, limit: int = 100) -> list[tuple[str, int, bytes]]:
    """Return the entries of a journal: whose, where, what."""
    entries = await journal_of(store).entries(after=after, limit=limit)
    assert [entry.upload for entry in entries] == [await store.get(entry.upload.id) for entry in entries]
    return [(entry.upload.id, entry.offset, entry.data) for entry in entries]


class JournalTests:
    """The contract of `tusd_py.abc.Journal`."""

    async def test_nothing(self, store: InfoStore) -> None:
        """What is changed without bytes to keep makes no entry."""
        await store.insert(UploadInfo(id=ID, length=10), durable=True)
        await store.advance(step(4), durable=True)
        assert await kept(store) == []
        assert journal_of(store).size == 0
        assert not journal_of(store).holds(ID)

    async def test_bytes_of_each_step(self, store: InfoStore) -> None:
        """Creation, progress and end each keep the bytes before the new offset, in their order."""
        await store.insert(UploadInfo(id=ID, length=10, offset=2, synced_offset=2), durable=True, kept=b"ab")
        await store.advance(step(6, expected=2), durable=True, kept=b"\0\xff\n'")
        await store.finish(last_step(expected=6), durable=True, kept=b"ghij")
        assert await kept(store) == [(ID, 0, b"ab"), (ID, 2, b"\0\xff\n'"), (ID, 6, b"ghij")]
        assert journal_of(store).size >= 10
        assert journal_of(store).holds(ID)

    async def test_batches(self, store: InfoStore) -> None:
        """Entries come in batches, each behind the last number of the one before."""
        for number in range(5):
            await store.insert(UploadInfo(id=f"{number}", offset=1), durable=False, kept=b"%d" % number)
        first = await journal_of(store).entries(after=0, limit=3)
        rest = await journal_of(store).entries(after=first[-1].number, limit=3)
        assert [entry.data for entry in (*first, *rest)] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_a_change_that_is_not_made_keeps_nothing(self, store: InfoStore) -> None:
        """A writer that lost its turn, and a name that is taken, leave no bytes behind."""
        await store.insert(UploadInfo(id=ID, length=10), durable=True)
        with pytest.raises(StaleWriter):
            await store.advance(step(6, expected=2), durable=True, kept=b"lost")
        with pytest.raises(UploadExists):
            await store.insert(UploadInfo(id=ID, offset=4), durable=True, kept=b"lost")
        assert await kept(store) == []

    async def test_bytes_go_with_their_upload(self, store: InfoStore) -> None:
        """Those of an upload on its way out are not to be written any more, and another one may have its name."""
        await store.insert(UploadInfo(id=ID, offset=3), durable=True, kept=b"old")
        await store.insert(UploadInfo(id="other", offset=4), durable=True, kept=b"stay")
        await store.mark_deleting(ID, durable=True)
        assert await kept(store) == [("other", 0, b"stay")]
        await store.delete(ID)
        await store.insert(UploadInfo(id=ID, offset=3), durable=True)
        assert await kept(store) == [("other", 0, b"stay")]

    async def test_forgetting(self, store: InfoStore) -> None:
        """What was there at a moment can be forgotten, and what came later stays; numbers are not used again."""
        journal = journal_of(store)
        await store.insert(UploadInfo(id="a", offset=1), durable=True, kept=b"a")
        await store.insert(UploadInfo(id="b", offset=1), durable=True, kept=b"b")
        end = await journal.end()
        await store.mark_deleting("b", durable=True)
        await store.delete("b")
        await store.insert(UploadInfo(id="c", offset=1), durable=True, kept=b"c")
        await journal.forget(end)
        assert await kept(store) == [("c", 0, b"c")]
        assert [journal.holds(name) for name in "abc"] == [False, False, True]
        await journal.forget(await journal.end())
        assert await kept(store) == []
        assert journal.size == 0

    async def test_forgetting_all_but_some(self, store: InfoStore) -> None:
        """What is of uploads that are named stays, and can be forgotten later."""
        journal = journal_of(store)
        for name in ("a", "b", "c"):
            await store.insert(UploadInfo(id=name, offset=1), durable=True, kept=name.encode())
        end = await journal.end()
        await journal.forget(end, but=["b"])
        assert await kept(store) == [("b", 0, b"b")]
        assert [journal.holds(name) for name in "abc"] == [False, True, False]
        assert journal.size > 0
        await journal.forget(end)
        assert await kept(store) == []
        assert journal.size == 0

    async def test_many(self, store: InfoStore) -> None:
        """As many as there are can be forgotten at once."""
        for number in range(450):
            await store.insert(UploadInfo(id=f"{number:03}", offset=1), durable=False, kept=b"x")
        await journal_of(store).forget(await journal_of(store).end())
        assert await kept(store) == []
        assert journal_of(store).size == 0

    async def test_only_what_counts(self, store: InfoStore) -> None:
        """Bytes beyond an offset that fell are not to be written: others may be there by now (I9)."""
        await store.insert(UploadInfo(id=ID, length=10, offset=2, synced_offset=2), durable=True, kept=b"ab")
        await store.advance(step(6, expected=2), durable=True, kept=b"cdef")
        await store.advance(step(2, expected=6, fence=2), durable=True)
        assert await kept(store) == [(ID, 0, b"ab")]
        await store.advance(step(8, expected=2, fence=2), durable=True)
        assert await kept(store) == [(ID, 0, b"ab")]
