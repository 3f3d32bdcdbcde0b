"""Example 11: a service on the other side of HTTP believes only this server, and works once."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.examples.place import Place, Running, commands, free_port
from tests.support.client import Client
from tusd_py.hooks.signature import WINDOW, sign

Session = aiohttp.ClientSession
FOLDER = "11-hook-receiver"
NAMED = "filename " + base64.b64encode(b"a.txt").decode()


@dataclass
class Pair:
    """Where service and server are run."""

    place: Place
    port: int
    """Of the service."""

    @property
    def folder(self) -> Path:
        """The copy of the example."""
        return self.place.examples / FOLDER

    @property
    def hooks(self) -> str:
        """The URL of the service."""
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def secret(self) -> str:
        """What both know."""
        return (self.folder / "secret").read_text().strip()

    @contextlib.asynccontextmanager
    async def service(self, *, again: bool = False) -> AsyncIterator[Running]:
        """Run the service as the README says, or once more with the secret that is there."""
        enter, make_secret, start = commands(FOLDER, 0)
        lines = [enter, start] if again else [enter, make_secret, start]
        async with self.place.running(lines, PORT=str(self.port)) as service:
            await service.announced()
            yield service

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator[Running]:
        """Run the server as the README says, but for the ports."""
        lines = [line.replace("http://127.0.0.1:9000/hooks", self.hooks) for line in commands(FOLDER, 1)]
        assert self.hooks in lines[-1]
        async with self.place.running(lines, TUSD_PY_PORT="0") as server:
            await server.announced()
            yield server

    def arrived(self) -> list[tuple[str, int]]:
        """Return what the service remembers."""
        with contextlib.closing(sqlite3.connect(self.folder / "arrived.sqlite3")) as database:
            return database.execute("SELECT filename, size FROM arrived").fetchall()


@pytest.fixture
def pair(place: Place) -> Pair:
    """Nothing runs yet."""
    return Pair(place, free_port())


async def test_readme(pair: Pair) -> None:
    """An upload with a name is taken and told; one without is refused with the body that the service wants."""
    async with pair.service() as service, pair.server() as server:
        upload, nameless = (line.replace("http://127.0.0.1:8080", server.url) for line in commands(FOLDER, 2))
        code, said = await pair.place.run(upload)
        assert code == 0, said
        size = (pair.place.root / "big.iso").stat().st_size
        await service.says(f"arrived: big.iso ({size} bytes)")
        assert pair.arrived() == [("big.iso", size)]
        code, said = await pair.place.run(nameless)
        assert (code, said.split()[1]) == (0, "422")
        assert "Content-Type: application/json" in said
        assert said.endswith('{"problem": "no filename"}')


async def test_outage(pair: Pair, session: Session) -> None:
    """While the service is away nothing is let in; what had begun is finished, and told when it is back (I14)."""
    async with contextlib.AsyncExitStack() as stack:
        async with pair.service():
            server = await stack.enter_async_context(pair.server())
            client = Client(session, f"{server.url}/files/")
            url = await client.create(5, Upload_Metadata=NAMED)
        assert (await client.patch(url, 0, b"hello")).status == 204
        answer = await client.post({"Upload-Length": "5", "Upload-Metadata": NAMED})
        assert (answer.status, answer.code) == (500, "ERR_HOOK_FAILED")
        await server.says("job_failed")
        async with pair.service(again=True) as service:
            await service.says("arrived: a.txt (5 bytes)")


async def test_letters(pair: Pair, session: Session) -> None:
    """The service takes a letter once, and none that is unsigned, changed, old or with another key (row 59)."""
    upload = {"ID": "abc", "Size": 5, "MetaData": {"filename": "a.txt"}}
    letter = json.dumps({"Type": "post-finish", "Event": {"Upload": upload}}).encode()

    async def send(body: bytes, signature: str | None, key: str = "abc:post-finish") -> int:
        headers = {"Idempotency-Key": key} | ({} if signature is None else {"X-Tus-Signature": signature})
        async with session.post(pair.hooks, data=body, headers=headers) as answer:
            return answer.status

    async with pair.service() as service:
        now = time.time()
        good = sign(pair.secret, letter, now=now)
        assert await send(letter, None) == 403
        assert await send(letter.replace(b"a.txt", b"b.txt"), good) == 403
        assert await send(letter, sign(pair.secret, letter, now=now - WINDOW - 60)) == 403
        assert await send(letter, sign(pair.secret + "x", letter, now=now)) == 403
        assert await send(letter, good, key="def:post-finish") == 400
        assert pair.arrived() == []
        assert [await send(letter, good) for _ in range(2)] == [204, 204]
        assert pair.arrived() == [("a.txt", 5)]
        await service.says("known already: a.txt")
