"""OPTIONS: what the server says it can do."""

from __future__ import annotations

import re

import pytest

from tests.support.client import Client
from tests.support.servers import Target

ALL = "creation,creation-with-upload,creation-defer-length,termination,concatenation,checksum,expiration"
EXTENSIONS = ALL.split(",")
NEED_CREATION = {"creation", "creation-with-upload", "creation-defer-length", "concatenation"}


async def test_options_names_the_version(client: Client) -> None:
    """OPTIONS without any header gets 200, no body, and the version spoken. (CORE-OPT-01)"""
    answer = await client.send("OPTIONS")
    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("version", ["0.0.1", "1.0.0", "99.99.99", "junk", ""])
async def test_options_ignores_the_version_asked_for(client: Client, version: str) -> None:
    """A Tus-Resumable header changes nothing of the answer to OPTIONS. (CORE-OPT-02)"""
    plain = await client.send("OPTIONS")
    answer = await client.send("OPTIONS", None, {"Tus-Resumable": version})
    assert answer.status == 200
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert _tus_headers(answer.headers) == _tus_headers(plain.headers)


async def test_options_names_every_extension(client: Client) -> None:
    """Tus-Extension is exactly what is on, with commas and without spaces. (CORE-OPT-03)"""
    answer = await client.send("OPTIONS")
    assert answer.headers.getall("Tus-Extension") == [ALL]


async def test_options_without_extensions(start_server, client_of) -> None:
    """When every extension is off there is no Tus-Extension, and none of their headers. (CORE-OPT-03)"""
    client = client_of(await start_server(disable_extension=EXTENSIONS))
    answer = await client.send("OPTIONS")
    assert answer.status == 200
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert "Tus-Extension" not in answer.headers
    assert "Tus-Checksum-Algorithm" not in answer.headers


async def test_options_names_no_limit_when_there_is_none(client: Client) -> None:
    """Without a largest size there is no Tus-Max-Size. (CORE-OPT-04)"""
    assert "Tus-Max-Size" not in (await client.send("OPTIONS")).headers


async def test_options_names_the_largest_size(start_server, client_of) -> None:
    """With a largest size, Tus-Max-Size is that number of bytes. (CORE-OPT-04)"""
    client = client_of(await start_server(max_size="1KiB"))
    assert (await client.send("OPTIONS")).headers.getall("Tus-Max-Size") == ["1024"]


async def test_options_names_checksum_algorithms(client: Client) -> None:
    """Tus-Checksum-Algorithm is a list without spaces that contains sha1. (CORE-OPT-05)"""
    value = (await client.send("OPTIONS")).headers["Tus-Checksum-Algorithm"]
    assert re.fullmatch(r"[a-z0-9-]+(,[a-z0-9-]+)*", value)
    assert "sha1" in value.split(",")


async def test_options_of_an_upload(client: Client) -> None:
    """OPTIONS of an upload's URL, with and without a slash at its end, is answered as the base. (CORE-OPT-06)"""
    url = await client.create(10)
    expected = _tus_headers((await client.send("OPTIONS")).headers)
    for target in (url, url + "/"):
        answer = await client.send("OPTIONS", target)
        assert answer.status == 200
        assert _tus_headers(answer.headers) == expected


@pytest.mark.parametrize("path", ["", "/", "/unknown", "/unknown/", "/a/b/c", "/x.info", "/%00", "/..%2fx"])
async def test_options_anywhere_below_the_base(client: Client, path: str) -> None:
    """OPTIONS is answered alike whatever the URL below the base: never 404, 405 or a redirect. (CORE-OPT-06)"""
    answer = await client.send("OPTIONS", client.base.removesuffix("/") + path)
    assert answer.status == 200
    assert answer.body == b""
    assert _tus_headers(answer.headers) == _tus_headers((await client.send("OPTIONS")).headers)


@pytest.mark.parametrize("off", EXTENSIONS)
async def test_options_does_not_name_what_is_off(start_server, client_of, off: str) -> None:
    """An extension that is switched off disappears, and with creation all that needs a POST. (CORE-OPT-07)"""
    target: Target = await start_server(disable_extension=[off])
    answer = await client_of(target).send("OPTIONS")
    gone = NEED_CREATION if off == "creation" else {off}
    named = answer.headers["Tus-Extension"].split(",")
    assert named == [name for name in EXTENSIONS if name not in gone]
    assert ("Tus-Checksum-Algorithm" in answer.headers) == (off != "checksum")


def _tus_headers(headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in ("date", "server")}
