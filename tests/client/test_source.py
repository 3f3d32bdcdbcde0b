"""Where the bytes of an upload come from: files that stay what they are, and pipes that are read once."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.wiring import KIB, MIB, make_file
from tests.support.waiting import until
from tusd_py.client.errors import CannotResume, SourceChanged, SourceUnusable
from tusd_py.client.source import EDGE, FileSource, PipeSource, Window

SIZE = 3 * MIB + 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_file(tmp_path / "film.mkv", SIZE)


@pytest.fixture
async def source(path: Path) -> AsyncIterator[FileSource]:
    source = await FileSource.open(path)
    yield source
    await source.close()


async def fingerprint(path: Path) -> Any:
    source = await FileSource.open(path)
    await source.close()
    return source.fingerprint


async def test_what_a_file_is(source: FileSource, path: Path) -> None:
    """Its path, its name, its size, and what it can be recognised by."""
    data, there = path.read_bytes(), path.stat()
    assert (source.path, source.name, source.size) == (path.resolve(), "film.mkv", SIZE)
    known = source.fingerprint
    assert (known.size, known.mtime_ns, known.inode) == (SIZE, there.st_mtime_ns, there.st_ino)
    assert known.digest == hashlib.sha256(data[:EDGE] + data[-EDGE:]).hexdigest()
    assert await fingerprint(path) == known


@pytest.mark.parametrize("place", [0, EDGE - 1, SIZE - EDGE, SIZE - 1])
async def test_other_bytes_at_an_end_have_another_fingerprint(path: Path, place: int) -> None:
    """Even when a file claims to be as old as before."""
    before, there = await fingerprint(path), path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))
    after = await fingerprint(path)
    assert (after.size, after.mtime_ns, after.inode) == (before.size, before.mtime_ns, before.inode)
    assert after.digest != before.digest


@pytest.mark.parametrize("size", [0, 1, EDGE, EDGE + 1, 2 * EDGE])
async def test_small_files(tmp_path: Path, size: int) -> None:
    """Where the ends of a file overlap, both are looked at all the same."""
    data = make_file(tmp_path / "small", size).read_bytes()
    assert (await fingerprint(tmp_path / "small")).digest == hashlib.sha256(data[:EDGE] + data[-EDGE:]).hexdigest()


async def test_links_are_followed(path: Path, tmp_path: Path) -> None:
    """A link's own name is what its file is called, and its file's path is what tells whether it is the same."""
    (tmp_path / "latest.mkv").symlink_to(path)
    source = await FileSource.open(str(tmp_path / "latest.mkv"))
    assert (source.path, source.name) == (path.resolve(), "latest.mkv")
    await source.close()


async def test_a_relative_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as an absolute one, which means the same tomorrow."""
    monkeypatch.chdir(path.parent)
    source = await FileSource.open("film.mkv")
    assert source.path == path.resolve()
    await source.close()


def _folder(place: Path) -> str:
    place.mkdir()
    return "is a folder, not a file"


def _pipe(place: Path) -> str:
    os.mkfifo(place)
    return "is a pipe, not a file"


def _socket(place: Path) -> str:
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(place))
    return "is a socket, not a file"


def _device(place: Path) -> str:
    place.symlink_to("/dev/zero")
    return "is a device, not a file"


def _nothing(_: Path) -> str:
    return "cannot be read: No such file or directory"


def _loop(place: Path) -> str:
    place.symlink_to(place)
    return "cannot be read: "


def _endless(place: Path) -> str:
    place.symlink_to("/proc/self/status")
    return "does not tell its size; pipe it"


@pytest.mark.parametrize("make", [_folder, _pipe, _socket, _device, _nothing, _loop, _endless])
async def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """It is refused at once, with a sentence that says what it is; nothing waits for a pipe's other end."""
    place = tmp_path / "it"
    with pytest.raises(SourceUnusable) as caught:
        await asyncio.wait_for(FileSource.open(place), 10) if (said := make(place)) else None
    assert caught.value.sentence.startswith(f"{place} {said}")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
async def test_what_is_no_name(name: str) -> None:
    with pytest.raises(SourceUnusable):
        await FileSource.open(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="NOT RUN: root may read everything")
async def test_what_may_not_be_read(path: Path) -> None:
    path.chmod(0)
    with pytest.raises(SourceUnusable, match="cannot be read: Permission denied"):
        await FileSource.open(path)


async def test_unchanged(source: FileSource, path: Path) -> None:
    """A file that was read, renamed, linked, or removed, has the same bytes still."""
    source.check()
    path.read_bytes()
    os.link(path, path.with_name("other"))
    source.check()
    path.rename(path.with_name("elsewhere"))
    source.check()
    path.with_name("elsewhere").unlink()
    source.check()
    assert len(await source.read(0, SIZE)) == SIZE


def _grow(path: Path) -> str:
    with path.open("ab") as file:
        file.write(b"+")
    return f"grew from {SIZE} to {SIZE + 1} bytes"


def _shrink(path: Path) -> str:
    os.truncate(path, MIB)
    return f"shrank from {SIZE} to {MIB} bytes"


def _write(path: Path) -> str:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path)
    return "was changed"


def _replace(path: Path) -> str:
    make_file(path.with_name("new"), SIZE).rename(path)
    return "was replaced by another file"


@pytest.mark.parametrize("change", [_grow, _shrink, _write, _replace])
async def test_changed(source: FileSource, path: Path, change: Callable[[Path], str]) -> None:
    """Whatever is done to a file, it is not the same any more, and what was done is told."""
    said = change(path)
    with pytest.raises(SourceChanged) as caught:
        source.check()
    assert caught.value.sentence == f"{path} {said} while it was read"


@pytest.mark.parametrize(("start", "end"), [(0, SIZE), (1, SIZE - 1), (MIB - 1, 2 * MIB + 1), (5, 5), (SIZE, SIZE)])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_digest(source: FileSource, path: Path, algorithm: str, start: int, end: int) -> None:
    """Of any range, with any algorithm."""
    expected = hashlib.new(algorithm, path.read_bytes()[start:end]).digest()
    assert await source.digest(algorithm, start, end) == expected


async def test_a_file_that_ends_early(source: FileSource, path: Path) -> None:
    """Bytes that are not there are never made up."""
    os.truncate(path, MIB)
    for reading in (source.digest("sha256", 0, SIZE), source.read(MIB - 1, 2), source.read(SIZE - 1, 1)):
        with pytest.raises(SourceChanged, match=rf"shrank from {SIZE} to \d+ bytes"):
            await reading
    assert len(await source.read(MIB - 1, 1)) == 1


async def test_a_disk_that_fails(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    monkeypatch.setattr(os, "preadv", fail)
    for reading in (source.digest("sha256", 0, SIZE), source.read(0, 1)):
        with pytest.raises(SourceUnusable, match=r"film\.mkv cannot be read: Input/output error"):
            await reading


async def test_closing_waits_for_who_still_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a closed descriptor may be that of another file already: nobody must read from that."""
    source = await FileSource.open(path)
    entered, go_on, preadv = threading.Event(), threading.Event(), os.preadv
    fds: list[bool] = []

    def wait(fd: int, *rest: Any) -> int:
        entered.set()
        go_on.wait(10)
        fds.append(fd >= 0)
        return preadv(fd, *rest)

    monkeypatch.setattr(os, "preadv", wait)
    task = asyncio.create_task(source.digest("sha256", 0, SIZE))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    closing = asyncio.create_task(source.close())
    done, _ = await asyncio.wait([closing], timeout=0)
    assert not done
    go_on.set()
    await closing
    # One block and no more: nobody wants the digest.
    assert fds == [True]
    await source.close()


async def test_cancelled_while_it_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is left."""
    entered, go_on, fstat = threading.Event(), threading.Event(), os.fstat
    fds: list[int] = []

    def wait(fd: int) -> os.stat_result:
        fds.append(fd)
        entered.set()
        go_on.wait(10)
        return fstat(fd)

    monkeypatch.setattr(os, "fstat", wait)
    task = asyncio.create_task(FileSource.open(path))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()

    async def is_closed() -> bool:
        return not os.path.exists(f"/proc/self/fd/{fds[0]}")

    await until(is_closed)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe; who writes closes its own."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def feed(fd: int, data: bytes) -> None:
    with open(fd, "wb") as file:
        file.write(data)


async def fed(fd: int, data: bytes) -> None:
    await asyncio.to_thread(feed, fd, data)


def seen(window: Window) -> tuple[int, bytes, bool]:
    return window.start, bytes(window.data), window.ended


async def test_windows_of_a_pipe(pipe: tuple[int, int]) -> None:
    """One after the other, each of the bytes behind the last, until the end is there."""
    data = os.urandom(300 * KIB + 5)
    source = PipeSource(pipe[0], chunk_size=100 * KIB)
    writing = asyncio.create_task(fed(pipe[1], data))
    for start in (0, 100 * KIB, 200 * KIB):
        assert seen(await source.fill(start)) == (start, data[start : start + 100 * KIB], False)
        assert source.size is None
    await writing
    assert seen(await source.fill(300 * KIB)) == (300 * KIB, data[-5:], True)
    assert source.size == len(data)
    assert seen(await source.fill(len(data))) == (len(data), b"", True)


async def test_the_end_right_behind_a_window(pipe: tuple[int, int]) -> None:
    """Nobody can tell that nothing comes any more before the next one."""
    source = PipeSource(pipe[0], chunk_size=4)
    feed(pipe[1], b"abcd")
    assert seen(await source.fill(0)) == (0, b"abcd", False)
    assert seen(await source.fill(4)) == (4, b"", True)
    assert source.size == 4


async def test_going_on_in_the_middle(pipe: tuple[int, int]) -> None:
    """Of a window that arrived in part the rest is there still, and more behind it."""
    source = PipeSource(pipe[0], chunk_size=6)
    feed(pipe[1], b"abcdefghijk")
    first = await source.fill(0)
    assert seen(await source.fill(0)) == seen(first)
    second = await source.fill(2)
    assert seen(second) == (2, b"cdefgh", False)
    assert seen(await source.fill(5)) == (5, b"fghijk", False)
    # A connection that is about to end may still hold on to it.
    assert bytes(first.data) == b"abcdef"
    with pytest.raises(TypeError):
        second.data[0] = 0


@pytest.mark.parametrize("offset", [0, 3, 11])
async def test_bytes_that_are_gone(pipe: tuple[int, int], offset: int) -> None:
    """What lies before the window cannot be had again, and what has not come yet cannot have arrived."""
    source = PipeSource(pipe[0], chunk_size=4)
    feed(pipe[1], b"abcdefghijkl")
    for start in (0, 4):
        await source.fill(start)
    with pytest.raises(CannotResume, match=rf"at byte {offset}, and of standard input only bytes 4 to 8 are still"):
        await source.fill(offset)
    assert seen(await source.fill(4)) == (4, b"efgh", False)


async def test_nothing_at_all(pipe: tuple[int, int]) -> None:
    os.close(pipe[1])
    source = PipeSource(pipe[0])
    assert seen(await source.fill(0)) == (0, b"", True)
    assert source.size == 0


async def test_cancelled_while_it_waits(pipe: tuple[int, int]) -> None:
    """What was read until then is not lost, and nobody reads meanwhile."""
    source = PipeSource(pipe[0], chunk_size=8)
    os.write(pipe[1], b"abc")
    task = asyncio.create_task(source.fill(0))

    async def is_read() -> bool:
        return source._filled == 3

    await until(is_read)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    feed(pipe[1], b"def")
    assert seen(await source.fill(0)) == (0, b"abcdef", True)


@pytest.mark.parametrize("size", [0, 5, 64 * KIB, 100 * KIB])
async def test_a_file_in_place_of_a_pipe(tmp_path: Path, size: int) -> None:
    """As in `tusd-py upload - URL < file`: nothing says when it can be read, and it always can."""
    data = make_file(tmp_path / "file", size).read_bytes()
    with (tmp_path / "file").open("rb") as file:
        source = PipeSource(file.fileno(), chunk_size=64 * KIB)
        got = b""
        while not (window := await source.fill(len(got))).ended:
            got += window.data
        assert got + window.data == data


async def test_cancelled_while_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken from the file's position is kept."""
    (tmp_path / "file").write_bytes(b"abcdef")
    entered, go_on, readv = threading.Event(), threading.Event(), os.readv

    def wait(*args: Any) -> int:
        entered.set()
        go_on.wait(10)
        return readv(*args)

    with (tmp_path / "file").open("rb") as file:
        source = PipeSource(file.fileno(), chunk_size=4)
        monkeypatch.setattr(os, "readv", wait)
        task = asyncio.create_task(source.fill(0))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen(await source.fill(0)) == (0, b"abcd", False)
        assert seen(await source.fill(4)) == (4, b"ef", True)


async def test_a_descriptor_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, and a socket that breaks: neither is taken for the end."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(SourceUnusable, match="standard input cannot be read: Is a directory"):
            await PipeSource(fd).fill(0)
    finally:
        os.close(fd)
    listening = socket.create_server(("127.0.0.1", 0))
    near = socket.create_connection(listening.getsockname())
    far, _ = listening.accept()
    with listening, near:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        source = PipeSource(near.fileno(), name="a socket")
        with pytest.raises(SourceUnusable, match="a socket cannot be read: Connection reset by peer"):
            await source.fill(0)
