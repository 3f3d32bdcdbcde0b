"""X-HTTP-Method-Override: the method that counts."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target
from tests.support.state import check_refusal, nothing_created, unchanged
from tests.support.wire import Wire

OVERRIDE = "X-HTTP-Method-Override"
PATCH = {**T, **CT, OVERRIDE: "PATCH", "Upload-Offset": "0"}


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_post_as_patch(client: Client, framing: str) -> None:
    """POST of an upload's URL with the override PATCH is a PATCH. (CORE-OVR-01)"""
    url = await client.create(5)
    answer = await client.send("POST", url, PATCH, b"hello" if framing == "length" else chunked(b"hel", b"lo"))
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"
    assert (await client.get(url)).body == b"hello"


async def test_post_as_delete(client: Client) -> None:
    """POST of an upload's URL with the override DELETE removes it. (CORE-OVR-02)"""
    url = await client.create(5)
    assert (await client.send("POST", url, {**T, OVERRIDE: "DELETE"})).status == 204
    assert (await client.head(url)).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_actual_method_is_ignored_for_patch(client: Client, method: str) -> None:
    """Whatever the actual method, the override PATCH is a PATCH. (CORE-OVR-03)"""
    url = await client.create(5)
    answer = await client.send(method, url, PATCH, b"hello")
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"
    assert await client.offset(url) == 5


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_actual_method_is_ignored_for_head(client: Client, server: Target, method: str) -> None:
    """Whatever the actual method, even DELETE, the override HEAD only looks. (CORE-OVR-03)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        answer = await client.send(method, url, {**T, **CT, OVERRIDE: "HEAD", "Upload-Offset": "0"}, b"")
    assert answer.status == 200
    assert answer.headers["Upload-Offset"] == "0"
    assert answer.headers["Upload-Length"] == "5"


async def test_put_as_post(client: Client) -> None:
    """An override makes a creation out of a PUT. (CORE-OVR-03)"""
    answer = await client.send("PUT", None, {**T, OVERRIDE: "POST", "Upload-Length": "5"})
    assert answer.status == 201
    assert await client.offset(answer.headers["Location"]) == 0


async def test_post_as_head_has_no_body(client: Client) -> None:
    """POST with the override HEAD has HEAD's headers and an empty body, framed as such. (CORE-OVR-04)"""
    url = await client.create(5)
    await client.patch(url, 0, b"he")
    unknown = client.base + "unknown"
    async with await Wire.open(url) as wire:
        for path, status in ((url, 200), (unknown, 404), (url, 200)):
            wire.start("POST", path, {**T, OVERRIDE: "HEAD", "Content-Length": "0"})
            answer = await wire.answer()
            assert answer.status == status
            assert answer.body == b""
            assert answer.headers["Content-Length"] == "0"
        assert answer.headers["Upload-Offset"] == "2"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", ["patch", "Patch", "pAtCh"])
async def test_override_in_any_case(client: Client, name: str) -> None:
    """The case of an override does not matter. (CORE-OVR-05)"""
    url = await client.create(5)
    answer = await client.send("POST", url, {**PATCH, OVERRIDE: name}, b"hello")
    assert answer.status == 204
    assert await client.offset(url) == 5


@pytest.mark.parametrize("name", ["FOO", "PUT", "put", "CONNECT", "TRACE", "PATCH, DELETE", "PATCH DELETE", "\u0130"])
async def test_override_that_is_no_method_here(client: Client, server: Target, name: str) -> None:
    """An override that names no method of the URL is 405 and does nothing. (CORE-OVR-05, row 35)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        answer = await client.send("POST", url, {**PATCH, OVERRIDE: name}, b"hello")
    check_refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
    with nothing_created(server):
        answer = await client.post({"Upload-Length": "5", OVERRIDE: name})
    check_refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")


async def test_empty_override(client: Client) -> None:
    """An empty override is none. (CORE-OVR-05)"""
    answer = await client.post({"Upload-Length": "5", OVERRIDE: ""})
    assert answer.status == 201
    url = answer.headers["Location"]
    assert (await client.patch(url, 0, b"hello", {OVERRIDE: ""})).status == 204


@pytest.mark.parametrize("pair", [("PATCH", "DELETE"), ("DELETE", "PATCH"), ("HEAD", "FOO")])
async def test_two_overrides(client: Client, server: Target, pair: tuple[str, str]) -> None:
    """Two overrides that differ are 400 and neither is done. (row 35)"""
    url = await client.create(5)
    headers = CIMultiDict([*T.items(), *CT.items(), ("Upload-Offset", "0"), *((OVERRIDE, name) for name in pair)])
    async with unchanged(client, server, url):
        answer = await client.send("POST", url, headers, b"hello")
    assert answer.status == 400
    assert answer.headers["Tus-Resumable"] == "1.0.0"


async def test_override_of_options_is_ignored(client: Client, server: Target) -> None:
    """A preflight is a preflight, whatever override it has. (CORE-OPT-01, CORE-OVR-03)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        answer = await client.send("OPTIONS", url, {**T, OVERRIDE: "DELETE"})
    assert answer.status == 200
    assert answer.headers["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "HEAD"])
async def test_version_is_checked_for_the_override(client: Client, server: Target, method: str) -> None:
    """An overridden method needs Tus-Resumable as the real one does. (CORE-OVR-06)"""
    url = await client.create(5)
    headers = {**CT, "Upload-Offset": "0", OVERRIDE: method}
    async with unchanged(client, server, url):
        answer = await client.send("POST", url, headers, b"hello")
    assert answer.status == 412
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert (answer.body == b"") == (method == "HEAD")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Type": "text/plain"}, 415), ({"Upload-Offset": "3"}, 409), ({"Upload-Offset": "x"}, 400)],
    ids=["media type", "offset", "syntax"],
)
async def test_rules_of_the_override_hold(client: Client, server: Target, headers: dict[str, str], status: int) -> None:
    """A PATCH by override is checked as a PATCH. (CORE-OVR-06)"""
    url = await client.create(5)
    async with unchanged(client, server, url):
        assert (await client.send("POST", url, {**PATCH, **headers}, b"hello")).status == status


async def test_override_and_origin(start_server, client_of) -> None:
    """A foreign origin cannot do by override what it cannot do itself. (CORE-OVR-06, row 35)"""
    client = client_of(await start_server(cors_allow_origin=["https://good.example"]))
    url = await client.create(5)
    headers = {**T, OVERRIDE: "DELETE", "Origin": "https://evil.example"}
    check_refusal(await client.send("POST", url, headers), 403, "ERR_ORIGIN_NOT_ALLOWED")
    assert await client.offset(url) == 0
    answer = await client.send("POST", url, {**headers, "Origin": "https://good.example"})
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://good.example"


async def test_override_switched_off(start_server, client_of) -> None:
    """With the switch off the actual method counts. (row 35)"""
    client = client_of(await start_server(disable_method_override=True))
    url = await client.create(5)
    check_refusal(await client.send("POST", url, PATCH, b"hello"), 405, "ERR_METHOD_NOT_ALLOWED")
    check_refusal(await client.send("POST", url, {**T, OVERRIDE: "DELETE"}), 405, "ERR_METHOD_NOT_ALLOWED")
    assert await client.offset(url) == 0
    assert (await client.patch(url, 0, b"hello", {OVERRIDE: "DELETE"})).status == 204
