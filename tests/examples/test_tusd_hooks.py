"""Example 10: scripts in a directory, in the format of tusd, refuse and hand on."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import aiohttp

from tests.examples.place import Place, commands, path_of
from tests.support.client import Client
from tests.support.waiting import until

Session = aiohttp.ClientSession
FOLDER = "10-tusd-hooks"


def named(name: str) -> str:
    """Return metadata with a filename."""
    return "filename " + base64.b64encode(name.encode()).decode()


async def test_readme(place: Place) -> None:
    """The first file is taken and handed on; the second is refused with the status and before a byte of it is sent."""
    (place.root / "setup.exe").write_bytes(os.urandom(1000))
    async with place.serving(FOLDER) as server:
        taken, refused = (line.replace("http://127.0.0.1:8080", server.url) for line in commands(FOLDER, 1))
        code, said = await place.run(taken)
        assert code == 0, said
        upload_id = said.strip().rpartition("/")[2]
        size = (place.root / "big.iso").stat().st_size
        await server.says(f"{size} bytes are in the inbox as {upload_id}")
        inbox = place.examples / FOLDER / "inbox"
        assert {path.name: path.read_bytes() for path in inbox.iterdir()} == {
            upload_id: (place.root / "big.iso").read_bytes()
        }
        assert path_of(place.examples / FOLDER / "data", said.strip()).exists()
        code, said = await place.run(refused)
        assert code != 0
        assert "422" in said
        assert "PATCH" not in server.log.partition("/files/ 422")[2]


async def test_refusals(place: Place, session: Session) -> None:
    """The client gets the status and the words of the script; a script that cannot be run lets nobody in (row 55)."""
    async with place.serving(FOLDER) as server:
        client = Client(session, f"{server.url}/files/")
        answer = await client.post({"Upload-Length": "5", "Upload-Metadata": named("virus.EXE")})
        assert (answer.status, answer.body) == (422, b"a file with a name, and no program, please\n")
        assert (await client.post({"Upload-Length": "5"})).status == 422
        assert (await client.post({"Upload-Length": "5", "Upload-Metadata": named("a.txt")})).status == 201
        (place.examples / FOLDER / "hooks" / "pre-create").chmod(0o600)
        answer = await client.post({"Upload-Length": "5", "Upload-Metadata": named("a.txt")})
        assert (answer.status, answer.code) == (500, "ERR_HOOK_FAILED")


async def test_tried_again(place: Place, session: Session) -> None:
    """While the inbox cannot be written the script fails; when it can, the upload is there, once."""
    inbox = place.examples / FOLDER / "inbox"
    inbox.write_bytes(b"")
    async with place.serving(FOLDER) as server:
        client = Client(session, f"{server.url}/files/")
        url = await client.upload(b"hello", Upload_Metadata=named("a.txt"))
        await server.says("job_failed")
        inbox.unlink()
        there = inbox / url.rpartition("/")[2]
        await until(lambda: holds(there, b"hello"))
        assert [there] == list(inbox.iterdir())


async def holds(path: Path, data: bytes) -> bool:
    """Say whether a file is there and has those bytes."""
    return path.exists() and path.read_bytes() == data
