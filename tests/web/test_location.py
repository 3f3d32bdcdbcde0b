"""Under which URL an upload is announced: directly, behind proxies, under a public name (protocol 3.1 and 10)."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.conftest import StartServer
from tests.support.client import Client, T
from tests.support.servers import Target, running, serve
from tests.support.wire import Wire

CREATE = {**T, "Upload-Length": "300"}


@pytest.fixture(scope="module")
async def proxied(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that believes its proxies, to which this machine belongs."""
    async with serve(mode, tmp_path_factory.mktemp("proxied") / "data", behind_proxy=True) as target:
        yield target


async def base_of_location(target: Target, headers: Mapping[str, str], version: str = "1.1") -> str:
    """Create an upload with exactly these headers, Host included; return its Location without the id."""
    async with await Wire.open(target.url) as wire:
        lines = [f"POST {urlsplit(target.url).path} HTTP/{version}"]
        lines += [f"{name}: {value}" for name, value in {**CREATE, **headers}.items()]
        wire.send("\r\n".join([*lines, "", ""]).encode())
        answer = await wire.answer()
    assert answer.status == 201, answer
    assert len(answer.headers.getall("Location")) == 1
    base, _, upload_id = answer.headers["Location"].rpartition("/")
    assert len(upload_id) >= 22
    return base + "/"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("tus.io", "http://tus.io/files/"),
        ("tus.io:8080", "http://tus.io:8080/files/"),
        ("tus.io:80", "http://tus.io/files/"),
        ("tus.io:443", "http://tus.io:443/files/"),
        ("[2001:db8::1]:8443", "http://[2001:db8::1]:8443/files/"),
        ("under_score.example", "http://under_score.example/files/"),
    ],
)
async def test_own_host(server: Target, host: str, expected: str) -> None:
    """Location is an absolute URL with the host that the client asked. (CRE-POST-02)"""
    assert await base_of_location(server, {"Host": host}) == expected


@pytest.mark.parametrize(
    "host",
    [
        "evil.com/x",
        "a b",
        'a"b',
        "user@tus.io",
        "tus.io:port",
        "a?b",
        "a#b",
        "",
        "a,b",
        "tus.io:65536",
        "[25a]:80",
        "[:.:1]",
    ],
)
async def test_malformed_host(server: Target, host: str) -> None:
    """What is no host does not get into a URL: the path alone is right in every case. (CRE-POST-02, row 46)"""
    assert await base_of_location(server, {"Host": host}) == "/files/"


async def test_location_works(client: Client) -> None:
    """The announced URL is that of the upload. (CRE-POST-02)"""
    url = await client.create(300)
    assert url.startswith(client.base)
    assert (await client.head(url)).headers["Upload-Length"] == "300"


async def test_no_host(server: Target) -> None:
    """An HTTP/1.0 client without Host gets a path, never a made-up host. (CRE-POST-04)"""
    assert await base_of_location(server, {}, "1.0") == "/files/"


async def test_base_with_and_without_slash(client: Client) -> None:
    """Both spellings of the base create an upload; neither redirects, and both announce one URL. (CRE-POST-05)"""
    for base in (client.base, client.base.rstrip("/")):
        answer = await client.send("POST", base, CREATE)
        assert answer.status == 201
        assert answer.headers["Location"].startswith(client.base)
        assert (await client.head(answer.headers["Location"])).status == 200


async def test_relative_location(start_server: StartServer) -> None:
    """The switch for relative URLs makes Location a path. (CRE-POST-03)"""
    target = await start_server(relative_location=True)
    assert await base_of_location(target, {"Host": "tus.io"}) == "/files/"


@pytest.mark.parametrize(
    "forwarded",
    [
        {"X-Forwarded-Host": "foo.com", "X-Forwarded-Proto": "https"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"X-Forwarded-Prefix": "/evil"},
        {"Forwarded": "for=10.0.0.1;host=upload.example.tld;proto=https"},
        {"Via": "1.1 proxy"},
        {"X-Forwarded-Proto": "aaa"},
    ],
    ids="+".join,
)
async def test_forwarded_headers_are_not_believed(server: Target, forwarded: Mapping[str, str]) -> None:
    """Whoever sends forwarded headers uninvited gets a path: right for everybody, and never what was sent.

    (FWD-01, CRE-POST-02, reliability 5.2 row 46)
    """
    assert await base_of_location(server, {"Host": "tus.io", **forwarded}) == "/files/"


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        pytest.param({"X-Forwarded-Host": "foo.com", "X-Forwarded-Proto": "https"}, "https://foo.com", id="FWD-02"),
        pytest.param({"X-Forwarded-Proto": "https"}, "https://tus.io", id="FWD-02 proto only"),
        pytest.param({"X-Forwarded-Host": "foo.com"}, "http://foo.com", id="FWD-02 host only"),
        pytest.param(
            {"Forwarded": "for=192.168.10.112;host=upload.example.tld;proto=https;by=203.0.113.43",
             "X-Forwarded-Host": "foo.com", "X-Forwarded-Proto": "http"},
            "https://upload.example.tld", id="FWD-03",
        ),
        pytest.param({"Forwarded": 'host="upload.example.tld:8443";proto=https'}, "https://upload.example.tld:8443",
                     id="FWD-04"),
        pytest.param({"X-Forwarded-Proto": "aaa", "X-Forwarded-Host": "foo.com"}, "http://foo.com", id="FWD-05"),
        pytest.param({"Forwarded": "proto=bbb;host=foo.com"}, "http://foo.com", id="FWD-05 Forwarded"),
        pytest.param({"Forwarded": "host=upload.example.tld:443;proto=https"}, "https://upload.example.tld",
                     id="FWD-06 https"),
        pytest.param({"Forwarded": "host=upload.example.tld:80;proto=http"}, "http://upload.example.tld",
                     id="FWD-06 http"),
        pytest.param({"X-Forwarded-Host": "foo.com:443", "X-Forwarded-Proto": "https"}, "https://foo.com",
                     id="FWD-06 X"),
        pytest.param({"X-Forwarded-Host": "foo.com:80", "X-Forwarded-Proto": "https"}, "https://foo.com:80",
                     id="FWD-06 other"),
        pytest.param({"X-Forwarded-Proto": "https,http", "X-Forwarded-Host": "a.example, b.example"},
                     "https://a.example", id="FWD-07 X"),
        pytest.param({"Forwarded": "host=a.example;proto=https, host=b.example;proto=http"}, "https://a.example",
                     id="FWD-07 Forwarded"),
        pytest.param({"Forwarded": "Host=a.example;PROTO=HTTPS"}, "https://a.example", id="FWD-08"),
        pytest.param({"X-Forwarded-Proto": "HTTPS"}, "https://tus.io", id="FWD-08 X"),
        pytest.param({"Forwarded": 'host="[2001:db8::1]:8443";proto=https'}, "https://[2001:db8::1]:8443",
                     id="FWD-10"),
        pytest.param({"Via": "1.1 proxy", "X-Forwarded-For": "10.0.0.1"}, "http://tus.io", id="neither host nor proto"),
    ],
)  # fmt: skip
async def test_trusted_proxy(proxied: Target, forwarded: Mapping[str, str], expected: str) -> None:
    """A trusted proxy says what the client sees, in whichever header it speaks.

    (FWD-02, FWD-03, FWD-04, FWD-05, FWD-06, FWD-07, FWD-08, FWD-10)
    """
    assert await base_of_location(proxied, {"Host": "tus.io", **forwarded}) == expected + "/files/"


@pytest.mark.parametrize(
    "host",
    ["evil.com/x", "a b", 'a"b', "user@evil.com", "evil.com\\x", "evil.com#", "evil.com?", "ev\u0131l.com", "a:b:c",
     "evil.com:999999", "[::1", "<script>", "a;b", "%0d%0aX-Evil:1", "x" * 254],
    ids=lambda host: host[:12],
)  # fmt: skip
@pytest.mark.parametrize("name", ["X-Forwarded-Host", "Forwarded"])
async def test_malformed_forwarded_host(proxied: Target, name: str, host: str) -> None:
    """What is no host is not believed, whoever says so: the request's own host is used instead. (FWD-09)"""
    value = host
    if name == "Forwarded":
        escaped = host.replace("\\", "\\\\").replace('"', '\\"')
        value = f'host="{escaped}"'
    assert await base_of_location(proxied, {"Host": "tus.io", name: value}) == "http://tus.io/files/"


@pytest.mark.parametrize(
    "value", ["", ";;;", "host", "host=", '="x"', 'host="unclosed', "proto=https host=evil.com", "=" * 100, ","]
)
async def test_malformed_forwarded(proxied: Target, value: str) -> None:
    """A `Forwarded` header that cannot be read says nothing about the host. (FWD-09)"""
    base = await base_of_location(proxied, {"Host": "tus.io", "Forwarded": value})
    assert base in ("http://tus.io/files/", "https://tus.io/files/")


async def test_untrusted_peer(start_server: StartServer) -> None:
    """Behind proxies, only those in the trusted networks are believed. (FWD-01, reliability 5.2 row 46)"""
    target = await start_server(behind_proxy=True, trusted_proxy=["10.0.0.0/8", "192.168.1.1"])
    forwarded = {"Host": "tus.io", "X-Forwarded-Host": "foo.com", "X-Forwarded-Proto": "https"}
    assert await base_of_location(target, forwarded) == "/files/"
    assert await base_of_location(target, {"Host": "tus.io"}) == "http://tus.io/files/"


async def test_public_url(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A public URL stands in every Location, whatever host or proxy a request names; parts are found under it.

    (FWD-11, reliability 5.2 row 46)
    """
    target = await start_server(public_url="https://buy.art/up/")
    client = client_of(target)
    for headers in ({"Host": "evil.com"}, {"X-Forwarded-Host": "foo.com"}, {"Forwarded": "host=foo.com;proto=http"}):
        assert await base_of_location(target, {"Host": "tus.io", **headers}) == "https://buy.art/up/"
    assert await base_of_location(target, {}, "1.0") == "https://buy.art/up/"
    part = (await client.post({"Upload-Concat": "partial", "Upload-Length": "0"})).headers["Location"]
    assert part.startswith("https://buy.art/up/")
    assert (await client.post({"Upload-Concat": f"final;{part} {urlsplit(part).path}"})).status == 201


async def test_absolute_base_path(start_server: StartServer, tmp_path: Path) -> None:
    """A base path that is a URL is path and public URL in one. (FWD-11)"""
    target = await start_server(base_path="https://buy.art/files/")
    assert await base_of_location(target, {"Host": "tus.io"}) == "https://buy.art/files/"


async def test_forwarded_prefix(proxied: Target, client_of: Callable[[Target], Client]) -> None:
    """The path that a proxy cut off comes back in Location, and parts under such URLs are found. (FWD-12)"""
    client = client_of(proxied)
    prefix = {"X-Forwarded-Prefix": "/api/v1/", "X-Forwarded-Host": "foo.com"}
    assert await base_of_location(proxied, {"Host": "tus.io", **prefix}) == "http://foo.com/api/v1/files/"
    part = {"Upload-Concat": "partial", "Upload-Length": "0", **prefix}
    first, second = [(await client.post(part)).headers["Location"] for _ in range(2)]
    final = await client.post({"Upload-Concat": f"final;{first} {urlsplit(second).path}", **prefix})
    assert final.status == 201


@pytest.mark.parametrize(
    "prefix", ["//evil.com", "/a b", "/../x", "/a/..", "/./a", "api", "/a?b", "https://evil.com", "/a/<b>", "/"]
)
async def test_malformed_prefix(proxied: Target, prefix: str) -> None:
    """What is no plain path is not put in front of ours. (FWD-09, FWD-12)"""
    base = await base_of_location(proxied, {"Host": "tus.io", "X-Forwarded-Prefix": prefix})
    assert base == "http://tus.io/files/"


@pytest.mark.parametrize("path", ["/api/v1/files/", "/users/ann%20b/files/"], ids=["sub-application", "variable"])
async def test_mounted_under_a_prefix(session: aiohttp.ClientSession, tmp_path: Path, path: str) -> None:
    """In a sub-application, and under a path with variables, Location is where the upload really is. (FWD-12)"""
    inner, app = web.Application(), web.Application()
    tusd_py.setup(inner, "/files", data_dir=tmp_path / "inner")
    app.add_subapp("/api/v1", inner)
    tusd_py.setup(app, "/users/{user}/files", data_dir=tmp_path / "outer")
    async with running(app) as url:
        client = Client(session, url + path)
        part = await client.create(2, Upload_Concat="partial")
        assert part.startswith(url + path)
        assert (await client.patch(part, 0, b"ab")).status == 204
        final = await client.post({"Upload-Concat": f"final;{part} {urlsplit(part).path}"})
        assert (await client.get(final.headers["Location"])).body == b"abab"


async def test_one_service_in_an_application_and_its_part(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """One service may be mounted in an application and in a sub-application of it: same uploads, two URLs. (FWD-12)"""
    inner, app = web.Application(), web.Application()
    tus = tusd_py.setup(inner, "/files", data_dir=tmp_path / "data")
    app.add_subapp("/api/v1", inner)
    tusd_py.setup(app, "/files", tus=tus)
    async with running(app) as url:
        made = await Client(session, f"{url}/api/v1/files/").upload(b"hello")
        assert (await Client(session, f"{url}/files/").get(made.replace("/api/v1", ""))).body == b"hello"


async def test_direct_tls(tmp_path: Path) -> None:
    """Whoever comes by TLS gets an https URL. (FWD-13)"""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        capture_output=True, check=False,
    ) if _has_openssl() else None  # fmt: skip
    if made is None or made.returncode:
        pytest.skip("NOT RUN: needs openssl")
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate, key)
    app = web.Application()
    tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_side).start()
        base = f"https://127.0.0.1:{runner.addresses[0][1]}/files/"
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(certificate)))
        async with aiohttp.ClientSession(connector=connector) as session:
            client = Client(session, base)
            url = await client.upload(b"hello")
            assert url.startswith(base)
            assert (await client.get(url)).body == b"hello"
    finally:
        await runner.cleanup()


def _has_openssl() -> bool:
    return subprocess.run(["/usr/bin/env", "openssl", "version"], capture_output=True, check=False).returncode == 0
