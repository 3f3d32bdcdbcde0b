"""What every info store must do. Subclass and give a `store` fixture: an open, empty store."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tusd_py.abc import InfoStore
from tusd_py.errors import StaleWriter, UploadExists
from tusd_py.models.limits import Usage
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState

ID = "Info-Store_1"
NOW = 1_700_000_000.25
LARGEST = 2**63 - 1
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def step(offset: int, *, expected: int = 0, fence: int = 1, length: int | None = 10) -> Progress:
    """Return a step forward of the upload `ID`."""
    return Progress(
        upload_id=ID,
        fence=fence,
        expected=expected,
        offset=offset,
        synced_offset=offset,
        length=length,
        expires_at=NOW + 100,
    )


def last_step(*, expected: int = 0, fence: int = 1) -> Progress:
    """Return the step that finishes the upload `ID` with 10 bytes."""
    last = step(10, expected=expected, fence=fence)
    return replace(last, state=UploadState.FINISHED, expires_at=None, finished_at=NOW)


def waiting_step(*, expected: int = 0, fence: int = 1) -> Progress:
    """Return the step with which the upload `ID` has all of its 10 bytes and waits for a hook."""
    return replace(step(10, expected=expected, fence=fence), state=UploadState.FINISHING)


def refusing_step(*, fence: int = 1) -> Progress:
    """Return the step by which a hook refuses the upload `ID`."""
    last = step(10, expected=10, fence=fence)
    return replace(last, state=UploadState.REJECTED, rejection='no "cats"')


class InfoStoreTests:
    """The contract of `tusd_py.abc.InfoStore`, except for jobs."""

    async def test_unknown(self, store: InfoStore) -> None:
        """Nothing is known of an id that was never inserted."""
        assert await store.get(ID) is None
        assert await store.known([ID]) == set()
        assert await store.list_uploads() == []

    @pytest.mark.parametrize("durable", [True, False])
    @pytest.mark.parametrize(
        "upload",
        [
            UploadInfo(id=ID),
            UploadInfo(
                id=ID,
                kind=UploadKind.FINAL,
                state=UploadState.ASSEMBLING,
                offset=5,
                synced_offset=3,
                length=LARGEST,
                metadata="filename d29ybGQ=,is_confidential,quote Ig==",
                concat='final;/files/a "quoted" \\ /files/b',
                parts=("a", "b", "a"),
                epoch=7,
                created_at=1_700_000_000.1234567,
                expires_at=1_800_000_000.7654321,
                finished_at=NOW,
            ),
            UploadInfo(id=ID, state=UploadState.REJECTED, path="cats/'tom' \N{CAT}.jpg", rejection='no "cats"'),
            UploadInfo(id=ID, length=0, offset=0, metadata="k " * 30_000, creation_key=KEY, creation_digest="5e"),
        ],
    )
    async def test_gives_back_what_was_inserted(self, store: InfoStore, upload: UploadInfo, durable: bool) -> None:
        """Every field comes back as it went in, up to the largest length (row 2)."""
        await store.insert(upload, durable=durable)
        assert await store.get(ID) == upload
        assert await store.known([ID, "other"]) == {ID}

    async def test_inserts_once(self, store: InfoStore) -> None:
        """A second insertion is refused and changes nothing (row 22)."""
        first = UploadInfo(id=ID, length=1)
        await store.insert(first, durable=True)
        with pytest.raises(UploadExists):
            await store.insert(UploadInfo(id=ID, length=2), durable=True)
        assert await store.get(ID) == first

    async def test_one_of_many_insertions_wins(self, store: InfoStore) -> None:
        """Of several insertions of one id at the same time one succeeds."""
        results = await asyncio.gather(
            *(store.insert(UploadInfo(id=ID, length=n), durable=n % 2 == 0) for n in range(8)),
            return_exceptions=True,
        )
        assert sum(result is None for result in results) == 1
        assert sum(isinstance(result, UploadExists) for result in results) == 7

    @pytest.mark.parametrize("state", [state for state in UploadState if state is not UploadState.DELETING])
    async def test_finds_what_was_created(self, store: InfoStore, state: UploadState) -> None:
        """A key leads to its upload, whatever became of it, and to no other."""
        await store.insert(UploadInfo(id="other"), durable=True)
        assert await store.find_created(KEY) is None
        upload = UploadInfo(id=ID, state=state, length=1, creation_key=KEY, creation_digest="5e")
        await store.insert(upload, durable=True)
        assert await store.find_created(KEY) == upload
        assert await store.find_created(KEY[:-1]) is None

    async def test_a_key_has_one_upload(self, store: InfoStore) -> None:
        """Of several insertions with one key at the same time one succeeds; others are not harmed."""
        uploads = [UploadInfo(id=f"{n}", creation_key=KEY if n % 2 else None) for n in range(16)]
        results = await asyncio.gather(
            *(store.insert(upload, durable=n % 3 == 0) for n, upload in enumerate(uploads)), return_exceptions=True
        )
        made = [upload for upload, result in zip(uploads, results, strict=True) if result is None]
        assert sum(isinstance(result, UploadExists) for result in results) == 7
        assert {upload.id: upload for upload in await store.list_uploads()} == {upload.id: upload for upload in made}
        assert [await store.find_created(KEY)] == [upload for upload in made if upload.creation_key]

    async def test_a_key_is_free_again(self, store: InfoStore) -> None:
        """From the first step of a removal on another upload may have the key, and the second does not touch that."""
        await store.insert(UploadInfo(id=ID, creation_key=KEY), durable=True)
        assert await store.mark_deleting(ID, durable=True)
        assert await store.find_created(KEY) is None
        second = UploadInfo(id="second", creation_key=KEY)
        await store.insert(second, durable=True)
        assert await store.mark_deleting(ID, durable=True)
        await store.delete(ID)
        assert await store.find_created(KEY) == second

    async def test_advance(self, store: InfoStore) -> None:
        """A step changes what it names and nothing else (promise 1)."""
        upload = UploadInfo(id=ID, metadata="name Yg==", created_at=NOW, expires_at=NOW)
        await store.insert(upload, durable=True)
        await store.advance(replace(step(4), synced_offset=2), durable=True)
        expected = replace(upload, offset=4, synced_offset=2, length=10, epoch=1, expires_at=NOW + 100)
        assert await store.get(ID) == expected

    async def test_advance_again_with_the_same_fence(self, store: InfoStore) -> None:
        """One writer may take several steps with its fence."""
        await store.insert(UploadInfo(id=ID, length=10), durable=True)
        await store.advance(step(4), durable=True)
        await store.advance(step(9, expected=4), durable=False)
        found = await store.get(ID)
        assert found is not None
        assert (found.offset, found.epoch) == (9, 1)

    @pytest.mark.parametrize(
        "stale",
        [
            step(6, expected=3, fence=6),
            step(6, expected=5, fence=6),
            step(6, expected=4, fence=4),
            step(6, expected=4, fence=7),
            replace(step(6, expected=4, fence=6), upload_id="unknown"),
        ],
        ids=["older offset", "later offset", "older fence", "skipped fence", "unknown upload"],
    )
    async def test_stale_writers_change_nothing(self, store: InfoStore, stale: Progress) -> None:
        """A writer that lost its lock changes nothing, neither by a step nor by finishing (I10)."""
        upload = UploadInfo(id=ID, length=10, offset=4, epoch=5)
        await store.insert(upload, durable=True)
        with pytest.raises(StaleWriter):
            await store.advance(stale, durable=True)
        with pytest.raises(StaleWriter):
            await store.finish(replace(stale, state=UploadState.FINISHED, finished_at=NOW), durable=True)
        assert await store.get(ID) == upload

    @pytest.mark.parametrize(
        "state", [UploadState.ASSEMBLING, UploadState.FINISHED, UploadState.REJECTED, UploadState.DELETING]
    )
    async def test_only_open_uploads_advance(self, store: InfoStore, state: UploadState) -> None:
        """A finished or rejected upload is immutable, one that is being removed stays so (I6, I12)."""
        upload = UploadInfo(id=ID, state=state, length=10)
        await store.insert(upload, durable=True)
        with pytest.raises(StaleWriter):
            await store.advance(step(4), durable=True)
        assert await store.get(ID) == upload

    async def test_one_of_many_writers_wins(self, store: InfoStore) -> None:
        """Of several writers that read the same offset one advances (I4)."""
        await store.insert(UploadInfo(id=ID, length=10), durable=True)
        results = await asyncio.gather(
            *(store.advance(step(n), durable=True) for n in range(1, 9)), return_exceptions=True
        )
        winners = [n for n, result in enumerate(results, start=1) if result is None]
        found = await store.get(ID)
        assert found is not None
        assert [found.offset] == winners
        assert sum(isinstance(result, StaleWriter) for result in results) == 7

    @pytest.mark.parametrize("state", [UploadState.OPEN, UploadState.ASSEMBLING])
    async def test_finish(self, store: InfoStore, state: UploadState) -> None:
        """Finishing is explicit and takes the end of the data with it (promise 3)."""
        await store.insert(UploadInfo(id=ID, state=state, expires_at=NOW), durable=True)
        await store.finish(last_step(), durable=True)
        assert await store.get(ID) == UploadInfo(
            id=ID, state=UploadState.FINISHED, offset=10, synced_offset=10, length=10, epoch=1, finished_at=NOW
        )

    async def test_finishes_once(self, store: InfoStore) -> None:
        """Only one finish counts (I14)."""
        await store.insert(UploadInfo(id=ID, length=10), durable=True)
        results = await asyncio.gather(
            *(store.finish(last_step(), durable=True) for _ in range(3)), return_exceptions=True
        )
        assert sum(result is None for result in results) == 1
        with pytest.raises(StaleWriter):
            await store.finish(last_step(expected=10, fence=2), durable=True)

    @pytest.mark.parametrize("last", [replace(last_step(expected=10, fence=2)), refusing_step(fence=2)])
    async def test_asking_before_the_end(self, store: InfoStore, last: Progress) -> None:
        """An upload that has every byte waits for a hook, then is finished or rejected; neither ever again (I6)."""
        upload = UploadInfo(id=ID, length=10, metadata="a Yg==", created_at=NOW)
        await store.insert(upload, durable=True)
        await store.advance(waiting_step(), durable=True)
        assert await store.get(ID) == waiting_step().applied_to(upload)
        await store.finish(last, durable=True)
        after = last.applied_to(upload)
        assert await store.get(ID) == after
        assert (after.state, after.rejection, after.finished_at) == (last.state, last.rejection, last.finished_at)
        for again in (last_step(expected=10, fence=3), refusing_step(fence=3), waiting_step(expected=10, fence=3)):
            with pytest.raises(StaleWriter):
                await store.finish(again, durable=True)
            with pytest.raises(StaleWriter):
                await store.advance(again, durable=True)
        assert await store.get(ID) == after

    async def test_a_finishing_upload_goes_on(self, store: InfoStore) -> None:
        """While a hook is asked, the next writer may take over, and the one before then changes nothing (I10)."""
        upload = UploadInfo(id=ID, length=10)
        await store.insert(upload, durable=True)
        await store.advance(waiting_step(), durable=True)
        await store.advance(waiting_step(expected=10, fence=2), durable=True)
        for stale in (last_step(expected=10), last_step(expected=9, fence=3), last_step(expected=10, fence=4)):
            with pytest.raises(StaleWriter):
                await store.finish(stale, durable=True)
        assert await store.get(ID) == waiting_step(expected=10, fence=2).applied_to(upload)
        await store.advance(replace(waiting_step(expected=10, fence=3), offset=4, synced_offset=4), durable=True)
        found = await store.get(ID)
        assert found is not None
        assert found.offset == 4

    async def test_removal(self, store: InfoStore) -> None:
        """A removal has two steps; the second is never taken without the first (I12)."""
        await store.insert(UploadInfo(id=ID, length=10), durable=True)
        await store.delete(ID)
        assert await store.known([ID]) == {ID}
        assert await store.mark_deleting(ID, durable=True)
        assert await store.mark_deleting(ID, durable=False)
        found = await store.get(ID)
        assert found is not None
        assert found.state is UploadState.DELETING
        await store.delete(ID)
        await store.delete(ID)
        assert await store.get(ID) is None
        assert not await store.mark_deleting(ID, durable=True)

    async def test_list_uploads(self, store: InfoStore) -> None:
        """Listing goes through all uploads in the order of their ids, page by page, filtered by state."""
        states = list(UploadState)
        uploads = [UploadInfo(id=f"{n:03}", state=states[n % len(states)], length=n) for n in range(25)]
        await asyncio.gather(*(store.insert(upload, durable=False) for upload in reversed(uploads)))
        assert await store.list_uploads() == uploads
        assert await store.list_uploads(after="004", limit=3) == uploads[5:8]
        assert await store.list_uploads(after="024") == []
        rare = [UploadState.DELETING, UploadState.ASSEMBLING, UploadState.FINISHING]
        for chosen in ([UploadState.FINISHED], rare, rare[:2], states):
            expected = [upload for upload in uploads if upload.state in chosen and upload.id > "003"]
            assert await store.list_uploads(after="003", limit=4, states=chosen) == expected[:4]

    async def test_list_expired(self, store: InfoStore) -> None:
        """The sweep sees uploads whose time is over unless they are busy, the longest expired first (I13)."""
        uploads = [
            UploadInfo(id="later", expires_at=NOW - 1),
            UploadInfo(id="now", expires_at=NOW),
            UploadInfo(id="first", expires_at=NOW - 5, state=UploadState.FINISHED),
            UploadInfo(id="asking", expires_at=NOW - 4, state=UploadState.FINISHING),
            UploadInfo(id="refused", expires_at=NOW - 3, state=UploadState.REJECTED),
            UploadInfo(id="not yet", expires_at=NOW + 0.5),
            UploadInfo(id="never"),
            UploadInfo(id="going", expires_at=NOW - 9, state=UploadState.DELETING),
            UploadInfo(id="busy", expires_at=NOW - 9, state=UploadState.ASSEMBLING),
        ]
        for upload in uploads:
            await store.insert(upload, durable=False)
        assert await store.list_expired(NOW, limit=10) == ["first", "asking", "refused", "later", "now"]
        assert await store.list_expired(NOW, limit=1) == ["first"]

    async def test_what_is_not_synced(self, store: InfoStore) -> None:
        """Whatever is ahead of what survives a power cut is found, and no more once that is noted (3.3)."""
        await store.insert(UploadInfo(id="a", offset=5, synced_offset=5, length=10), durable=False)
        await store.insert(UploadInfo(id="b", offset=5, synced_offset=2, length=10), durable=False)
        await store.insert(UploadInfo(id="c", offset=9, length=9, state=UploadState.FINISHED), durable=False)
        assert await store.list_unsynced(limit=10) == [("b", 5), ("c", 9)]
        assert await store.list_unsynced(limit=1) == [("b", 5)]
        # Fallen back meanwhile, gone meanwhile, known already: none of it is noted.
        await store.mark_synced([("b", 7), ("gone", 1), ("a", 3), ("c", 9)])
        assert await store.list_unsynced(limit=10) == [("b", 5)]
        found = await store.get("c")
        assert found is not None
        assert (found.synced_offset, found.offset) == (9, 9)

    async def test_fall_back(self, store: InfoStore) -> None:
        """What is not synced is taken back, whatever the state, with the jobs of what was finished (I9)."""
        done = UploadState.FINISHED
        uploads = [
            UploadInfo(id="done", offset=9, synced_offset=2, length=9, state=done, finished_at=NOW, expires_at=NOW),
            UploadInfo(
                id="final",
                offset=9,
                length=9,
                state=done,
                kind=UploadKind.FINAL,
                finished_at=NOW,
                creation_key=KEY,
            ),
            UploadInfo(id="going", offset=9, length=9, state=UploadState.DELETING),
            UploadInfo(id="in doubt", offset=9, synced_offset=2, length=9, state=UploadState.FINISHING, expires_at=NOW),
            UploadInfo(id="open", offset=5, synced_offset=2, length=10, epoch=3),
            UploadInfo(
                id="refused",
                offset=9,
                synced_offset=2,
                length=9,
                state=UploadState.REJECTED,
                expires_at=NOW,
                rejection="no",
            ),
            UploadInfo(id="safe", offset=9, synced_offset=9, length=9, state=done, finished_at=NOW),
        ]
        for upload in uploads:
            await store.insert(upload, durable=False)
            assert await store.get(upload.id) == upload
        await store.fall_back()
        states = {upload.id: (upload.state, upload.offset) for upload in await store.list_uploads()}
        assert states == {
            "done": (UploadState.OPEN, 2),
            "final": (UploadState.DELETING, 9),
            "going": (UploadState.DELETING, 9),
            "in doubt": (UploadState.OPEN, 2),
            "open": (UploadState.OPEN, 2),
            "refused": (UploadState.OPEN, 2),
            "safe": (UploadState.FINISHED, 9),
        }
        assert [await store.get(upload.id) for upload in uploads] == await store.list_uploads()
        assert await store.find_created(KEY) is None
        reopened = await store.get("done")
        assert reopened == replace(uploads[0], offset=2, state=UploadState.OPEN, finished_at=None)
        refused = await store.get("refused")
        assert refused is not None
        assert refused.rejection is None

    async def test_usage(self, store: InfoStore) -> None:
        """Open uploads and what they announced are counted, deferred lengths as nothing; others are not."""
        assert await store.usage() == Usage(0, 0)
        for state in UploadState:
            await store.insert(UploadInfo(id=state.value, state=state, length=10), durable=False)
        await store.insert(UploadInfo(id="huge", length=2**62), durable=False)
        await store.insert(UploadInfo(id="deferred"), durable=False)
        usage = await store.usage()
        assert usage.uploads == 3
        # Floating point is precise enough for a limit.
        assert usage.announced == pytest.approx(2**62 + 10)

    async def test_known(self, store: InfoStore) -> None:
        """An upload is known in whatever state, by its id and by the key of its data, which so is no orphan."""
        for state in UploadState:
            await store.insert(UploadInfo(id=state.value, state=state), durable=False)
        names = {state.value for state in UploadState}
        assert await store.known([*names, "orphan"]) == names
        await store.insert(UploadInfo(id="somewhere", path="project/Tom's cat.jpg"), durable=False)
        keys = {"somewhere", "/project/Tom's cat.jpg"}
        assert await store.known([*keys, "/somewhere", "project/Tom's cat.jpg", "/project", "/open", "/"]) == keys
        assert await store.known([]) == set()

    async def test_cancelled_changes_harm_nobody(self, store: InfoStore) -> None:
        """A caller that goes away leaves its change undone or done, and others unharmed."""
        tasks = [asyncio.ensure_future(store.insert(UploadInfo(id=f"{n:02}"), durable=True)) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.insert(UploadInfo(id=ID), durable=True)
        assert {f"{n:02}" for n in range(1, 20, 2)} | {ID} <= {upload.id for upload in await store.list_uploads()}
