"""The file store against a hostile or failing file system."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import resource
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.stores.moving import descriptors
from tests.stores.placed import located
from tusd_py.abc import Data
from tusd_py.errors import DataLost, InsufficientStorage, StartupError, UploadExists, UploadNotFound
from tusd_py.models.upload import UploadInfo
from tusd_py.stores import file as file_module
from tusd_py.stores import posix
from tusd_py.stores.file import FileDataStore
from tusd_py.testing.stored import ID, OTHER, all_names, content, each_key, fill


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileDataStore]:
    store = FileDataStore(tmp_path / "uploads", threads=2)
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=[0o000, 0o777], ids=["umask 0", "umask 777"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@each_key
async def test_modes(umask: None, tmp_path: Path, key: str) -> None:
    """Directories are 0700 and files 0600, whatever the umask (row 20)."""
    root = tmp_path / "uploads"
    store = FileDataStore(root)
    await store.open()
    await store.create(key, durable=True)
    await store.close()
    path = located(store, key)
    assert {mode(each) for each in (*path.parents, path) if each.is_relative_to(root)} == {0o700, 0o600}
    assert mode(path) == 0o600


async def test_root_is_no_symlink(tmp_path: Path) -> None:
    """A symbolic link in place of the root is refused with one line (row 17, I16)."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "uploads").symlink_to("elsewhere")
    with pytest.raises(StartupError, match="cannot be used"):
        await FileDataStore(tmp_path / "uploads").open()


async def test_missing_parent(tmp_path: Path) -> None:
    """A root whose parent is missing is refused: a disk that is not mounted, say (I16)."""
    with pytest.raises(StartupError, match="cannot be used"):
        await FileDataStore(tmp_path / "not mounted" / "uploads").open()


async def open_to_write(store: FileDataStore, upload_id: str, *, holds: int | None = 0) -> Data:
    """Open a file to write to, really: the store does it with the first use."""
    data = await store.write_to(upload_id, holds=holds)
    await data.write(0, [])
    return data


@each_key
async def test_planted_symlink(store: FileDataStore, tmp_path: Path, key: str) -> None:
    """A symbolic link at the data path is neither read, nor written, nor created through (row 17)."""
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    path = located(store, key)
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    with pytest.raises(UploadExists):
        await store.create(key, [b"through"], durable=True)
    with pytest.raises(DataLost):
        await open_to_write(store, key)
    with pytest.raises(DataLost):
        await store.read_from(key)
    await store.remove(key, durable=True)
    assert not path.is_symlink()
    assert target.read_bytes() == b"untouched"


async def test_planted_shard(store: FileDataStore, tmp_path: Path) -> None:
    """A symbolic link in place of the parent is never followed (row 17)."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ID).write_bytes(b"untouched")
    located(store, ID).parent.symlink_to(elsewhere)
    for holds in (0, None):
        with pytest.raises(DataLost):
            await open_to_write(store, ID, holds=holds)
    with pytest.raises(OSError, match="Not a directory"):
        await store.create(ID[:2] + "-new", durable=True)
    with pytest.raises(OSError, match="Not a directory"):
        await store.remove(ID, durable=True)
    assert await all_names(store, 2e9 * 2) == set()
    assert [path.name for path in elsewhere.iterdir()] == [ID]
    assert (elsewhere / ID).read_bytes() == b"untouched"


@each_key
async def test_hard_link(store: FileDataStore, tmp_path: Path, key: str) -> None:
    """Data with a second name is refused: somebody else could change it (row 18)."""
    await fill(store, key, b"shared")
    (tmp_path / "second").hardlink_to(located(store, key))
    with pytest.raises(DataLost):
        await open_to_write(store, key)
    with pytest.raises(DataLost):
        await store.read_from(key)


@each_key
@pytest.mark.parametrize("kind", ["fifo", "directory", "socket"])
async def test_not_a_plain_file(store: FileDataStore, kind: str, key: str) -> None:
    """A FIFO, directory or socket at the data path is refused, and nobody hangs (row 18)."""
    path = located(store, key)
    path.parent.mkdir(parents=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
    async with asyncio.timeout(5):
        for opening in (open_to_write, FileDataStore.read_from):
            with pytest.raises(DataLost):
                await opening(store, key)
        with pytest.raises(UploadExists):
            await store.create(key, durable=True)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "ab", "../../x", "ab/cd", "abc.info", "abc\0", "abc\n", "äbc", "a" * 129, "a%2fb"),
        *("/", "//", "//etc/passwd", "/a/", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "/../x", "/a/..", "/.git/x"),
        *("/a\0b", "/a\nb", "/a/\x7f", "/a\x85", "/a\\b", "/..\\x", "/\udc80", "/" + "a" * 256, "/" + "ä" * 128),
        *("/" + "/".join(["a" * 200] * 6), "/" + "/".join("a" * 65)),
    ],
)
async def test_names_are_never_paths(store: FileDataStore, name: str) -> None:
    """What is no key is unknown before the file system is asked (rows 16 and 22)."""
    with pytest.raises(UploadNotFound):
        await store.create(name, durable=True)
    with pytest.raises(UploadNotFound):
        await store.read_from(name)
    with pytest.raises(UploadNotFound):
        await store.write_to(name)
    with pytest.raises(UploadNotFound):
        await store.remove(name, durable=True)
    with pytest.raises(UploadNotFound):
        store.locate(UploadInfo(id="some-id", path=name[1:]) if name.startswith("/") else UploadInfo(id=name))
    assert list(located(store, ID).parent.parent.iterdir()) == []


async def test_foreign_files_are_no_orphans(store: FileDataStore) -> None:
    """The sweep never names what is not named like an upload in its place (I16)."""
    await store.create(ID, durable=False)
    root = located(store, ID).parent.parent
    for path in (root / "README", root / "lost+found", root / ID[:2] / "x.tmp", root / ID[:2] / "Other_id"):
        path.write_bytes(b"mine")
    (root / "zz").write_bytes(b"not a directory")
    (root / ID[:2] / (ID + "-folder")).mkdir()
    (root / ID[:2] / (ID + "-link")).symlink_to(ID)
    assert await all_names(store, 2e9 * 2) == {ID}


async def test_sparse(store: FileDataStore) -> None:
    """No space is taken for bytes that never came (rows 2 and 51)."""
    await store.create(ID, durable=False)
    data = await store.write_to(ID)
    await data.write(2**40, [b"end"])
    await data.close()
    assert located(store, ID).stat().st_blocks < 1000


async def test_short_writes(store: FileDataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the kernel cut short goes on where it ended, at any boundary (I1)."""
    real = os.pwritev

    def short(fd: int, buffers: list[memoryview], offset: int) -> int:
        return real(fd, [b"".join(buffers)[: 1 + offset % 5]], offset)

    monkeypatch.setattr(posix.os, "pwritev", short)
    buffers = [bytes([65 + n]) * (n % 9) for n in range(60)]
    digest = hashlib.sha256()
    await store.create(ID, durable=False)
    data = await store.write_to(ID)
    await data.write(0, buffers, digest)
    await data.close()
    assert await content(store, ID) == b"".join(buffers)
    assert digest.digest() == hashlib.sha256(b"".join(buffers)).digest()


async def test_file_too_large(store: FileDataStore) -> None:
    """At a size limit the part that fits is stored and told (I8, I5)."""
    await store.create(ID, durable=False)
    data = await store.write_to(ID)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InsufficientStorage) as caught:
            await data.write(10_000, [b"x" * 60_000, b"y" * 60_000])
        assert caught.value.written == 90_000
        with pytest.raises(InsufficientStorage) as caught:
            await data.write(100_000, [b"z"])
        assert caught.value.written == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await data.close()
    assert await content(store, ID) == bytes(10_000) + b"x" * 60_000 + b"y" * 30_000


async def test_failed_sync_is_final(store: FileDataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync a second one on the same handle must not succeed (I9)."""
    await store.create(ID, durable=False)
    data = await store.write_to(ID)
    await data.write(0, [b"lost"])

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(posix.os, "fdatasync", failing)
        with pytest.raises(OSError, match="the disk is gone"):
            await data.sync()
    for attempt in (data.sync(), data.seal(4, durable=True), data.write(4, [b"more"])):
        with pytest.raises(OSError, match="earlier sync"):
            await attempt
    await data.close()
    again = await store.write_to(ID)
    await again.write(0, [b"kept"])
    await again.sync()
    await again.close()


async def test_a_sync_without_space_is_told_apart(store: FileDataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Space that runs out as late as at the sync is InsufficientStorage, so that clients try again (I8)."""
    await store.create(ID, durable=False)
    data = await store.write_to(ID)
    await data.write(0, [b"late"])

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(posix.os, "fdatasync", full)
        with pytest.raises(InsufficientStorage):
            await data.sync()
    with pytest.raises(OSError, match="earlier sync"):
        await data.sync()
    await data.close()


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, 0])
async def test_copy_without_help(store: FileDataStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Where the kernel cannot copy, or says that there is nothing to copy, the store does, with the same result."""
    part = os.urandom(3_000_001)
    await fill(store, ID, part)
    await store.create(OTHER, durable=False)

    def refuse(*_: object) -> int:
        if code:
            raise OSError(code, "no")
        return 0

    monkeypatch.setattr(posix.os, "copy_file_range", refuse)
    data = await store.write_to(OTHER)
    await data.copy(5, ID, len(part))
    await data.close()
    assert await content(store, OTHER) == bytes(5) + part


async def test_copy_in_steps(store: FileDataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of any size is made in steps, none of which goes beyond what was asked for."""
    monkeypatch.setattr(file_module, "COPY_STEP", 1000)
    part = os.urandom(10_500)
    await fill(store, ID, part)
    await store.create(OTHER, durable=False)
    data = await store.write_to(OTHER)
    await data.copy(0, ID, 9_999)
    await data.close()
    assert await content(store, OTHER) == part[:9_999]


async def test_close_waits_for_cancelled_writes(store: FileDataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled write ends before its handle closes, even if closing is cancelled too: no late write (I10)."""
    begun, go_on = threading.Event(), threading.Event()
    real = os.pwritev

    def slow(fd: int, buffers: list[memoryview], offset: int) -> int:
        begun.set()
        assert go_on.wait(10)
        return real(fd, buffers, offset)

    monkeypatch.setattr(posix.os, "pwritev", slow)
    await store.create(ID, durable=False)
    data = await store.write_to(ID)
    writing = asyncio.ensure_future(data.write(0, [b"late"]))
    await asyncio.to_thread(begun.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    closing = asyncio.ensure_future(data.close())
    await asyncio.wait([closing], timeout=0.01)
    closing.cancel()
    await asyncio.wait([closing], timeout=0.01)
    assert not closing.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert located(store, ID).read_bytes() == b"late"
    with pytest.raises(OSError, match="closed"):
        await data.write(4, [b"later"])


@each_key
async def test_no_descriptor_is_left(store: FileDataStore, key: str) -> None:
    """After everything is closed no file descriptor remains, refused and cancelled openings included (I12)."""
    before = len(os.listdir("/proc/self/fd"))
    await fill(store, key, b"x")
    os.mkfifo(located(store, key + "-fifo"))
    for name in (key + "-fifo", OTHER):
        with pytest.raises(DataLost):
            await open_to_write(store, name)
    opening = asyncio.ensure_future(open_to_write(store, key))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await content(store, key)
    await store.remove(key, durable=True)
    await store.close()
    assert len(os.listdir("/proc/self/fd")) < before


@pytest.mark.parametrize("sync", [False, True])
async def test_closed_behind_the_last_bytes(store: FileDataStore, sync: bool) -> None:
    """What was synced, or the last, has no descriptor any more; what comes all the same is done (I12, I19)."""
    before = descriptors()
    await store.create("one", durable=False)
    data = await store.write_to("one")
    await data.write(0, [b"abc"], sync=sync)
    assert (descriptors() == before) == sync
    await data.write(3, [b"def"], sync=sync, last=True)
    assert descriptors() == before
    await data.truncate(4)
    await data.write(4, [b"e"], sync=sync, last=True)
    await data.sync()
    await data.seal(5, durable=sync)
    assert descriptors() == before
    await data.close()
    reader = await store.read_from("one")
    assert await reader.read(0, 9) == b"abcde"
    await reader.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the directories that are synced from now on."""
    synced: list[str] = []
    real = os.fsync

    def watch(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real(fd)

    monkeypatch.setattr(posix.os, "fsync", watch)
    return synced


async def test_names_are_made_durable(store: FileDataStore, synced: list[str]) -> None:
    """A durable creation syncs the shard, and the root until the shard's own name is safe (I1)."""
    await store.create("aa-1", durable=False)
    assert synced == []
    await store.create("aa-2", durable=True)
    assert synced == ["aa", "uploads"]
    await store.create("aa-3", durable=True)
    assert synced == ["aa", "uploads", "aa"]
    data = await store.write_to("aa-1")
    await data.seal(0, durable=True)
    await data.close()
    await store.remove("aa-1", durable=True)
    assert synced == ["aa", "uploads", "aa", "aa", "aa"]


async def test_name_of_data_that_may_not_last(store: FileDataStore, synced: list[str]) -> None:
    """The first sync of data that somebody else has a copy of, and only that one, brings its name along (I1)."""
    await store.create("aa-1", [b"abcd"], durable=False)
    for lasts, names in ((True, []), (False, ["aa", "uploads"])):
        data = await store.write_to("aa-1", holds=4, lasts=lasts)
        await data.write(4, [b"efgh"])
        await data.sync()
        await data.sync()
        await data.close()
        assert synced == names


@pytest.mark.parametrize(
    ("release", "notices"),
    [("6.18.44-fc", True), ("5.8.0", True), ("5.7.19", False), ("4.19.0-26-amd64", False), ("10", False)],
)
def test_systems_that_notice_loss(release: str, notices: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Linux before 5.8 did not tell `syncfs` of pages that it could not write, so nothing relies on that there (I9)."""
    system = os.uname_result(("Linux", "host", release, "#1", "x86_64"))
    monkeypatch.setattr(file_module.os, "uname", lambda: system)
    assert FileDataStore(tmp_path).notices_loss is notices


def test_other_systems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of other systems nobody knows (I9)."""
    monkeypatch.setattr(file_module.sys, "platform", "freebsd")
    assert not FileDataStore(tmp_path).notices_loss
