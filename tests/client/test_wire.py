"""Requests: who is told what, and how it is told what goes wrong on the way."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.client.wiring import (
    NO_CONTENT,
    Caller,
    Certificate,
    answering,
    make_certificate,
    of_bytes,
    ok,
    patch_head,
    peer,
)
from tests.support.servers import running
from tusd_py.client.errors import NotATusServer, Untrusted
from tusd_py.client.records import Options
from tusd_py.client.trouble import Unreachable, reason_of
from tusd_py.client.wire import MOST_OF_AN_ANSWER, Wire
from tusd_py.protocol.tus1_client import Denied, NotTus, TryAgain

HEAD = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def failing(url: str, options: Options | None = None, *, method: str = "HEAD") -> str:
    """Return the reason why there is no answer."""
    async with Wire(url, options or Options()) as wire:
        with pytest.raises(Unreachable) as caught:
            await wire.ask(method, url, HEAD)
    assert (caught.value.status, caught.value.retry_after) == (None, None)
    return caught.value.reason


async def test_a_request_and_its_answer() -> None:
    """What was asked for is sent, and nothing that nobody asked for; what came is told."""
    async with peer(answering(ok(b"yes", "X-Two: 1", "X-Two: 2"))) as there, Wire(there.url, Options()) as wire:
        answer = await wire.ask("POST", there.url, {**HEAD, "Upload-Length": "5"})
    assert (answer.status, answer.body, list(answer.headers.getall("x-two", ()))) == (200, b"yes", ["1", "2"])
    (asked,) = there.asked
    assert (asked.method, asked.target) == ("POST", "/files/")
    agent = asked.headers.pop("User-Agent")
    assert agent.startswith("tusd-py/")
    assert dict(asked.headers) == {
        "Host": there.url.split("/")[2],
        "Accept-Encoding": "identity",
        "Tus-Resumable": "1.0.0",
        "Upload-Length": "5",
        "Accept": "*/*",
        "Content-Length": "0",
    }


async def test_one_connection_for_many_requests() -> None:
    """With bodies and without."""
    answers = [ok(), ok(b"yes"), NO_CONTENT, ok(status="404 Not Found"), NO_CONTENT]
    async with peer(answering(*answers)) as there, Wire(there.url, Options()) as wire:
        for method in ("HEAD", "POST", "PATCH", "HEAD", "DELETE"):
            body = of_bytes(b"hello") if method == "PATCH" else None
            await wire.ask(method, there.url, patch_head() if body else HEAD, body)
        assert len(there.callers) == 1
    assert [asked.method for asked in there.asked] == ["HEAD", "POST", "PATCH", "HEAD", "DELETE"]


async def test_only_the_beginning_of_an_answer_is_read() -> None:
    """Nobody needs more of a page that says 404, and its connection ends with it."""
    async with peer(answering(ok(b"x" * 10**6), ok())) as there, Wire(there.url, Options()) as wire:
        answer = await wire.ask("GET", there.url, HEAD)
        assert answer.body == b"x" * MOST_OF_AN_ANSWER
        await wire.ask("GET", there.url, HEAD)
        assert len(there.callers) == 2


@pytest.mark.parametrize("status", ["201 Created", "403 Forbidden"])
async def test_an_answer_that_breaks_off(status: str) -> None:
    """Its head says what happened: it is not asked for again for the sake of its body."""
    cut = ok(b"not more", status=status).replace(b"Length: 8", b"Length: 80")
    async with peer(answering(cut)) as there, Wire(there.url, Options()) as wire:
        answer = await wire.ask("POST", there.url, HEAD)
    assert (answer.status, answer.body) == (int(status[:3]), b"not more")


async def test_an_answer_that_drips() -> None:
    """Its head says what happened; its body is not waited for without an end."""

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.say(b"HTTP/1.1 201 Created\r\nContent-Length: 4000\r\n\r\n")
        while True:
            await caller.say(b"x")
            await asyncio.sleep(0.05)

    async with peer(behave) as there, Wire(there.url, Options(network_timeout=0.3)) as wire:
        answer = await wire.ask("POST", there.url, HEAD)
    assert answer.status == 201
    assert 0 < len(answer.body) < 4000


@pytest.mark.parametrize("with_body", [False, True])
async def test_a_head_that_drips(with_body: bool) -> None:
    """A server that never comes to the end of its head has not answered."""

    async def behave(caller: Caller) -> None:
        await caller.body((await caller.head()).length)
        await caller.say(b"HTTP/1.1 204 No Content\r\nX-Drip: ")
        while True:
            await caller.say(b"x")
            await asyncio.sleep(0.05)

    async with peer(behave) as there, Wire(there.url, Options(network_timeout=0.3)) as wire:
        with pytest.raises(Unreachable, match=r"^no answer for 0\.3 s$"):
            await wire.ask("PATCH", there.url, patch_head(), of_bytes(b"hello") if with_body else None)


@pytest.mark.parametrize("with_body", [False, True])
async def test_no_answer(with_body: bool) -> None:
    """Silence is not waited for without an end, also after all of a body was acknowledged."""

    async def behave(caller: Caller) -> None:
        await caller.body((await caller.head()).length)
        await asyncio.Event().wait()

    async with peer(behave) as there, Wire(there.url, Options(network_timeout=0.3)) as wire:
        with pytest.raises(Unreachable, match=r"^no answer for 0\.3 s$"):
            await wire.ask("PATCH", there.url, patch_head(), of_bytes(b"hello") if with_body else None)


@pytest.mark.parametrize("with_body", [False, True])
async def test_no_connection(with_body: bool) -> None:
    """A host that does not even refuse, as behind a firewall."""
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        # A queue with room for one, which is taken: the system drops whoever comes next.
        sock.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(sock.getsockname())
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/files/"
        async with Wire(url, Options(network_timeout=0.3)) as wire:
            with pytest.raises(Unreachable, match=r"^no connection for 0\.3 s$"):
                await wire.ask("PATCH", url, patch_head(), of_bytes(b"hello") if with_body else None)


async def test_refused() -> None:
    assert await failing(f"http://127.0.0.1:{free_port()}/files/") == "connection refused"


async def test_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of them fail it is told how, each way once, without the addresses."""

    async def resolve(*_: object, **__: object) -> list[dict[str, object]]:
        return [
            {"hostname": "two.example", "host": host, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for host in ("127.0.0.1", "127.0.0.2")
        ]

    port = free_port()
    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", resolve)
    assert await failing(f"http://two.example:{port}/") == "connection refused"
    mixed = OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 101] Connect call failed")
    assert reason_of(mixed) == "connection refused, network is unreachable"


async def test_unknown_name() -> None:
    """A name that nobody can have (RFC 6761)."""
    assert await failing("http://nowhere.invalid/files/") == "name not known: nowhere.invalid"


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_closed_without_an_answer(method: str) -> None:
    async def behave(caller: Caller) -> None:
        await caller.head()

    async with peer(behave) as there:
        assert await failing(there.url, method=method) == "the server closed the connection"


async def test_reset_without_an_answer() -> None:
    async def behave(caller: Caller) -> None:
        await caller.head()
        caller.reset()

    async with peer(behave) as there:
        assert await failing(there.url) == "connection reset by peer"


async def test_no_http() -> None:
    async def behave(caller: Caller) -> None:
        await caller.say(b"SSH-2.0-OpenSSH_9.6\r\n")
        await caller.ended()

    async with peer(behave) as there:
        assert await failing(there.url) in ("the answer is not HTTP", "the server closed the connection")


@pytest.mark.parametrize("with_body", [False, True])
async def test_a_kept_connection_that_the_server_has_closed(with_body: bool) -> None:
    """It may end just when the next request is sent: something to try again, and the next try has its own one."""
    closing = asyncio.Event()

    async def behave(caller: Caller) -> None:
        await caller.body((await caller.head()).length)
        await caller.say(NO_CONTENT)
        if len(there.callers) == 1:
            # The next request is on its way, and nobody has read it.
            await caller.head()
            closing.set()

    async with peer(behave) as there, Wire(there.url, Options()) as wire:
        await wire.ask("HEAD", there.url, HEAD)
        with pytest.raises(Unreachable, match="closed the connection"):
            await wire.ask("PATCH", there.url, patch_head(), of_bytes(b"") if with_body else None)
        assert closing.is_set()
        answer = await wire.ask("PATCH", there.url, patch_head(), of_bytes(b"hello"))
    assert answer.status == 204
    assert len(there.callers) == 2


async def test_what_can_be_asked_twice_is() -> None:
    """Where a kept connection was closed and nothing can go wrong by it, nobody hears of it."""

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.say(NO_CONTENT)
        if len(there.callers) == 1:
            await caller.head()

    async with peer(behave) as there, Wire(there.url, Options()) as wire:
        for _ in range(2):
            assert (await wire.ask("HEAD", there.url, HEAD)).status == 204
    assert len(there.callers) == 2


async def test_cancelling_closes_the_connection() -> None:
    ended = asyncio.Event()

    async def behave(caller: Caller) -> None:
        await caller.head()
        task.cancel()
        await caller.ended()
        ended.set()

    async with peer(behave) as there, Wire(there.url, Options()) as wire:
        task = asyncio.create_task(wire.ask("HEAD", there.url, HEAD))
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 10)


async def test_redirections_are_not_followed() -> None:
    """They are told: a POST that is followed becomes a GET, and a token would go who knows where."""
    async with peer(answering(ok(status="302 Found"))) as elsewhere:
        away = ok(b"", f"Location: {elsewhere.url}", status="307 Temporary Redirect")
        async with peer(answering(away)) as there, Wire(there.url, Options(token="secret")) as wire:
            answer = await wire.ask("POST", there.url, HEAD)
        assert (answer.status, answer.headers.get("Location")) == (307, elsewhere.url)
        assert not elsewhere.callers


async def test_headers_and_token_are_for_one_server() -> None:
    """Another origin, to which a server may lead, gets neither."""
    options = Options(headers={"X-Api-Key": "k"}, token="t")
    other_peer = peer(answering(NO_CONTENT))
    async with peer(answering(NO_CONTENT)) as there, other_peer as other, Wire(there.url, options) as wire:
        await wire.ask("HEAD", there.url + "a", HEAD)
        await wire.ask("HEAD", other.url + "a", HEAD)
    assert (there.asked[0].headers["X-Api-Key"], there.asked[0].headers["Authorization"]) == ("k", "Bearer t")
    assert not {"X-Api-Key", "Authorization"} & set(other.asked[0].headers)


@pytest.mark.parametrize(
    ("endpoint", "url", "told"),
    [
        ("http://127.0.0.1/files/", "https://127.0.0.1:{port}/a", True),
        ("https://127.0.0.1/files/", "https://127.0.0.1:{port}/a", False),
        ("http://localhost/files/", "https://127.0.0.1:{port}/a", False),
        ("https://127.0.0.1:{port}/files/", "https://127.0.0.1:{port}/a", True),
        ("https://LOCALHOST:{port}/files/", "https://localhost:{port}/a", True),
        ("https://localhost:{port}/files/", "https://LocalHost:{port}/a", True),
    ],
)
async def test_whom_a_token_is_told(certificate: Certificate, endpoint: str, url: str, told: bool) -> None:
    """Its own origin, however that is spelt, and the same host by a safer way."""
    async with peer(answering(NO_CONTENT), tls=certificate.server) as there:
        port = there.url.split(":")[2].split("/")[0]
        async with Wire(endpoint.format(port=port), Options(token="t", ssl=certificate.client)) as wire:
            await wire.ask("HEAD", url.format(port=port), HEAD)
    assert ("Authorization" in there.asked[0].headers) == told


async def test_never_from_https_to_http() -> None:
    async with peer(answering(NO_CONTENT)) as there, Wire("https://127.0.0.1/files/", Options(token="t")) as wire:
        await wire.ask("HEAD", there.url, HEAD)
    assert "Authorization" not in there.asked[0].headers


async def test_the_token_is_asked_for_before_every_request() -> None:
    """One that was refreshed meanwhile is used at once, whichever kind of function tells it."""
    count = 0

    def token() -> str:
        nonlocal count
        count += 1
        return f"t{count}\n"

    async def slow_token() -> str:
        return token()

    for each in (token, slow_token):
        async with peer(answering(NO_CONTENT, NO_CONTENT)) as there, Wire(there.url, Options(token=each)) as wire:
            for _ in range(2):
                await wire.ask("HEAD", there.url, HEAD)
        first = count - 1
        assert [asked.headers["Authorization"] for asked in there.asked] == [f"Bearer t{first}", f"Bearer t{count}"]


async def test_a_token_that_cannot_be_had() -> None:
    """What its function raises is told as it is, and nothing is sent without it."""

    def token() -> str:
        raise LookupError("no token today")

    async with peer(answering(NO_CONTENT)) as there, Wire(there.url, Options(token=token)) as wire:
        with pytest.raises(LookupError, match="no token today"):
            await wire.ask("HEAD", there.url, HEAD)
    assert not there.callers


async def test_a_token_that_cannot_be_sent() -> None:
    """It is not quoted: it is a secret still."""
    async with Wire("http://127.0.0.1/", Options(token="a\r\nX: y")) as wire:
        with pytest.raises(ValueError, match=r"^the token has characters in it that cannot be sent$"):
            await wire.ask("HEAD", "http://127.0.0.1/", HEAD)


async def test_the_protocol_has_the_last_word_on_headers() -> None:
    """What a person adds replaces nothing that an upload needs."""
    options = Options(headers={"upload-offset": "7", "authorization": "Basic eHk=", "host": "files.example"})
    async with peer(answering(NO_CONTENT)) as there, Wire(there.url, options) as wire:
        await wire.ask("PATCH", there.url, patch_head(), of_bytes(b"hello"))
    headers = there.asked[0].headers
    assert headers.getall("Upload-Offset") == ["0"]
    assert (headers["Authorization"], headers.getall("Host")) == ("Basic eHk=", ["files.example"])


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
        {"X": "a\r\nY: b"},
        {"X Y": "z"},
        {"": "z"},
        {"X": "é"},
    ],
)
def test_headers_that_cannot_be_sent(headers: dict[str, str]) -> None:
    """They are refused before anything else."""
    with pytest.raises(ValueError, match="header"):
        Wire("http://127.0.0.1/", Options(headers=headers))


@pytest.mark.parametrize("url", ["", "files", "ftp://host/", "http://", "http:///files", "//host/", "http://h:99999/"])
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ValueError, match="is no URL"):
        Wire(url, Options())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "file:///etc/passwd", "/a", "http://[/"])
async def test_urls_of_a_server_that_cannot_be_asked(url: str) -> None:
    """Whoever leads there is no tus server."""
    async with Wire("http://127.0.0.1/", Options()) as wire:
        with pytest.raises(NotTus, match="is no URL that can be asked"):
            await wire.ask("HEAD", url, HEAD)


async def test_urls_are_sent_as_they_are() -> None:
    """A server may mean something by each letter that it put into one; what cannot be sent is encoded."""
    async with peer(answering(*[NO_CONTENT] * 3)) as there, Wire(there.url, Options()) as wire:
        for path in ("a%2Fb/%7Ec/../d;x=%41?q=a%20b&+=%2B", "é b", "#part"):
            await wire.ask("HEAD", there.url + path, HEAD)
    assert [asked.target for asked in there.asked] == [
        "/files/a%2Fb/%7Ec/../d;x=%41?q=a%20b&+=%2B",
        "/files/%C3%A9%20b",
        "/files/",
    ]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (Options(), "Basic " + base64.b64encode(b"us er:p@ss").decode()),
        (Options(token="t"), "Bearer t"),
        (Options(headers={"authorization": "Basic eHk="}), "Basic eHk="),
    ],
)
async def test_credentials_in_the_url(options: Options, sent: str) -> None:
    """They are sent to the server, and stand in nothing that is shown or kept."""
    async with peer(answering(NO_CONTENT)) as there:
        with_name = there.url.replace("://", "://us%20er:p%40ss@") + "?a=b#c"
        async with Wire(with_name, options) as wire:
            assert wire.endpoint == there.url + "?a=b"
            await wire.ask("HEAD", there.url + "a", HEAD)
    assert there.asked[0].headers.getall("Authorization") == [sent]


async def test_credentials_in_a_url_of_the_server() -> None:
    """Nobody but the person who started this says who it is."""
    async with peer(answering(NO_CONTENT)) as there, Wire(there.url, Options(token="t")) as wire:
        await wire.ask("HEAD", there.url.replace("://", "://somebody:else@"), HEAD)
    assert there.asked[0].headers.getall("Authorization") == ["Bearer t"]


async def test_passwords_of_other_programs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc that knows the host is in nobody's way."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for token, sent in (("t", "Bearer t"), (None, None)):
        async with peer(answering(NO_CONTENT)) as there, Wire(there.url, Options(token=token)) as wire:
            await wire.ask("HEAD", there.url, HEAD)
        assert there.asked[0].headers.get("Authorization") == sent


async def test_cookies_are_kept() -> None:
    """Balancers know by them which server has an upload."""
    answer = ok(b"", "Set-Cookie: route=a/b=; Path=/")
    async with peer(answering(answer, NO_CONTENT)) as there, Wire(there.url, Options()) as wire:
        for _ in range(2):
            await wire.ask("HEAD", there.url, HEAD)
    assert [asked.headers.get("Cookie") for asked in there.asked] == [None, "route=a/b="]


async def test_long_headers() -> None:
    """An answer may name all the parts of an upload."""
    parts = "final;" + " ".join(f"https://files.example/files/{number:0100}" for number in range(64))
    async with peer(answering(ok(b"", f"Upload-Concat: {parts}"))) as there, Wire(there.url, Options()) as wire:
        assert (await wire.ask("HEAD", there.url, HEAD)).headers.get("Upload-Concat") == parts


async def test_a_session_of_the_caller() -> None:
    """It is used, and stays open."""
    mine = aiohttp.ClientSession(headers={"X-Session": "mine"})
    async with mine as session, peer(answering(NO_CONTENT)) as there:
        async with Wire(there.url, Options(), session) as wire:
            await wire.ask("HEAD", there.url, HEAD)
        assert there.asked[0].headers["X-Session"] == "mine"
        assert not session.closed


async def test_an_unknown_certificate(certificate: Certificate) -> None:
    """It is not tried again, nothing was sent, and what would help is said."""
    async with peer(answering(NO_CONTENT), tls=certificate.server) as there, Wire(there.url, Options()) as wire:
        with pytest.raises(Untrusted, match=r"^the certificate is not trusted: self-signed certificate; --ca-file"):
            await wire.ask("HEAD", there.url, HEAD)
        assert not there.asked


async def test_a_certificate_of_somebody_else(certificate: Certificate) -> None:
    async with peer(answering(NO_CONTENT), tls=certificate.server) as there:
        url = there.url.replace("127.0.0.1", "127.0.0.2")
        sock = socket.create_server(("127.0.0.2", 0))
        server = await asyncio.start_server(lambda *_: None, sock=sock, ssl=certificate.server)
        url = f"https://127.0.0.2:{sock.getsockname()[1]}/"
        async with server, Wire(url, Options(ssl=certificate.client)) as wire:
            with pytest.raises(Untrusted, match="IP address mismatch"):
                await wire.ask("HEAD", url, HEAD)


async def test_a_trusted_certificate(certificate: Certificate) -> None:
    there_peer, options = peer(answering(NO_CONTENT), tls=certificate.server), Options(ssl=certificate.client)
    async with there_peer as there, Wire(there.url, options) as wire:
        assert (await wire.ask("HEAD", there.url, HEAD)).status == 204


async def test_a_server_that_wants_a_certificate(certificate: Certificate, tmp_path: Path) -> None:
    """What TLS says of a connection that stood already is told, too."""
    wanting = make_certificate(tmp_path).server
    wanting.verify_mode = ssl.CERT_REQUIRED
    wanting.load_verify_locations(certificate.path)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    async with peer(answering(NO_CONTENT), tls=wanting) as there:
        told = await failing(there.url, Options(ssl=trusting), method="POST")
    # It may break before its last words are read.
    last_words = "TLS failed: tlsv13 alert certificate required"
    assert told in (last_words, "the server closed the connection", "connection reset by peer")
    assert reason_of(OSError(1, f"[SSL: X] {last_words[12:]} (_ssl.c:2580)")) == last_words


async def test_https_where_there_is_none() -> None:
    """Not tried again either: it is a slip of the pen."""
    async with running(web.Application()) as base:
        url = base.replace("http:", "https:")
        async with Wire(url, Options()) as wire:
            with pytest.raises(NotATusServer, match=r"127\.0\.0\.1 port \d+ does not speak TLS; is it http:// there\?"):
                await wire.ask("HEAD", url, HEAD)


async def test_a_handshake_that_breaks(certificate: Certificate) -> None:
    """Networks do that: it is tried again."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await failing(url, Options(ssl=certificate.client))


async def test_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment says, except for those that it excepts."""
    async with peer(answering(NO_CONTENT)) as proxy, peer(answering(NO_CONTENT)) as there:
        monkeypatch.setenv("http_proxy", proxy.url.replace("://", "://user:pass@"))
        async with Wire("http://files.example/files/", Options()) as wire:
            answer = await wire.ask("PATCH", "http://files.example/files/a", patch_head(), of_bytes(b"hello"))
            assert answer.status == 204
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            await wire.ask("HEAD", there.url, HEAD)
    (asked,) = proxy.asked
    assert (asked.method, asked.target) == ("PATCH", "http://files.example/files/a")
    assert asked.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"user:pass").decode()
    assert len(there.asked) == 1


async def test_through_a_tunnel(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy sees of https only where it goes."""

    async def tunnel(caller: Caller) -> None:
        asked = await caller.head()
        host, port = asked.target.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await caller.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(_pipe(caller.reader, writer))
            group.create_task(_pipe(reader, caller.writer))

    async with peer(tunnel) as proxy, peer(answering(NO_CONTENT), tls=certificate.server) as there:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with Wire(there.url, Options(ssl=certificate.client, token="t")) as wire:
            answer = await wire.ask("PATCH", there.url, patch_head(), of_bytes(b"hello" * 10**5))
        assert answer.status == 204
    assert [asked.method for asked in proxy.asked] == ["CONNECT"]
    assert "Authorization" not in proxy.asked[0].headers
    assert there.asked[0].headers["Authorization"] == "Bearer t"


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    ("status", "failure"),
    [("407 Proxy Authentication Required", Denied), ("403 Forbidden", Denied), ("502 Bad Gateway", TryAgain)],
)
async def test_a_proxy_that_refuses(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, status: str, failure: type[Exception]
) -> None:
    """It is not taken for the server."""
    async with peer(answering(ok(status=status))) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with Wire("https://files.example/", Options(ssl=certificate.client)) as wire:
            with pytest.raises(failure, match=f"^the proxy answered {status}$"):
                await wire.ask("HEAD", "https://files.example/", HEAD)


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert await failing("http://files.example/") == "the proxy cannot be reached: connection refused"
