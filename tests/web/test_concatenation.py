"""Concatenation: a final upload is its parts, one after the other (protocol section 7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from tests.support.client import CT, Answer, Client, T
from tests.support.servers import Target
from tests.support.timed import Recording, name_of, recording
from tests.support.waiting import until
from tests.support.wire import Wire


@pytest.fixture(scope="module")
async def hooked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recording]:
    """An embedded server that tells which uploads finished."""
    async with recording(tmp_path_factory.mktemp("concat") / "data") as record:
        yield record


async def part(client: Client, data: bytes, **headers: str) -> str:
    """Upload a partial upload and return its URL."""
    return await client.upload(data, Upload_Concat="partial", **headers)


async def join(client: Client, *urls: str, **headers: str) -> Answer:
    """Ask for a final upload of these parts."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post({"Upload-Concat": "final;" + " ".join(urls), **extra})


async def assert_is(client: Client, answer: Answer, content: bytes) -> None:
    """The answer made a finished upload with exactly this content."""
    assert (answer.status, answer.body) == (201, b"")
    assert "Upload-Offset" not in answer.headers
    url = answer.headers["Location"]
    head = await client.head(url)
    assert (head.status, head.offset, head.headers["Upload-Length"]) == (200, len(content), str(len(content)))
    assert (await client.get(url)).body == content


async def test_partial(client: Client) -> None:
    """A partial upload is made like any other and says what it is (CAT-01)."""
    answer = await client.post({"Upload-Concat": "partial", "Upload-Length": "5"})
    assert answer.status == 201
    head = await client.head(answer.headers["Location"])
    assert (head.headers["Upload-Concat"], head.offset, head.headers["Upload-Length"]) == ("partial", 0, "5")


@pytest.mark.parametrize(("order", "content"), [((0, 1), b"hello world"), ((1, 0), b" worldhello")])
async def test_final_is_its_parts_in_order(
    client: Client, server: Target, order: tuple[int, int], content: bytes
) -> None:
    """The final upload is complete at once, holds the parts in the order given, and names them (CAT-02, -03)."""
    parts = [await part(client, b"hello"), await part(client, b" world")]
    urls = [parts[index] for index in order]
    answer = await join(client, *urls)
    await assert_is(client, answer, content)
    head = await client.head(answer.headers["Location"])
    assert head.headers["Upload-Concat"] == "final;" + " ".join(urls)
    assert "Upload-Expires" not in head.headers
    assert server.data_path(answer.headers["Location"]).read_bytes() == content
    # The parts are kept as they are.
    assert [(await client.get(url)).body for url in parts] == [b"hello", b" world"]


PATHS: dict[str, Callable[[str, str], str]] = {
    "path": lambda url, name: urlsplit(url).path,
    "relative": lambda url, name: name,
    "mixed": lambda url, name: url if int(name, 16) % 2 else urlsplit(url).path,
    "other-host": lambda url, name: f"https://upload.example/files/{name}",
    "other-port": lambda url, name: f"http://127.0.0.1:1/files/{name}",
    "user-info": lambda url, name: f"http://me@127.0.0.1/files/{name}",
    "no-scheme": lambda url, name: f"//upload.example/files/{name}",
    "public-prefix": lambda url, name: f"/api/v1/files/{name}",
    "public-prefix-host": lambda url, name: f"https://upload.example/api/files/{name}",
    "base-twice": lambda url, name: f"/files/files/{name}",
    "trailing-slash": lambda url, name: url + "/",
    "path-trailing-slash": lambda url, name: f"/files/{name}/",
    "query": lambda url, name: f"{url}?token=abc",
}


@pytest.mark.parametrize("form", PATHS.values(), ids=PATHS.keys())
async def test_forms_of_references(client: Client, form: Callable[[str, str], str]) -> None:
    """However a proxy or a client names a part, the path below the base decides (CAT-04, -05)."""
    urls = [await part(client, b"abc"), await part(client, b"def")]
    value = "final;" + " ".join(form(url, name_of(url)) for url in urls)
    answer = await client.post({"Upload-Concat": value})
    await assert_is(client, answer, b"abcdef")
    assert (await client.head(answer.headers["Location"])).headers["Upload-Concat"] == value


@pytest.mark.parametrize("template", ["final; {} {}", "final;{}  {}", "final;   {}    {}"])
async def test_superfluous_spaces(client: Client, template: str) -> None:
    """Spaces behind the semicolon and double ones are harmless (CAT-06)."""
    value = template.format(await part(client, b"abc"), await part(client, b"def"))
    answer = await client.post({"Upload-Concat": value})
    await assert_is(client, answer, b"abcdef")
    assert (await client.head(answer.headers["Location"])).headers["Upload-Concat"] == value


async def test_same_part_twice(client: Client) -> None:
    """A part may come twice in one list; nothing waits for itself (CAT-07)."""
    first, second = await part(client, b"abc"), await part(client, b"def")
    answer = await asyncio.wait_for(join(client, first, second, first, first), 5)
    await assert_is(client, answer, b"abcdefabcabc")


async def test_same_parts_in_many_finals_at_once(client: Client) -> None:
    """Parts are shared by finals that are made at the same moment, in whatever order (CAT-07)."""
    first, second = await part(client, b"abc"), await part(client, b"def")
    orders = [(first, second), (second, first)] * 5
    answers = await asyncio.wait_for(asyncio.gather(*(join(client, *urls) for urls in orders)), 10)
    for urls, answer in zip(orders, answers, strict=True):
        await assert_is(client, answer, b"abcdef" if urls[0] == first else b"defabc")


async def test_metadata_is_not_inherited(client: Client) -> None:
    """A final upload has its own metadata only (CAT-14)."""
    urls = [await part(client, b"abc", Upload_Metadata="filename YQ=="), await part(client, b"def")]
    bare = await join(client, *urls)
    assert "Upload-Metadata" not in (await client.head(bare.headers["Location"])).headers
    named = await join(client, *urls, Upload_Metadata="filename Yg==,own")
    assert (await client.head(named.headers["Location"])).headers["Upload-Metadata"] == "filename Yg==,own"
    assert (await client.head(urls[0])).headers["Upload-Metadata"] == "filename YQ=="


@pytest.mark.parametrize("offset", [0, 3, 6, 9])
async def test_patch_of_a_final_is_forbidden(client: Client, offset: int) -> None:
    """A final upload cannot be changed, whatever the offset; its parts neither (CAT-15, row 40)."""
    urls = [await part(client, b"abc"), await part(client, b"def")]
    final = (await join(client, *urls)).headers["Location"]
    for data, headers in [(b"x", {}), (b"", {}), (b"", {"Upload-Length": "9"})]:
        answer = await client.patch(final, offset, data, headers)
        assert (answer.status, answer.code) == (403, "ERR_MODIFY_FINAL")
    assert (await client.get(final)).body == b"abcdef"
    assert await client.offset(final) == 6
    assert [(await client.get(url)).body for url in urls] == [b"abc", b"def"]


@pytest.mark.parametrize("contents", [[b""], [b"", b""], [b"abc"], [b"", b"abc", b""]])
async def test_empty_parts_and_a_single_one(client: Client, contents: list[bytes]) -> None:
    """Nothing is too little to be concatenated; the result is complete (CAT-16)."""
    urls = [await part(client, content) for content in contents]
    await assert_is(client, await join(client, *urls), b"".join(contents))


async def test_two_hundred_parts(client: Client) -> None:
    """A list of 18 KB is taken, and echoed as it came (CAT-17)."""
    urls = [f"https://upload.example/{'x' * 27}/files/{name_of(await part(client, b'%d' % n))}" for n in range(10)]
    value = "final;" + " ".join(urls * 20)
    assert len(value) > 18_000
    answer = await client.post({"Upload-Concat": value})
    assert answer.status == 201
    url = answer.headers["Location"]
    assert (await client.get(url)).body == b"0123456789" * 20
    # Our client takes no header of this size.
    async with await Wire.open(url) as wire:
        wire.start("HEAD", url, T)
        head = await wire.answer(head=True)
    assert (head.headers["Upload-Concat"], head.headers["Upload-Offset"]) == (value, "200")


async def test_partial_with_deferred_length(client: Client) -> None:
    """A partial upload may learn its length later and can be used then (CAT-22)."""
    url = await client.create(None, Upload_Concat="partial")
    head = await client.head(url)
    assert (head.headers["Upload-Concat"], head.headers["Upload-Defer-Length"]) == ("partial", "1")
    assert (await client.patch(url, 0, b"abc")).offset == 3
    assert (await client.patch(url, 3, b"", {"Upload-Length": "3"})).status == 204
    await assert_is(client, await join(client, url), b"abc")


async def test_partial_with_its_first_bytes(client: Client) -> None:
    """A partial upload may be created and filled in one request (CAT-01, CWU-08)."""
    answer = await client.post({"Upload-Concat": "partial", "Upload-Length": "3", **CT}, b"abc")
    assert (answer.status, answer.offset) == (201, 3)
    await assert_is(client, await join(client, answer.headers["Location"]), b"abc")


async def test_a_delete_under_way(client: Client) -> None:
    """A final asked for while a part is being removed is whole or refused, never short (CONC-11)."""
    for _ in range(5):
        urls = [await part(client, b"abc"), await part(client, b"def")]
        answer, deleted = await asyncio.gather(join(client, *urls), client.delete(urls[1]))
        if answer.status == 201:
            await assert_is(client, answer, b"abcdef")
        else:
            assert answer.status in (404, 423)
        assert deleted.status in (204, 423)


async def test_application_sees_the_final_only(hooked: Recording, client_of: Callable[[Target], Client]) -> None:
    """on_finish runs once, for the final upload, and never for a part (CAT-24)."""
    client = client_of(hooked.target)
    urls = [await part(client, b"abc", Upload_Metadata="filename YQ=="), await part(client, b"def")]
    empty = await client.create(0, Upload_Concat="partial")
    answer = await join(client, *urls, empty, Upload_Metadata="filename Yi50eHQ=")
    await until(hooked.quiet)
    final = answer.headers["Location"]
    assert [upload.id for upload in hooked.seen] == [name_of(final)]
    told = hooked.seen[0]
    assert (told.length, told.metadata) == (6, {"filename": "b.txt"})
    assert told.path is not None
    assert told.path.read_bytes() == b"abcdef"
