"""Data with a path of its own: below `named`, never through a link, and as durable as any other (rows 17, 20, 22)."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stores.moving import descriptors
from tusd_py.errors import DataLost, UploadExists
from tusd_py.stores import places, posix
from tusd_py.stores.file import FileDataStore
from tusd_py.testing.stored import ID, all_names, content, fill

KEY = "/project-1/abc/report.pdf"
FOREVER = 2e9 * 2


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileDataStore]:
    store = FileDataStore(tmp_path / "uploads", threads=2)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def named(tmp_path: Path) -> Path:
    return tmp_path / "uploads" / "named"


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of everything that is synced."""
    names: list[str] = []
    for call in ("fsync", "fdatasync"):

        def watch(fd: int, real: object = getattr(os, call)) -> None:
            names.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
            real(fd)  # type: ignore[operator]

        monkeypatch.setattr(posix.os, call, watch)
    return names


async def refused(store: FileDataStore, key: str, error: type[Exception]) -> None:
    """Nothing can be made, read or written under a key."""
    with pytest.raises(error):
        await store.create(key, [b"through"], durable=True)
    with pytest.raises(DataLost):
        await store.read_from(key)
    for holds in (0, None):
        with pytest.raises(DataLost):
            await (await store.write_to(key, holds=holds)).write(0, [b"through"])


async def test_place(store: FileDataStore, named: Path) -> None:
    """The data is where the hook said, below a directory that no shard can be."""
    await fill(store, KEY, b"data")
    assert (named / "project-1" / "abc" / "report.pdf").read_bytes() == b"data"
    await fill(store, "named-like-an-id", b"other")
    assert [path.name for path in named.iterdir()] == ["project-1"]


@pytest.mark.parametrize(
    "path",
    ["a" * 255, "/".join(["ä" * 127] * 4), "/".join(["a"] * 64), "/".join(["a" * 204] * 5), "%2e%2e", "a b", "~"],
)
async def test_whatever_may_be_a_path_is_one(store: FileDataStore, named: Path, path: str) -> None:
    """Names as long and as strange as file systems take them are kept as they are."""
    await fill(store, "/" + path, b"data")
    assert (named / path).read_bytes() == b"data"
    assert await all_names(store, FOREVER) == {"/" + path}


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_planted_symlink_on_the_way(store: FileDataStore, named: Path, tmp_path: Path, depth: int) -> None:
    """A symbolic link anywhere on the way is not gone through, by nobody (row 17)."""
    elsewhere = tmp_path / "elsewhere"
    target = elsewhere.joinpath(*["project-1", "abc", "report.pdf"][depth:])
    target.parent.mkdir(parents=True)
    target.write_bytes(b"untouched")
    os.utime(target, (1, 1))
    link = named.joinpath(*["project-1", "abc"][:depth])
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    await refused(store, KEY, NotADirectoryError)
    with pytest.raises(NotADirectoryError):
        await store.remove(KEY, durable=True)
    assert await all_names(store, FOREVER) == set()
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == [target]
    assert target.read_bytes() == b"untouched"


async def test_paths_that_lead_through_each_other(store: FileDataStore) -> None:
    """Of two uploads the second is refused when one's path would lead through the other's data (row 22)."""
    await fill(store, "/a/b", b"first")
    for key in ("/a/b/c", "/a/b/c/d", "/a"):
        await refused(store, key, UploadExists)
    assert await content(store, "/a/b") == b"first"
    assert await all_names(store, FOREVER) == {"/a/b"}


@pytest.mark.parametrize("kind", ["file", "fifo"])
async def test_what_is_not_ours_is_in_the_way(store: FileDataStore, named: Path, kind: str) -> None:
    """What no upload has put there is trouble with the disk, and no name that is taken."""
    way = named if kind == "file" else named / "project-1"
    if kind == "fifo":
        named.mkdir()
        os.mkfifo(way)
    else:
        way.write_bytes(b"not a directory")
    await refused(store, KEY, NotADirectoryError)
    assert await all_names(store, FOREVER) == set()
    await fill(store, ID, b"others are not concerned")


async def test_removal(store: FileDataStore, named: Path) -> None:
    """A removal takes nothing else away, not even directories: the next upload may be about to use them (I12)."""
    await fill(store, KEY, b"gone")
    await fill(store, KEY + ".2", b"stays")
    await store.remove(KEY, durable=True)
    assert await all_names(store, FOREVER) == {KEY + ".2"}
    await store.remove(KEY + ".2", durable=True)
    assert (named / "project-1" / "abc").is_dir()
    await store.remove("/project-1/never/there", durable=True)
    await fill(store, KEY, b"again")
    assert await content(store, KEY) == b"again"


async def test_names_are_made_durable(store: FileDataStore, synced: list[str]) -> None:
    """Before a creation is told, the name is safe and so is each directory above that was not before (I1)."""
    await store.create("/a/b/1", durable=False)
    assert synced == []
    await store.create("/a/b/2", [b"x"], durable=True)
    assert synced == ["2", "b", "a", "named", "uploads"]
    synced.clear()
    await store.create("/a/b/3", durable=True)
    await store.create("/a/c/4", durable=True)
    await store.create("/5", durable=True)
    assert synced == ["b", "c", "a", "named"]
    synced.clear()
    await store.remove("/a/b/3", durable=True)
    assert synced == ["b"]


async def test_sealing_makes_names_durable(store: FileDataStore, synced: list[str]) -> None:
    """What was made without a sync has a safe name when it is finished (I1)."""
    await store.create("/a/b/1", durable=False)
    data = await store.write_to("/a/b/1")
    await data.seal(0, durable=True)
    await data.close()
    assert synced == ["1", "b", "a", "named", "uploads"]


async def test_a_directory_made_again(store: FileDataStore, named: Path, synced: list[str]) -> None:
    """A directory that somebody removed is as new as any when it comes back."""
    await store.create("/a/b/1", durable=True)
    await store.remove("/a/b/1", durable=True)
    (named / "a" / "b").rmdir()
    synced.clear()
    await store.create("/a/b/1", durable=True)
    assert synced == ["b", "a"]


async def test_a_failed_sync_of_a_directory_above(
    store: FileDataStore, named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that may not survive is no upload, and the next one in the same place does not believe it (I1)."""
    real = os.fsync

    def failing(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("/a"):
            raise OSError(5, "the disk is gone")
        real(fd)

    monkeypatch.setattr(posix.os, "fsync", failing)
    for key in ("/a/b/1", "/a/b/1", "/a/b/2"):
        with pytest.raises(OSError, match="the disk is gone"):
            await store.create(key, durable=True)
    assert not [path for path in named.rglob("*") if path.is_file()]
    monkeypatch.undo()
    await store.create("/a/b/1", durable=True)


async def test_what_is_synced_is_not_remembered_forever(
    store: FileDataStore, monkeypatch: pytest.MonkeyPatch, synced: list[str]
) -> None:
    """However many directories there are, few are remembered; those that were forgotten are synced again (I18)."""
    monkeypatch.setattr(places, "MAX_SYNCED", 10)
    assert store._root is not None
    for number in range(50):
        await store.create(f"/{number}/1", durable=True)
        assert len(store._root._directories._synced) <= 10
    synced.clear()
    await store.create("/0/2", durable=True)
    assert synced[:2] == ["0", "named"]


async def test_made_together(store: FileDataStore, synced: list[str]) -> None:
    """Files that are made at once are synced before their directories, and those before the ones above (3.1)."""
    told: dict[str, list[str]] = {}

    async def create(key: str) -> None:
        await store.create(key, [b"x"], durable=True)
        told[key] = list(synced)

    await asyncio.gather(*(create(f"/{a}/{a}{b}/{a}{b}{number}") for a in "xyz" for b in "xy" for number in range(5)))
    for key, before in told.items():
        _, outer, inner, name = key.split("/")
        assert inner in before[before.index(name) :]
        assert outer in before[before.index(inner) :]
        assert {"named", "uploads"} <= set(before)


async def test_orphans(store: FileDataStore, named: Path, tmp_path: Path) -> None:
    """The sweep names old data at any depth, and nothing that no upload can have (I16)."""
    old = {"/top.jpg", "/a/one", "/a/b/c/two", "/" + "/".join(["d"] * 63) + "/three"}
    for key in (*old, "/a/young", "/young/young"):
        await store.create(key, durable=False)
    strange = [named / "a" / ".hidden", named / ".git" / "config", named / "a" / "new\nline", named / "b\\c"]
    deep = named.joinpath(*["d"] * 64, "deeper")
    for path in (*strange, deep):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    (named / "a" / "empty").mkdir()
    os.mkfifo(named / "a" / "fifo")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(b"mine")
    (named / "linked").symlink_to(tmp_path / "elsewhere")
    (named / "a" / "link").symlink_to("one")
    for path in (*named.rglob("*"), tmp_path / "elsewhere" / "file"):
        if "young" not in path.name:
            os.utime(path, (1, 1), follow_symlinks=False)
    assert await all_names(store, time.time() - 1000) == old


async def test_many_orphans(store: FileDataStore, named: Path) -> None:
    """Names come in batches, however many there are in a directory, and few descriptors are held meanwhile (I18)."""
    (named / "a" / "b").mkdir(parents=True)
    names = {f"/a/b/{number}" for number in range(posix.NAMED_BATCH * 2 + 1)}
    for name in names:
        (named / name[1:]).touch()
    before = len(descriptors())
    found: set[str] = set()
    async for batch in store.names(older_than=FOREVER):
        assert len(batch) <= posix.NAMED_BATCH
        assert len(descriptors()) <= before + 8
        found |= set(batch)
    assert found == names
    assert len(descriptors()) == before


@pytest.fixture
def many(named: Path) -> None:
    (named / "a" / "b").mkdir(parents=True)
    for number in range(posix.NAMED_BATCH * 3):
        (named / "a" / "b" / str(number)).touch()


async def test_a_search_that_is_given_up(store: FileDataStore, many: None) -> None:
    """Whoever has seen enough leaves no descriptor behind (I12)."""
    before = len(descriptors())
    search = store.names(older_than=FOREVER)
    await anext(search)
    assert len(descriptors()) > before
    await search.aclose()  # type: ignore[attr-defined]
    assert len(descriptors()) == before


async def test_a_search_that_is_cancelled(store: FileDataStore, many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search ends where it is when it is cancelled, and leaves no descriptor behind (I12)."""
    begun, goes_on, is_key = threading.Event(), threading.Event(), posix.is_key

    def slow(key: str) -> bool:
        begun.set()
        assert goes_on.wait(10)
        return is_key(key)

    before = len(descriptors())
    monkeypatch.setattr(posix, "is_key", slow)
    searching = asyncio.create_task(all_names(store, FOREVER))
    assert await asyncio.to_thread(begun.wait, 10)
    searching.cancel()
    await asyncio.wait([searching], timeout=0.01)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await searching
    assert len(descriptors()) == before


async def test_a_tree_that_changes(store: FileDataStore, named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes while it is looked for keeps nothing else from being found."""
    monkeypatch.setattr(posix, "NAMED_BATCH", 1)
    keys = {f"/{folder}/{number}" for folder in "abcdefgh" for number in range(3)}
    for key in keys:
        await store.create(key, durable=False)
    with os.scandir(named) as entries:
        gone = [entry.name for entry in entries][1:-1]
    search = store.names(older_than=FOREVER)
    found = set(await anext(search))
    for folder in gone:
        shutil.rmtree(named / folder)
    async for batch in search:
        found |= set(batch)
    assert found == {key for key in keys if key[1] not in gone}
