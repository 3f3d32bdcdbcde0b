"""Where downloads go: nothing is overwritten by accident, nothing half is called whole, disks fill up."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_download import DATA, ETAG, HASTY, fetch, part, parts_in, scripted
from tests.client.wiring import ok, peer
from tests.support.client import Client
from tests.support.disks import small_disk
from tusd_py.client.destination import FileDestination
from tusd_py.client.download import download
from tusd_py.client.errors import DestinationUnusable

URL = "http://127.0.0.1:9/files/film"


async def refuses(place: Path | None, words: str, *, overwrite: bool = False) -> None:
    """The destination is refused before anything is asked of the server."""
    with pytest.raises(DestinationUnusable, match=words):
        # Nobody listens there.
        await download(URL, place, overwrite=overwrite)


async def test_existing_file(tmp_path: Path) -> None:
    """A file that is there stays as it is, unless it is to be replaced."""
    place = tmp_path / "x"
    place.write_bytes(b"mine")
    await refuses(place, "x exists already")
    assert b"mine" == place.read_bytes()
    await fetch([ok(b"0123456789")], place, overwrite=True)
    assert b"0123456789" == place.read_bytes()


async def test_replaced_when_whole(tmp_path: Path) -> None:
    """A file that is to be replaced is there until the new one is whole."""
    place = tmp_path / "x"
    place.write_bytes(b"mine")
    seen = []
    answers = [ok(b"0123456789", ETAG)[:-5], part(5, b"56789")]
    await fetch(answers, place, overwrite=True, on_event=lambda _: seen.append(place.read_bytes()))
    assert [b"mine", b"0123456789"] == [seen[0], seen[-1]]


async def test_name_is_taken(tmp_path: Path) -> None:
    """A name that the server chooses replaces nothing either, nor a link to nowhere."""
    answer = ok(b"0123456789", 'Content-Disposition: attachment; filename="../x"')
    (tmp_path / "x").symlink_to("nowhere")
    with pytest.raises(DestinationUnusable, match="x exists already"):
        await fetch([answer], tmp_path)
    assert ["x"] == os.listdir(tmp_path)


async def test_taken_meanwhile(tmp_path: Path) -> None:
    """A file that appears while the bytes come stays as it is, and the bytes stay, too."""
    place = tmp_path / "x"
    answers = [ok(b"0123456789", ETAG)[:-5], part(5, b"56789")]
    with pytest.raises(DestinationUnusable, match="x exists already"):
        await fetch(answers, place, on_event=lambda _: place.write_bytes(b"mine"))
    assert b"mine" == place.read_bytes()
    assert 1 == len(parts_in(tmp_path))


async def test_not_for_files(tmp_path: Path) -> None:
    """Directories that are not there, directories in the way, devices and pipes take no file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "film").mkdir(parents=True)
    await refuses(tmp_path / "pipe", "pipe is not a regular file", overwrite=True)
    await refuses(Path("/dev/null"), "/dev/null is not a regular file", overwrite=True)
    for place, words in [("none/x", "No such file or directory"), ("file/x", "Not a directory")]:
        with pytest.raises(DestinationUnusable, match=words):
            await fetch([ok(b"0")], tmp_path / place)
    with pytest.raises(DestinationUnusable, match="film is a directory"):
        await fetch([ok(b"0")], tmp_path / "folder", overwrite=True)


async def test_link_to_directory(tmp_path: Path) -> None:
    """A link to a directory is a directory."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    done = await fetch([ok(b"0")], tmp_path / "link")
    assert str(tmp_path / "link" / "film") == done[0].path
    assert b"0" == (tmp_path / "folder" / "film").read_bytes()


async def test_longest_name(tmp_path: Path) -> None:
    """A name may be as long as the file system allows, though what is not whole yet has a longer one."""
    place = tmp_path / ("x" * 251 + ".mp4")
    await fetch([ok(b"0123456789", ETAG)[:-5], part(5, b"56789")], place)
    assert b"0123456789" == place.read_bytes()
    with pytest.raises(DestinationUnusable, match="File name too long"):
        await fetch([ok(b"0")], tmp_path / ("x" * 256))


async def test_planted_part(tmp_path: Path) -> None:
    """What lies in the way of the unfinished file is not followed, and not waited for."""
    for plant in (lambda part: part.symlink_to(tmp_path / "victim"), os.mkfifo):
        async with peer(scripted([ok(b"0123456789", ETAG)[:-5], b"", ok(b"0123456789", ETAG)])) as there:
            with pytest.raises(ZeroDivisionError):
                await download(there.url, tmp_path / "x", options=HASTY, on_event=lambda _: 1 // 0)
            [name] = parts_in(tmp_path)
            (tmp_path / name).unlink()
            plant(tmp_path / name)
            with pytest.raises(DestinationUnusable):
                await download(there.url, tmp_path / "x", options=HASTY)
        (tmp_path / name).unlink()
    assert [] == os.listdir(tmp_path)


async def test_others_parts_stay(tmp_path: Path) -> None:
    """What another process is downloading, and what is not from this URL, is not removed."""
    other, mine = (
        FileDestination(tmp_path / "x", URL, overwrite=False),
        FileDestination(tmp_path / "x", URL, overwrite=False),
    )
    stranger = FileDestination(tmp_path / "x", URL + "2", overwrite=False)
    for each, etag in ((other, '"1"'), (stranger, '"1"')):
        await each.begin("x", etag)
        await each.write(b"0")
    await stranger.close()
    await mine.begin("x", '"2"')
    assert 3 == len(parts_in(tmp_path))
    await mine.close()
    assert 2 == len(parts_in(tmp_path)), "an empty one is of no use"
    await other.close()
    await mine.begin("x", '"2"')
    await mine.close()
    assert 1 == len(parts_in(tmp_path)), "nobody goes on with the first"


async def test_left_by_a_killed_process(tmp_path: Path) -> None:
    """What a process left that was killed is gone on with only when it is known what it is of."""
    for etag, offset in (('"1"', 5), (None, 0)):
        killed, next_one = (FileDestination(tmp_path / "x", URL, overwrite=False) for _ in range(2))
        await killed.begin("x", etag)
        await killed.write(b"01234")
        os.close(killed._opened())
        await next_one.begin("x", etag)
        assert offset == next_one.offset
        await next_one.close()


async def test_two_at_once(tmp_path: Path) -> None:
    """Two downloads never write the same file."""
    first, second = (FileDestination(tmp_path / "x", URL, overwrite=True) for _ in range(2))
    await first.begin("x", '"1"')
    with pytest.raises(DestinationUnusable, match="another process is downloading "):
        await second.begin("x", '"1"')
    await first.write(b"0")
    assert str(tmp_path / "x") == await first.finish()
    await second.begin("x", '"1"')
    assert 0 == second.offset
    await second.close()
    assert ["x"] == os.listdir(tmp_path)


async def test_cancelled_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that is cancelled has ended before anything else happens to the file."""
    place = FileDestination(tmp_path / "x", URL, overwrite=False)
    await place.begin("x", '"1"')
    reading, writing = os.pipe()
    write = os.pwrite

    def slowly(fd: int, data: bytes, offset: int) -> int:
        os.read(reading, 1)
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", slowly)
    task = asyncio.create_task(place.write(b"01234"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    ended_early = task.done()
    os.write(writing, b".")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended_early
    await place.close()
    assert b"01234" == (tmp_path / parts_in(tmp_path)[0]).read_bytes()
    os.close(reading)
    os.close(writing)


async def test_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that know no links get the file nevertheless, and nothing is overwritten there."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    await fetch([ok(b"0123456789")], tmp_path / "x")
    assert b"0123456789" == (tmp_path / "x").read_bytes()
    assert ["x"] == os.listdir(tmp_path)
    answers = [ok(b"0123456789", ETAG)[:-5], part(5, b"56789")]
    with pytest.raises(DestinationUnusable, match="y exists already"):
        await fetch(answers, tmp_path / "y", on_event=lambda _: (tmp_path / "y").touch())


async def test_full_disk(client: Client, tmp_path: Path) -> None:
    """What fits is kept; with space the rest is fetched."""
    url = await client.upload(DATA)
    with small_disk(tmp_path / "disk", "2m") as disk:
        with pytest.raises(DestinationUnusable, match="No space left on device"):
            await download(url, disk / "x")
        assert 1 == len(parts_in(disk))
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        done = await download(url, disk / "x")
        assert 900_000 < done.received < 2_000_000
        assert DATA == (disk / "x").read_bytes()


_LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from tusd_py.client.download import download
from tusd_py.client.errors import DestinationUnusable

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    asyncio.run(download(sys.argv[1], Path(sys.argv[2])))
except DestinationUnusable as error:
    print(error.sentence)
"""


async def test_file_too_large(client: Client, tmp_path: Path) -> None:
    """A limit of the size of files is told; what fits is kept, to the byte."""
    url = await client.upload(DATA)
    limited = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _LIMITED, url, str(tmp_path / "x"), stdout=subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(limited.communicate(), 30)
    assert f"{tmp_path / 'x'} cannot be written: File too large" == said.decode().strip()
    assert 1_000_000 == (tmp_path / parts_in(tmp_path)[0]).stat().st_size
    done = await download(url, tmp_path / "x")
    assert (len(DATA) - 1_000_000, DATA) == (done.received, (tmp_path / "x").read_bytes())


async def test_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are on the disk before the name is, and the name before it is told."""
    steps: list[str] = []
    sync, link = os.fsync, os.link

    def note_sync(fd: int) -> None:
        steps.append("directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        sync(fd)

    def note_link(*args: Path) -> None:
        steps.append("name")
        link(*args)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "link", note_link)
    await fetch([ok(b"0")], tmp_path / "x")
    assert ["file", "name", "directory"] == steps
