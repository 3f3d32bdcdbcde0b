"""Upload-Metadata: opaque, echoed as it came, never dangerous."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict

from tests.support.client import Client, T
from tests.support.servers import Target, serve
from tests.support.state import check_refusal, nothing_created
from tests.support.wire import Wire

ODD = {
    "bad base64": "k !!!",
    "bad base64 before good": "k !!YQ==,a YQ==",
    "three words": "k YQ== Yg==",
    "two spaces": "k  YQ==",
    "unpadded": "k YQ",
    "url-safe": "k -_-_",
    "not canonical": "k YR==",
    "duplicate": "k YQ==,k Yg==",
    "duplicate without value": "k,k",
}
NAMES = {
    "header injection": b'x"\r\nSet-Cookie: a=b',
    "parent": b"../../x",
    "absolute": b"/etc/passwd",
    "backslash": b"..\\..\\x",
    "right to left": "a\u202etxt.exe".encode(),
    "nul": b"a\0b",
    "10 KB": b"x" * 10_000,
    "not utf-8": b"\xff\xfe\x80",
    "quotes": b"\"; filename*=UTF-8''evil; x=\"",
    "percent": b"%00%0d%0a%s%n",
    "surrogate": b"\xed\xa0\x80",
    "umlaut": "Ärger €.txt".encode(),
    "only dots": b"..",
    "space": b" ",
}


@pytest.fixture(scope="module")
async def strict(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that refuses metadata it cannot read."""
    async with serve(mode, tmp_path_factory.mktemp(f"strict-{mode}") / "data", strict_metadata=True) as target:
        yield target


@pytest.mark.parametrize(
    "metadata",
    [
        "filename d29ybGQucGRm,is_confidential",
        "a YQ==, b Yg==",
        "a YQ==,",
        ",a YQ==",
        ",,a YQ==,,b,",
        "key ,a YQ==",
        "key,a YQ==",
        "a YQ==\t,\tb Yg==",
        "key;=!~ YQ==",
    ],
)
async def test_metadata_is_echoed(client: Client, strict: Target, client_of, metadata: str) -> None:
    """Good metadata, and spaces and empty elements in it, come back verbatim. (CRE-META-01, -03, -04)"""
    for any_client in (client, client_of(strict)):
        url = await any_client.create(5, Upload_Metadata=metadata)
        assert (await any_client.head(url)).headers.getall("Upload-Metadata") == [metadata]


async def test_empty_metadata(client: Client, strict: Target, client_of) -> None:
    """An empty Upload-Metadata is none. (CRE-META-02)"""
    for any_client in (client, client_of(strict)):
        url = await any_client.create(5, Upload_Metadata="")
        assert "Upload-Metadata" not in (await any_client.head(url)).headers


@pytest.mark.parametrize("metadata", ODD.values(), ids=ODD)
async def test_odd_metadata(client: Client, metadata: str) -> None:
    """Metadata that nobody can read is stored and echoed all the same. (CRE-META-05, CRE-META-06, row 23)"""
    url = await client.create(5, Upload_Metadata=metadata)
    assert (await client.head(url)).headers.getall("Upload-Metadata") == [metadata]


@pytest.mark.parametrize("metadata", ODD.values(), ids=ODD)
async def test_odd_metadata_where_it_is_strict(strict: Target, client_of, metadata: str) -> None:
    """Where the server is strict, such metadata is 400 and nothing is made. (CRE-META-05, CRE-META-06, row 23)"""
    with nothing_created(strict):
        answer = await client_of(strict).post({"Upload-Length": "5", "Upload-Metadata": metadata})
    check_refusal(answer, 400, "ERR_INVALID_METADATA")


@pytest.mark.parametrize(
    "value",
    [b"name \xe9", "é YQ==".encode(), b"a YQ==,b\xff", "a \uff21".encode(), b"a\tb YQ==", b"a YQ==,\xc2\xa0b"],
    ids=["latin-1", "utf-8 key", "byte", "utf-8 value", "tab in a key", "no-break space"],
)
async def test_metadata_that_is_not_ascii(server: Target, value: bytes) -> None:
    """Bytes that are not printable ASCII are refused: HEAD could not show them again. (CRE-META-07, row 23b)"""
    with nothing_created(server):
        async with await Wire.open(server.url) as wire:
            wire.send(_creation(server, value))
            check_refusal(await wire.answer(), 400, "ERR_INVALID_METADATA")


async def test_metadata_with_control_characters(start_server) -> None:
    """Control characters are refused, by us or by the parser of HTTP. (CRE-META-07, row 23b)"""
    # A server of its own: what the parser refuses must not be worth a traceback in the log either.
    target = await start_server()
    with nothing_created(target):
        for value in (b"a\x01b YQ==", b"a\x00 YQ==", b"a\x7f YQ==", b"a\r YQ=="):
            async with await Wire.open(target.url) as wire:
                wire.send(_creation(target, value))
                assert (await wire.answer()).status == 400


async def test_metadata_in_two_lines(client: Client) -> None:
    """Several Upload-Metadata lines are one list. (CRE-META-08)"""
    lines = [("Upload-Metadata", "a YQ=="), ("Upload-Metadata", ""), ("Upload-Metadata", "b Yg==")]
    answer = await client.send("POST", None, CIMultiDict([*T.items(), ("Upload-Length", "5"), *lines]))
    assert answer.status == 201
    assert (await client.head(answer.headers["Location"])).headers.getall("Upload-Metadata") == ["a YQ==,b Yg=="]


@pytest.mark.parametrize("size", [14 * 1024, 64 * 1024])
async def test_long_metadata(server: Target, size: int) -> None:
    """Metadata up to 64 KiB is taken and comes back whole. (CRE-META-10)"""
    metadata = "k " + "YWFh" * ((size - 2) // 4)
    metadata += "," * (size - len(metadata))
    # aiohttp's client takes no header of this size.
    async with await Wire.open(server.url) as wire:
        wire.start("POST", server.url, {**T, "Upload-Length": "5", "Upload-Metadata": metadata})
        answer = await wire.answer()
        assert answer.status == 201
        wire.start("HEAD", answer.headers["Location"], T)
        assert (await wire.answer(head=True)).headers["Upload-Metadata"] == metadata


async def test_too_long_metadata(client: Client, server: Target) -> None:
    """Metadata beyond 64 KiB is refused in tus's own words. (CRE-META-10, row 24)"""
    with nothing_created(server):
        answer = await client.post({"Upload-Length": "5", "Upload-Metadata": "k" + "," * (64 * 1024)})
    check_refusal(answer, 400, "ERR_INVALID_METADATA")


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        (",".join(f"k{number}" for number in range(64)), 201),
        (",".join(f"k{number}" for number in range(65)), 400),
        ("k" * 1024 + " YQ==", 201),
        ("k" * 1025 + " YQ==", 400),
        ("a YQ==," + "k" * 1025, 400),
    ],
    ids=["64 pairs", "65 pairs", "key of 1 KiB", "longer key", "longer second key"],
)
async def test_limits_of_metadata(client: Client, server: Target, metadata: str, status: int) -> None:
    """There are at most 64 pairs, with keys up to 1 KiB. (row 24)"""
    if status == 201:
        url = await client.create(5, Upload_Metadata=metadata)
        assert (await client.head(url)).headers["Upload-Metadata"] == metadata
        return
    with nothing_created(server):
        answer = await client.post({"Upload-Length": "5", "Upload-Metadata": metadata})
    check_refusal(answer, 400, "ERR_INVALID_METADATA")


async def test_metadata_of_any_bytes(client: Client) -> None:
    """A value may be any bytes, and comes back identical. (row 24, CRE-META-09)"""
    metadata = f"k {b64encode(bytes(range(256)) * 4).decode()}"
    url = await client.create(5, Upload_Metadata=metadata)
    assert (await client.head(url)).headers["Upload-Metadata"] == metadata


@pytest.mark.parametrize("key", ["filename", "name", "filetype", "k"])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
async def test_dangerous_metadata(client: Client, server: Target, name: bytes, key: str) -> None:
    """Whatever a value holds, it is data: no path, no header line, no failure. (CRE-META-09, row 25)"""
    metadata = f"{key} {b64encode(name).decode()}"
    url = await client.create(5, Upload_Metadata=metadata if len(metadata) < 8000 else metadata[:7000])
    assert (await client.patch(url, 0, b"hello")).status == 204
    if len(metadata) < 8000:
        assert (await client.head(url)).headers["Upload-Metadata"] == metadata
    assert server.data_path(url).read_bytes() == b"hello"
    answer = await client.get(url)
    assert (answer.status, answer.body) == (200, b"hello")
    assert "Set-Cookie" not in answer.headers
    assert len(answer.headers.getall("Content-Type")) == 1
    (disposition,) = answer.headers.getall("Content-Disposition")
    assert disposition.isascii()
    assert disposition.isprintable()


def _creation(target: Target, metadata: bytes) -> bytes:
    head = f"POST /files/ HTTP/1.1\r\nHost: {target.host}\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n"
    return head.encode() + b"Upload-Metadata: " + metadata + b"\r\n\r\n"
