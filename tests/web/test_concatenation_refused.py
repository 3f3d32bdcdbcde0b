"""Concatenation: what must not become a final upload, and leaves nothing behind (protocol section 7)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

import tusd_py
from tests.conftest import StartServer
from tests.support.client import CT, Client, T
from tests.support.servers import Target, running
from tests.support.timed import name_of
from tests.support.wire import Wire

PART = {"Upload_Concat": "partial"}


def files(server: Target) -> dict[Path, bytes]:
    """Return all stored data of the server."""
    return {path: path.read_bytes() for path in (server.data_dir / "uploads").glob("*/*") if path.is_file()}


async def refuse(client: Client, server: Target, value: str, **headers: str) -> tuple[int, str]:
    """Ask for a final upload that must be refused; assert that nothing changed; return status and code."""
    before = files(server)
    extra = {name.replace("_", "-"): text for name, text in headers.items()}
    answer = await client.post({"Upload-Concat": value, **extra})
    assert "Location" not in answer.headers
    assert files(server) == before
    return answer.status, answer.code


@pytest.mark.parametrize("length", [5, None], ids=["unfinished", "deferred"])
@pytest.mark.parametrize("sent", [b"", b"abc"], ids=["empty", "half"])
async def test_unfinished_part(client: Client, server: Target, length: int | None, sent: bytes) -> None:
    """A part that lacks bytes, or whose length is not known, cannot be used yet (CAT-08, DEF-14, row 38)."""
    done = await client.upload(b"abc", **PART)
    url = await client.create(length, **PART)
    await client.patch(url, 0, sent)
    assert await refuse(client, server, f"final;{done} {url}") == (400, "ERR_UPLOAD_NOT_FINISHED")
    assert await client.offset(url) == len(sent)


async def test_unknown_part(client: Client, server: Target) -> None:
    """A part that never was is not found (CAT-09, row 38)."""
    done = await client.upload(b"abc", **PART)
    refusal = await refuse(client, server, f"final;{done} {client.base}{'0' * 32}")
    assert refusal == (404, "ERR_UPLOAD_NOT_FOUND")


async def test_terminated_part(client: Client, server: Target) -> None:
    """A part that was removed is not found (CAT-09, row 38)."""
    done, gone = await client.upload(b"abc", **PART), await client.upload(b"def", **PART)
    await client.delete(gone)
    assert await refuse(client, server, f"final;{done} {gone}") == (404, "ERR_UPLOAD_NOT_FOUND")


async def test_upload_that_is_no_part(client: Client, server: Target) -> None:
    """Only partial uploads can be concatenated, not a whole one (CAT-10, row 38)."""
    done, single = await client.upload(b"abc", **PART), await client.upload(b"def")
    assert await refuse(client, server, f"final;{done} {single}") == (400, "ERR_INVALID_CONCAT")
    assert await refuse(client, server, f"final;{await client.create(3)}") == (400, "ERR_INVALID_CONCAT")


async def test_final_in_a_final(client: Client, server: Target) -> None:
    """A final upload cannot be part of another (CAT-10, row 38)."""
    done = await client.upload(b"abc", **PART)
    final = (await client.post({"Upload-Concat": f"final;{done}"})).headers["Location"]
    assert await refuse(client, server, f"final;{done} {final}") == (400, "ERR_INVALID_CONCAT")
    assert (await client.get(final)).body == b"abc"


@pytest.mark.parametrize(
    "value", ["final", "final;", "final; ", "final;   ", "foo", "PARTIAL", "Final;a", "partial;x", "partial a", ";"]
)
async def test_malformed_header(client: Client, server: Target, value: str) -> None:
    """What is neither `partial` nor `final;` with a part is 400, with and without a length (CAT-11)."""
    assert await refuse(client, server, value) == (400, "ERR_INVALID_CONCAT")
    assert await refuse(client, server, value, Upload_Length="5") == (400, "ERR_INVALID_CONCAT")


async def test_empty_header_is_absent(client: Client) -> None:
    """An empty header makes a normal upload (CAT-11)."""
    url = await client.upload(b"hello", Upload_Concat="")
    assert "Upload-Concat" not in (await client.head(url)).headers
    assert (await client.get(url)).body == b"hello"


@pytest.mark.parametrize("header", [{"Upload_Length": "6"}, {"Upload_Length": "7"}, {"Upload_Defer_Length": "1"}])
async def test_length_of_a_final(client: Client, server: Target, header: dict[str, str]) -> None:
    """The length of a final upload is not the client's to say, not even rightly (CAT-12, row 40)."""
    done = await client.upload(b"abc", **PART)
    assert await refuse(client, server, f"final;{done} {done}", **header) == (400, "ERR_INVALID_CONCAT")


async def test_too_large_together(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """The sum of the parts is bound by the largest size; at the limit it is fine (CAT-13, row 39)."""
    target = await start_server(max_size="100")
    client = client_of(target)
    parts = [await client.upload(bytes(50), **PART), await client.upload(bytes(51), **PART)]
    assert await refuse(client, target, "final;" + " ".join(parts)) == (413, "ERR_MAX_SIZE_EXCEEDED")
    assert (await client.post({"Upload-Concat": f"final;{parts[0]} {parts[0]}"})).status == 201


async def test_too_many_parts(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """More parts than allowed are refused before anything is looked up or copied (row 39)."""
    target = await start_server(max_parts=3)
    client = client_of(target)
    url = await client.upload(b"abc", **PART)
    assert await refuse(client, target, "final;" + " ".join([url] * 4)) == (400, "ERR_INVALID_CONCAT")
    assert (await client.post({"Upload-Concat": "final;" + " ".join([url] * 3)})).status == 201


async def test_a_thousand_and_one_parts(client: Client, server: Target) -> None:
    """By default a thousand parts are the most (row 39)."""
    name = name_of(await client.upload(b"abc", **PART))
    assert await refuse(client, server, "final;" + " ".join([name] * 1001)) == (400, "ERR_INVALID_CONCAT")


async def test_ten_thousand_parts(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A header beyond all measure is refused, nothing is copied, and nobody finds a traceback in the log (row 39)."""
    target = await start_server()
    name = name_of(await client_of(target).upload(b"abc", **PART))
    before = files(target)
    async with await Wire.open(target.url) as wire:
        value = "final;" + " ".join([name] * 10_000)
        wire.start("POST", target.url, {**T, "Upload-Concat": value, "Content-Length": "0"})
        answer = await wire.answer()
    assert answer.status in (400, 413, 431)
    assert files(target) == before


TRAVERSALS = {
    "dots": "/files/../../etc/passwd",
    "dots-url": "{base}../../etc/passwd",
    "encoded-dots": "/files/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "nul": "/files/{name}%00",
    "raw-nul-suffix": "/files/{name}%00.txt",
    "other-mount": "/other/{name}",
    "outside": "/{name}",
    "file-url": "file:///etc/passwd",
    "backslash": "/files/..\\..\\etc\\passwd",
    "deeper": "/files/{name}/more",
    "sidecar": "/files/{name}.info",
    "dot": "/files/.",
    "base-itself": "/files/",
    "two-levels": "/files/{shard}/{name}",
    "encoded-id": "/files/%{first}{rest}",
    "semicolon": "{base}{name};{base}{name}",
    "comma": "{base}{name},{base}{name}",
    "tab": "{base}{name}\t{base}{name}",
}


@pytest.mark.parametrize("reference", TRAVERSALS.values(), ids=TRAVERSALS.keys())
async def test_references_that_lead_elsewhere(client: Client, server: Target, reference: str) -> None:
    """What is not the URL of an upload of this mount is refused, nothing is read, nothing made (CAT-18, row 38)."""
    name = name_of(await client.upload(b"abc", **PART))
    value = reference.format(base=client.base, name=name, shard=name[:2], first=f"{ord(name[0]):02x}", rest=name[1:])
    status, _ = await refuse(client, server, f"final;{value}")
    assert status in (400, 404)


async def test_part_of_another_mount(session: ClientSession, tmp_path: Path) -> None:
    """A part that another mount with another store owns is not found here (CAT-18, row 38)."""
    app = web.Application()
    tusd_py.setup(app, "/files", data_dir=tmp_path / "one")
    tusd_py.setup(app, "/other", data_dir=tmp_path / "two")
    async with running(app) as url:
        ours, theirs = Client(session, f"{url}/files/"), Client(session, f"{url}/other/")
        foreign = await theirs.upload(b"secret", **PART)
        named = await ours.post({"Upload-Concat": f"final;{foreign}"})
        guessed = await ours.post({"Upload-Concat": f"final;{ours.base}{name_of(foreign)}"})
        assert (named.status, guessed.status) == (400, 404)
        assert not list((tmp_path / "one" / "uploads").glob("*/*"))


@pytest.mark.parametrize("settings", [{"disable_concatenation": True}, {"disable_extension": ["concatenation"]}])
async def test_extension_off(
    start_server: StartServer, client_of: Callable[[Target], Client], settings: dict[str, object]
) -> None:
    """Without the extension both roles are refused, and it is not advertised (CAT-21)."""
    target = await start_server(**settings)
    client = client_of(target)
    assert "concatenation" not in (await client.send("OPTIONS")).headers["Tus-Extension"].split(",")
    single = await client.upload(b"abc")
    refusal = (400, "ERR_CONCATENATION_UNSUPPORTED")
    assert await refuse(client, target, "partial", Upload_Length="5") == refusal
    assert await refuse(client, target, f"final;{single}") == refusal


async def test_final_with_a_body(client: Client, server: Target) -> None:
    """A final upload takes no bytes of its own (CAT-15, CWU-07)."""
    done = await client.upload(b"abc", **PART)
    before = files(server)
    answer = await client.post({"Upload-Concat": f"final;{done}", **CT}, b"more")
    assert (answer.status, answer.code) == (403, "ERR_MODIFY_FINAL")
    assert files(server) == before
