"""Downloads: whole or not at all, resumed after whatever happens, from servers of every kind."""

from __future__ import annotations

import asyncio
import gzip
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.client.wiring import Behaviour, Caller, ok, peer
from tests.support.client import Client
from tests.support.proxy import CuttingProxy
from tests.support.servers import Target
from tusd_py.client.download import download
from tusd_py.client.errors import DestinationUnusable, GaveUp, NotATusServer, Refused
from tusd_py.client.records import Downloaded, Event, Finished, Options, Progress, Restarted, Resumed, Retrying

DATA = random.Random(7).randbytes(3_000_000)
ETAG = 'ETag: "one"'
HASTY = Options(retry_for=5.0, network_timeout=0.3)


def scripted(answers: Iterable[bytes]) -> Behaviour:
    """Answer one request on each connection, with the next of these, and close it."""
    left = list(answers)

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.say(left.pop(0))

    return behave


def part(start: int, data: bytes, *fields: str, total: int | str | None = None) -> bytes:
    """Return the answer with all bytes from `start` on of something that ends with `data`."""
    total = start + len(data) if total is None else total
    span = f"Content-Range: bytes {start}-{start + len(data) - 1}/{total}"
    return ok(data, span, *fields, status="206 Partial Content")


def ranges(asked: Iterable[Any]) -> list[tuple[str | None, str | None]]:
    return [(each.headers.get("Range"), each.headers.get("If-Range")) for each in asked]


async def fetch(answers: Iterable[bytes], place: Path | int, **how: Any) -> tuple[Downloaded, list[Any], list[Event]]:
    """Download from a server with these answers; return what was downloaded, asked and told."""
    events: list[Event] = []
    async with peer(scripted(answers)) as there:
        done = await download(there.url + "film", place, **{"options": HASTY, "on_event": events.append, **how})
        return done, there.asked, [each for each in events if not isinstance(each, Progress)]


def kinds(events: Iterable[Event]) -> list[type[Event]]:
    return [type(each) for each in events]


def parts_in(place: Path) -> list[str]:
    return [each.name for each in place.iterdir() if each.name.endswith(".part")]


async def test_whole_file(client: Client, tmp_path: Path) -> None:
    """A file arrives byte for byte, under the name it was uploaded with, and nothing else is left."""
    url = await client.upload(DATA, Upload_Metadata="filename ZmlsbS5tcDQ=")
    events: list[Event] = []
    done = await download(url, tmp_path, on_event=events.append)
    assert (tmp_path / "film.mp4").read_bytes() == DATA
    assert (str(tmp_path / "film.mp4"), len(DATA), len(DATA)) == (done.path, done.size, done.received)
    assert ["film.mp4"] == os.listdir(tmp_path)
    last = events[-1]
    assert isinstance(last, Finished)
    assert (url, len(DATA), len(DATA), False) == (last.url, last.size, last.sent, last.verified)


async def test_mode_of_the_file(client: Client, tmp_path: Path) -> None:
    """The umask decides who may read a file, as with every other program."""
    await download(await client.upload(b"hello"), tmp_path / "x")
    mask = os.umask(0)
    os.umask(mask)
    assert 0o666 & ~mask == (tmp_path / "x").stat().st_mode & 0o777


async def test_current_directory(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a destination a file goes into the current directory; without a name it has that of its URL."""
    monkeypatch.chdir(tmp_path)
    url = await client.upload(b"hello")
    done = await download(url)
    assert url.rpartition("/")[2] == done.path
    assert (tmp_path / done.path).read_bytes() == b"hello"


async def test_empty_file(client: Client, tmp_path: Path) -> None:
    """A file with nothing in it is a file."""
    done = await download(await client.upload(b""), tmp_path / "x")
    assert (0, 0, b"") == (done.size, done.received, (tmp_path / "x").read_bytes())


async def test_cut_connections(client: Client, server: Target, tmp_path: Path) -> None:
    """Connections that are cut cost the rest of the way, not the way that is behind."""
    data = DATA * 5
    url = await client.upload(data)
    events: list[Event] = []
    async with CuttingProxy.open(server.url) as proxy:
        cut_at = [100_000, 5_000_000, 10_000_000]

        def tell(event: Event) -> None:
            events.append(event)
            if isinstance(event, Progress) and cut_at and event.offset > cut_at[0]:
                cut_at.pop(0)
                proxy.cut_now()

        options = Options(limit_rate=20_000_000)
        done = await download(proxy.through(url), tmp_path / "x", options=options, on_event=tell)
    assert (tmp_path / "x").read_bytes() == data
    # What had been on its way was received in spite of the cut.
    assert 1 <= kinds(events).count(Retrying) <= 3
    assert Restarted not in kinds(events)
    assert len(data) == done.received, "no byte came twice"


_DOWNLOADS = """
import asyncio, sys
from pathlib import Path
from tusd_py.client.download import download
from tusd_py.client.records import Options, Progress

def tell(event):
    if isinstance(event, Progress) and event.offset:
        print(event.offset, flush=True)

asyncio.run(download(sys.argv[1], Path(sys.argv[2]), options=Options(limit_rate=int(sys.argv[3])), on_event=tell))
"""


async def test_killed_process(client: Client, tmp_path: Path) -> None:
    """After kill -9 the next run goes on where the last one was; before, there is no file of that name."""
    url = await client.upload(DATA)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", _DOWNLOADS, url, str(tmp_path / "x"), "2000000", stdout=subprocess.PIPE
    )
    assert killed.stdout is not None
    try:
        reached = int(await asyncio.wait_for(killed.stdout.readline(), 30))
        with pytest.raises(DestinationUnusable, match="another process is downloading"):
            await download(url, tmp_path / "x")
    finally:
        killed.send_signal(signal.SIGKILL)
        await killed.wait()
    assert not (tmp_path / "x").exists()
    assert len(parts_in(tmp_path)) == 1
    events: list[Event] = []
    done = await download(url, tmp_path / "x", on_event=events.append)
    assert (tmp_path / "x").read_bytes() == DATA
    assert done.received <= len(DATA) - reached
    resumed = events[0]
    assert isinstance(resumed, Resumed)
    assert len(DATA) - done.received == resumed.offset >= reached
    assert ["x"] == os.listdir(tmp_path)


async def test_cancelled(client: Client, tmp_path: Path) -> None:
    """What is cancelled is gone on with by the next call."""
    url = await client.upload(DATA)
    task: asyncio.Task[Any]

    def cancel(event: Event) -> None:
        if isinstance(event, Progress) and event.offset:
            task.cancel()

    task = asyncio.create_task(download(url, tmp_path / "x", options=Options(limit_rate=2_000_000), on_event=cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    done = await download(url, tmp_path / "x")
    assert done.received < len(DATA)
    assert (tmp_path / "x").read_bytes() == DATA


async def test_all_was_here(tmp_path: Path) -> None:
    """When a run was killed before the file got its name, not a byte is fetched again."""
    whole = ok(b"0123456789", ETAG)

    def dies(event: Event) -> None:
        if isinstance(event, Retrying):
            raise KeyError

    async with peer(scripted([whole[:-1], whole])) as there:
        with pytest.raises(KeyError):
            await download(there.url, tmp_path / "x", options=HASTY, on_event=dies)
        with (tmp_path / parts_in(tmp_path)[0]).open("ab") as file:
            file.write(b"9")
        done = await download(there.url, tmp_path / "x", options=HASTY)
    assert (10, 0) == (done.size, done.received)
    assert b"0123456789" == (tmp_path / "x").read_bytes()


async def test_range_and_if_range(tmp_path: Path) -> None:
    """The rest is asked for, of the same file only; only what lacks is received."""
    answers = [ok(b"0123456789", ETAG)[:-6], part(4, b"456789", ETAG)]
    done, asked, events = await fetch(answers, tmp_path / "x")
    assert [(None, None), ("bytes=4-", '"one"')] == ranges(asked)
    assert (10, 10, b"0123456789") == (done.size, done.received, (tmp_path / "x").read_bytes())
    assert [Retrying, Finished] == kinds(events)
    assert all(each.headers.getall("Accept-Encoding") == ["identity"] for each in asked)


async def test_parts_that_end_early(tmp_path: Path) -> None:
    """A server that sends fewer bytes of a range than were asked for is asked again."""
    answers = [ok(b"0123456789", ETAG)[:-6], part(4, b"45", total=10), part(6, b"6789", total="*")]
    done, asked, _ = await fetch(answers, tmp_path / "x")
    assert ["bytes=4-", "bytes=6-"] == [each for each, _ in ranges(asked)[1:]]
    assert b"0123456789" == (tmp_path / "x").read_bytes()
    assert done.received == 10


@pytest.mark.parametrize("etag", [[], ['ETag: W/"one"'], ["ETag: one"], ['ETag: ""one"']])
async def test_without_strong_etag(tmp_path: Path, etag: list[str]) -> None:
    """When nobody can tell whether it is the same file, no two answers are put together."""
    answers = [ok(b"abcdefghij", *etag)[:-5], ok(b"0123456789", *etag)]
    done, asked, events = await fetch(answers, tmp_path / "x")
    assert [(None, None)] * 2 == ranges(asked)
    assert b"0123456789" == (tmp_path / "x").read_bytes()
    assert [Retrying, Restarted, Finished] == kinds(events)
    assert (15, ["x"]) == (done.received, os.listdir(tmp_path))


async def test_another_file_in_between(tmp_path: Path) -> None:
    """A file that has changed on the server begins anew, in the same run and in the next one; nothing old is left."""
    answers = [ok(b"abcdefghij", ETAG)[:-5], ok(b"01234567", 'ETag: "two"')[:-1], part(7, b"7", 'ETag: "two"')]
    done, asked, events = await fetch(answers, tmp_path / "x")
    assert [(None, None), ("bytes=5-", '"one"'), ("bytes=7-", '"two"')] == ranges(asked)
    assert b"01234567" == (tmp_path / "x").read_bytes()
    assert [Retrying, Restarted, Retrying, Finished] == kinds(events)
    assert (8, ["x"]) == (done.size, os.listdir(tmp_path))


async def test_another_file_between_runs(tmp_path: Path) -> None:
    """What an earlier run left of a file that is no more is removed."""
    async with peer(scripted([ok(b"abcdefghij", ETAG)[:-5], ok(b"", status="403 No"), ok(b"0", 'ETag: "2"')])) as there:
        with pytest.raises(Refused):
            await download(there.url, tmp_path / "x", options=HASTY)
        assert len(parts_in(tmp_path)) == 1
        await download(there.url, tmp_path / "x", options=HASTY)
    assert b"0" == (tmp_path / "x").read_bytes()
    assert ["x"] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    "odd",
    [
        ok(b"0123456789", ETAG),
        part(0, b"0123456789", ETAG),
        part(3, b"3456789", ETAG),
        part(5, b"56789", ETAG),
        part(4, b"456789", 'ETag: "two"'),
        part(4, b"456789", ETAG, total=11),
        part(4, b"4567890123", ETAG, total=10),
        ok(b"456789", ETAG, status="206 Partial Content"),
        ok(b"456789", ETAG, "Content-Range: bytes=4-9/10", status="206 Partial Content"),
        ok(b"x", ETAG, "Content-Type: multipart/byteranges; boundary=x", status="206 Partial Content"),
        ok(b"", "Content-Range: bytes */2", status="416 Range Not Satisfiable"),
    ],
    ids=["200", "from-0", "from-3", "from-5", "etag", "total", "longer", "no-range", "bad-range", "multipart", "416"],
)
async def test_odd_answers_to_a_range(tmp_path: Path, odd: bytes) -> None:
    """Whatever is not exactly what was asked for is not put behind what is here: it begins anew."""
    answers = [ok(b"0123456789", ETAG)[:-6], odd, ok(b"0123456789", ETAG)]
    _, asked, events = await fetch(answers, tmp_path / "x")
    assert b"0123456789" == (tmp_path / "x").read_bytes()
    assert 1 == kinds(events).count(Restarted)
    assert all(given == (None, None) for given in ranges(asked)[2:])
    assert ["x"] == os.listdir(tmp_path)


async def test_never_whole(tmp_path: Path) -> None:
    """When beginning anew leads no further, it ends, and says so."""
    with pytest.raises(
        GaveUp, match="began anew 5 times and came no further; the last reason: the server does not tell"
    ):
        await fetch([ok(b"0123456789")[:-5]] * 7, tmp_path / "x")
    assert [] == os.listdir(tmp_path), "nobody could go on with it"


@pytest.mark.parametrize("kind", ["chunked", "until the end"])
async def test_length_not_told(tmp_path: Path, kind: str) -> None:
    """Where the length is not told, the end of the answer is the end of the file."""
    if kind == "chunked":
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"
    else:
        answer = b"HTTP/1.0 200 OK\r\n\r\n0123456789"
    done, _, _ = await fetch([answer], tmp_path / "x")
    assert (10, b"0123456789") == (done.size, (tmp_path / "x").read_bytes())


async def test_broken_chunks(tmp_path: Path) -> None:
    """An answer without its last chunk is not whole; how long the file is, its rest tells."""
    cut = f"HTTP/1.1 200 OK\r\n{ETAG}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n".encode()
    _, asked, _ = await fetch([cut, part(5, b"56789")], tmp_path / "x")
    assert "bytes=5-" == ranges(asked)[1][0]
    assert b"0123456789" == (tmp_path / "x").read_bytes()


async def test_packed_bytes(tmp_path: Path) -> None:
    """Bytes that a server sends packed, asked for or not, arrive as they are: resumed ones could not be unpacked."""
    packed = gzip.compress(b"hello" * 1000)
    answers = [ok(packed, ETAG, "Content-Encoding: gzip")[:-7], part(len(packed) - 7, packed[-7:], ETAG)]
    done, _, _ = await fetch(answers, tmp_path / "x")
    assert packed == (tmp_path / "x").read_bytes()
    assert len(packed) == done.size


async def test_later_answers(tmp_path: Path) -> None:
    """What passes is waited for: a server that is busy, one that resets, one that says nothing, one that mumbles."""

    async def silent(caller: Caller) -> None:
        await caller.head()
        await caller.ended()

    async def resets(caller: Caller) -> None:
        await caller.head()
        caller.reset()

    async def stalls(caller: Caller) -> None:
        await caller.head()
        await caller.say(ok(b"0123456789", ETAG)[:-5])
        await caller.ended()

    behaviours = [
        scripted([ok(b"", status="503 Busy")]),
        scripted([b"nonsense\r\n\r\n"]),
        silent,
        resets,
        resets,  # aiohttp itself tries a GET once more
        stalls,
        scripted([part(5, b"56789")]),
    ]

    async def behave(caller: Caller) -> None:
        await behaviours.pop(0)(caller)

    events: list[Event] = []
    async with peer(behave) as there:
        await download(there.url, tmp_path / "x", options=HASTY, on_event=events.append)
    assert b"0123456789" == (tmp_path / "x").read_bytes()
    failures = [(each.status, each.reason) for each in events if isinstance(each, Retrying)]
    assert [503, None, None, None, None] == [status for status, _ in failures]
    words = ["HTTP 503 Service Unavailable", "the answer is not HTTP", "no answer for 0.3 s", "reset", "no answer for"]
    assert all(word in reason for word, (_, reason) in zip(words, failures, strict=True))


async def test_given_up(tmp_path: Path) -> None:
    """A server that stays away is given up in the end."""
    async with peer(scripted([])) as there:
        url = there.url
    with pytest.raises(GaveUp, match="the last failure: "):
        await download(url, tmp_path / "x", options=Options(retry_for=0.2))
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("answer", "ending", "words"),
    [
        (ok(b"ERR_NOT_FOUND: no such upload\n", status="404 Not Found"), Refused, "no such upload"),
        (ok(b"", status="410 Gone"), Refused, "HTTP 410 Gone"),
        (ok(b"<html>", "Content-Type: text/html", status="403 Forbidden"), Refused, "HTTP 403 Forbidden"),
        (ok(b"", "Location: /login", status="302 Found"), NotATusServer, "redirects to /login"),
    ],
)
async def test_refused(tmp_path: Path, answer: bytes, ending: type[Exception], words: str) -> None:
    """What would be answered alike ends it at once, in the server's words; nothing is left."""
    with pytest.raises(ending, match=words):
        await fetch([answer], tmp_path / "x")
    assert [] == os.listdir(tmp_path)


async def test_unfinished_upload(client: Client, tmp_path: Path) -> None:
    """There is nothing to download of an upload that has not ended."""
    with pytest.raises(Refused):
        await download(await client.create(5), tmp_path / "x")
    assert [] == os.listdir(tmp_path)


async def test_credentials(tmp_path: Path) -> None:
    """Headers and the token go with every request, and are in no event."""
    events: list[Event] = []
    options = Options(headers={"X-Key": "k"}, token=lambda: "secret", retry_for=5.0)
    async with peer(scripted([ok(b"0123456789", ETAG)[:-5], part(5, b"56789")])) as there:
        url = there.url.replace("http://", "http://ada:pass@")
        await download(url, tmp_path / "x", options=options, on_event=events.append)
    assert [("k", "Bearer secret")] * 2 == [
        (each.headers["X-Key"], each.headers["Authorization"]) for each in there.asked
    ]
    assert "pass" not in repr(events)
