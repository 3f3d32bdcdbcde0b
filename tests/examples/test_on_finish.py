"""Example 04: the callback archives every finished upload, whatever its name, also when it was killed at work."""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import aiohttp
import pytest

from tests.examples.place import Place, Running, commands
from tests.support.client import Answer, Client
from tests.support.waiting import until

Session = aiohttp.ClientSession
FOLDER = "04-on-finish"


def named(name: str) -> str:
    """Return metadata with a filename."""
    return "filename " + base64.b64encode(name.encode()).decode()


def keys(server: Running) -> list[str]:
    """Return the idempotency keys of the runs that the example has told of."""
    return re.findall(r"begin (\S+)", server.log)


@contextlib.asynccontextmanager
async def copying(folder: Path, finishing: Awaitable[Answer]) -> AsyncIterator[None]:
    """Finish an upload, and hold its callback in the middle of the copy: it writes into a pipe that nobody empties."""
    folder.mkdir(parents=True)
    os.mkfifo(folder / ".part")
    reader = os.open(folder / ".part", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert (await finishing).status == 204

        async def is_copying() -> bool:
            try:
                return bool(os.read(reader, 1))
            except BlockingIOError:
                return False

        await until(is_copying)
        yield
    finally:
        os.close(reader)
        (folder / ".part").unlink()


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Place, Running]]:
    """The example, running."""
    place = Place(tmp_path_factory.mktemp("on-finish"))
    async with place.serving(FOLDER) as server:
        yield place, server


async def test_readme(place: Place) -> None:
    """The command of the README leaves the file in the archive, under its own name."""
    async with place.serving(FOLDER) as server:
        (upload,) = commands(FOLDER, 1)
        code, said = await place.run(upload.replace("http://127.0.0.1:8080", server.url))
        assert code == 0, said
        upload_id = said.strip().rpartition("/")[2]
        await server.says(f"archived archive/{upload_id}/big.iso")
        assert keys(server) == [f"{upload_id}:__main__.archive"]
        archived = place.examples / FOLDER / "archive" / upload_id / "big.iso"
        assert archived.read_bytes() == (place.root / "big.iso").read_bytes()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\report.pdf", "report.pdf"),
        ("s\u0142o\u0144ce.txt", "s\u0142o\u0144ce.txt"),
        ("a\nb\x00c", "a_b_c"),
        (".part", "part"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("x" * 1000, "x" * 150),
    ],
    ids=["path", "windows", "letters", "control", "hidden", "dots", "nothing", "long"],
)
async def test_names(served: tuple[Place, Running], session: Session, name: str, safe: str) -> None:
    """Whatever a client calls its file, the copy is in the folder of its upload, under a harmless name."""
    place, server = served
    client = Client(session, f"{server.url}/files/")
    url = await client.upload(b"hello", Upload_Metadata=named(name))
    upload_id = url.rpartition("/")[2]
    await server.says(f"archived archive/{upload_id}/{safe}\n")
    folder = place.examples / FOLDER / "archive" / upload_id
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {safe: b"hello"}


async def test_killed_at_work(place: Place, session: Session) -> None:
    """A callback that was killed in the middle of its work runs again after a restart, with the same key (I14)."""
    data = os.urandom(2**20)
    archive = place.examples / FOLDER / "archive"
    async with place.serving(FOLDER) as server:
        client = Client(session, f"{server.url}/files/")
        url = await client.create(len(data), Upload_Metadata=named("film.mp4"))
        folder = archive / url.rpartition("/")[2]
        async with copying(folder, client.patch(url, 0, data)):
            await server.says("begin ")
            (key,) = keys(server)
            assert key.startswith(folder.name)
            await server.kill()
        assert list(folder.iterdir()) == []
    async with place.serving(FOLDER) as server:
        await server.says(f"archived archive/{folder.name}/film.mp4")
        assert keys(server) == [key]
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"film.mp4": data}


async def test_killed_after_work(place: Place, session: Session) -> None:
    """A copy that is there already is left as it is: the second run changes nothing (I15)."""
    data = os.urandom(2**20)
    archive = place.examples / FOLDER / "archive"
    async with place.serving(FOLDER) as server:
        client = Client(session, f"{server.url}/files/")
        url = await client.create(len(data), Upload_Metadata=named("film.mp4"))
        folder = archive / url.rpartition("/")[2]
        async with copying(folder, client.patch(url, 0, data)):
            await server.kill()
    # As if the process had died between the last step of the copy and the end of the callback.
    (folder / "film.mp4").write_bytes(data)
    before = (folder / "film.mp4").stat()
    async with place.serving(FOLDER) as server:
        await server.says("archived ")
        after = (folder / "film.mp4").stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
