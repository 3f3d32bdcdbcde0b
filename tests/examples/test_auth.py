"""Example 03: uploads behind the application's own sign-in, each seen by its owner only."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.examples.place import Place, Running, commands
from tests.support.client import CT, Answer, Client, T
from tests.support.wire import Wire

Session = aiohttp.ClientSession
FOLDER = "03-auth"
METHODS = ["HEAD", "GET", "PATCH", "DELETE", "POST"]


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Place, Running]]:
    """The example, running."""
    place = Place(tmp_path_factory.mktemp("auth"))
    async with place.serving(FOLDER) as server:
        yield place, server


@pytest.fixture
def server(served: tuple[Place, Running]) -> Running:
    """The running example."""
    return served[1]


@pytest.fixture
def client(session: Session, server: Running) -> Client:
    """A client of its uploads."""
    return Client(session, f"{server.url}/my/files/")


async def sign_in(client: Client, name: str = "ada", password: str = "difference") -> dict[str, str]:
    """Return the header of a session, of the kind that programs use."""
    url = client.base.removesuffix("/my/files/") + "/login"
    async with client.session.post(url, data={"name": name, "password": password}) as answer:
        assert answer.status == 200
        return {"Authorization": f"Bearer {(await answer.text()).strip()}"}


async def made_by(client: Client, who: dict[str, str], data: bytes = b"hello", sent: int = 2) -> str:
    """Create an upload and send some of it; return its URL."""
    answer = await client.post({"Upload-Length": str(len(data)), **who})
    assert answer.status == 201
    url = answer.headers["Location"]
    assert (await client.patch(url, 0, data[:sent], who)).status == 204
    return url


async def attempt(client: Client, method: str, url: str, who: dict[str, str]) -> Answer:
    """Do something with an upload that would succeed for its owner."""
    if method in ("PATCH", "POST"):
        override = {"X-HTTP-Method-Override": "PATCH"} if method == "POST" else {}
        return await client.send(method, url, {**T, **CT, "Upload-Offset": "2", **override, **who}, b"llo")
    return await client.send(method, url, {**T, **who})


async def test_readme(place: Place) -> None:
    """The commands of the README: with the token an upload works, without it is refused."""
    async with place.serving(FOLDER) as server:
        token, upload, refused = (
            line.replace("http://127.0.0.1:8080", server.url) for line in commands(FOLDER, 1)
        )  # fmt: skip
        code, said = await place.run(token, upload)
        assert code == 0, said
        assert said.startswith(f"{server.url}/my/files/")
        code, said = await place.run(refused)
        assert code != 0
        assert "401" in said


async def test_cookie(client: Client, server: Running) -> None:
    """Browsers get a cookie that scripts and pages of others cannot use, and upload with it."""
    async with client.session.post(f"{server.url}/login", data={"name": "alan", "password": "bombe"}) as answer:
        cookie = answer.cookies["session"]
    client.session.cookie_jar.clear()
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
    who = {"Cookie": f"session={cookie.value}"}
    url = await made_by(client, who)
    assert (await attempt(client, "PATCH", url, who)).status == 204
    assert (await client.get(url, who)).body == b"hello"


@pytest.mark.parametrize("form", [{}, {"name": "ada"}, {"name": "ada", "password": "bombe"}, {"name": "eve"}])
async def test_wrong_password(client: Client, server: Running, form: dict[str, str]) -> None:
    """Without the right name and password there is no session."""
    async with client.session.post(f"{server.url}/login", data=form) as answer:
        assert answer.status == 403
        assert "session" not in answer.cookies


@pytest.mark.parametrize("who", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": "session="}], ids=str)
@pytest.mark.parametrize("method", METHODS)
async def test_nobody(client: Client, method: str, who: dict[str, str]) -> None:
    """Whoever is not signed in is refused with 401 for every method, and changes nothing."""
    ada = await sign_in(client)
    url = await made_by(client, ada)
    refused = await attempt(client, method, url, who)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert (await client.send("HEAD", url, {**T, **ada})).offset == 2
    assert (await client.post({"Upload-Length": "5", **who})).status == 401


@pytest.mark.parametrize("method", METHODS)
async def test_somebody_else(client: Client, method: str) -> None:
    """Another user's upload does not exist, whatever the method, and does not change."""
    ada, alan = await sign_in(client), await sign_in(client, "alan", "bombe")
    url = await made_by(client, ada)
    assert (await attempt(client, method, url, alan)).status == 404
    assert (await attempt(client, method, url + "/", alan)).status == 404
    assert (await client.send("HEAD", url, {**T, **ada})).offset == 2
    assert (await attempt(client, "PATCH", url, ada)).status == 204


async def test_result(client: Client) -> None:
    """What became of an upload is for its owner only."""
    ada, alan = await sign_in(client), await sign_in(client, "alan", "bombe")
    url = await made_by(client, ada, sent=5)
    for result in (f"{url}/result", f"{url}/result/"):
        assert (await client.get(result, ada)).status == 200
        assert (await client.get(result, alan)).status == 404
        assert (await client.get(result)).status == 401


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("expect", [{}, {"Expect": "100-continue"}], ids=["", "expects"])
async def test_body_is_not_read(client: Client, method: str, expect: dict[str, str]) -> None:
    """The refusal comes before the body: a client that has sent none of 10 GB has its answer, and no `100 Continue`."""
    url = client.base if method == "POST" else await made_by(client, await sign_in(client))
    size = {"Upload-Length": "10000000000"} if method == "POST" else {"Upload-Offset": "2"}
    async with await Wire.open(url) as wire:
        wire.start(method, url, {**T, **CT, **size, "Content-Length": "10000000000", **expect})
        assert (await wire.answer()).status == 401


async def test_preflight(client: Client) -> None:
    """Browsers ask without a session whether they may send one, and get an answer; it tells and changes nothing."""
    ada = await sign_in(client)
    url = await made_by(client, ada)
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset",
    }
    answer = await client.send("OPTIONS", url, asked)
    assert answer.status in (200, 204)
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    override = {**T, "X-HTTP-Method-Override": "DELETE"}
    assert (await client.send("OPTIONS", url, override)).status in (200, 204)
    assert (await client.send("HEAD", url, {**T, **ada})).offset == 2


async def test_no_way_around_by_concatenation(client: Client) -> None:
    """Nobody reads another's data by naming it as a part of an upload of theirs: there are no such uploads."""
    ada, alan = await sign_in(client), await sign_in(client, "alan", "bombe")
    theirs = await made_by(client, ada, sent=5)
    assert (await client.post({"Upload-Concat": f"final;{theirs}", **alan})).status == 400
    assert (await client.post({"Upload-Concat": "partial", "Upload-Length": "5", **ada})).status == 400
    assert "concatenation" not in (await client.send("OPTIONS")).headers["Tus-Extension"]


async def test_owner_after_a_restart(place: Place, session: Session) -> None:
    """Whose an upload is survives the process: its owner goes on, others still do not see it."""
    async with place.serving(FOLDER) as server:
        client = Client(session, f"{server.url}/my/files/")
        url = await made_by(client, await sign_in(client))
        await server.kill()
    async with place.serving(FOLDER) as server:
        client = Client(session, f"{server.url}/my/files/")
        url = client.base + url.rpartition("/")[2]
        ada, alan = await sign_in(client), await sign_in(client, "alan", "bombe")
        assert (await attempt(client, "PATCH", url, alan)).status == 404
        assert (await attempt(client, "PATCH", url, ada)).status == 204
        assert (await client.get(url, ada)).body == b"hello"
