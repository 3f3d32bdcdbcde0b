"""Bodies on the network: that the bytes are right, and what happens when the other side does not take them."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.client.wiring import (
    KIB,
    MIB,
    NO_CONTENT,
    TOO_LARGE_CLOSING,
    TOO_LARGE_KEEPING,
    Behaviour,
    Caller,
    Certificate,
    hashing,
    make_certificate,
    make_file,
    of_bytes,
    of_file,
    patch_head,
    peer,
)
from tusd_py.client.body import Body
from tusd_py.client.errors import SourceChanged, SourceUnusable
from tusd_py.client.records import Options
from tusd_py.client.source import FileSource
from tusd_py.client.trouble import Unreachable
from tusd_py.client.wire import Wire
from tusd_py.protocol.tus1_client import Answer

SIZE = 40 * MIB + 12345
WAYS = ("plain", "plain-uvloop", "tls", "tls-uvloop")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("large") / "large.bin", SIZE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
async def source(large: Path) -> AsyncIterator[FileSource]:
    source = await FileSource.open(large)
    yield source
    await source.close()


async def run(way: str, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine here, or on uvloop in a thread."""
    return await (asyncio.to_thread(uvloop.run, main()) if way.endswith("uvloop") else main())


def tls_of(way: str, certificate: Certificate) -> tuple[ssl.SSLContext | None, Options]:
    """Return what the server and the client are told."""
    if way.startswith("tls"):
        return certificate.server, Options(ssl=certificate.client, network_timeout=20)
    return None, Options(network_timeout=20)


def sha256(path: Path, start: int, end: int) -> bytes:
    return hashlib.sha256(path.read_bytes()[start:end]).hexdigest().encode()


@pytest.mark.parametrize("way", WAYS)
async def test_the_bytes_are_right(way: str, large: Path, certificate: Certificate) -> None:
    """Whichever way they go, what arrives is what is in the file, and one connection is enough."""
    ranges = [(0, SIZE), (1, SIZE - 1), (SIZE - 1, SIZE), (4095, 4097), (3 * MIB + 7, 11 * MIB + 5), (7, 7)]
    tls, options = tls_of(way, certificate)

    async def main() -> list[bytes]:
        source = await FileSource.open(large)
        async with Wire(there.url, options) as wire:
            answers = []
            for start, end in ranges:
                body = of_file(source, start, end)
                answers.append((await wire.ask("PATCH", there.url, patch_head(), body)).body)
                assert body.is_complete
                assert body.meter.handed == end - start
        await source.close()
        return answers

    async with peer(hashing, tls=tls) as there:
        assert await run(way, main) == [sha256(large, start, end) for start, end in ranges]
        assert len(there.callers) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_bytes_from_memory(way: str, certificate: Certificate) -> None:
    """Of several views, one after the other, empty ones among them."""
    data = os.urandom(5 * MIB + 3)
    tls, options = tls_of(way, certificate)

    async def main() -> bytes:
        view = memoryview(data)
        body = of_bytes(view[:7], b"", view[7 : 3 * MIB], view[3 * MIB :])
        async with Wire(there.url, options) as wire:
            return (await wire.ask("PATCH", there.url, patch_head(), body)).body

    async with peer(hashing, tls=tls) as there:
        assert await run(way, main) == hashlib.sha256(data).hexdigest().encode()
        assert there.asked[0].length == len(data)


async def test_several_at_once(source: FileSource, large: Path) -> None:
    """Bodies of one file do not get in each other's way."""
    ranges = [(start * MIB + start, (start + 5) * MIB) for start in range(0, 40, 5)]
    async with peer(hashing) as there, Wire(there.url, Options()) as wire, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(wire.ask("PATCH", there.url, patch_head(), of_file(source, *each))) for each in ranges
        ]
    assert [task.result().body for task in tasks] == [sha256(large, *each) for each in ranges]


async def test_where_the_kernel_cannot_copy(source: FileSource, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system from which nothing can be sent is read instead, from where it stopped."""
    calls, sendfile = 0, os.sendfile

    def refuse_after_three(out: int, file: int, offset: int, count: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return sendfile(out, file, offset, count)

    monkeypatch.setattr(os, "sendfile", refuse_after_three)
    async with peer(hashing) as there, Wire(there.url, Options()) as wire:
        answer = await wire.ask("PATCH", there.url, patch_head(), of_file(source))
    assert calls == 4
    assert answer.body == sha256(large, 0, SIZE)


async def test_a_disk_that_fails(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no matter of the network, and is told as what it is."""

    def fail(*_: object) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "sendfile", fail)
    monkeypatch.setattr(os, "pread", fail)
    async with peer(hashing) as there, Wire(there.url, Options()) as wire:
        with pytest.raises(SourceUnusable, match=r"large\.bin cannot be read: Input/output error"):
            await wire.ask("PATCH", there.url, patch_head(), of_file(source))


def refusing(answer: bytes, *, after: int = MIB, closes: bool = True) -> Behaviour:
    """Answer while the body is still coming, and read no more of it."""

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.body(after)
        await caller.say(answer)
        if not closes:
            caller.writer.transport.pause_reading()
            await asyncio.Event().wait()

    return behave


# Not with TLS on uvloop, which may write, fail and throw away what has come before it reads.
@pytest.mark.parametrize("times", range(5))
@pytest.mark.parametrize("way", WAYS[:3])
async def test_refused_and_closed(way: str, times: int, large: Path, certificate: Certificate) -> None:
    """The answer of a server that closes the connection before the body is out is read, not lost."""
    del times  # it is a matter of who comes first
    tls, options = tls_of(way, certificate)

    async def main() -> tuple[Answer, Body]:
        source = await FileSource.open(large)
        async with Wire(there.url, options) as wire:
            body = of_file(source)
            answer = await wire.ask("PATCH", there.url, patch_head(), body)
        await source.close()
        return answer, body

    async with peer(refusing(TOO_LARGE_CLOSING), tls=tls) as there:
        answer, body = await run(way, main)
    assert (answer.status, answer.body) == (413, b"too large")
    assert not body.is_complete


@pytest.mark.parametrize("way", ["plain", "tls"])
async def test_refused_and_closed_unseen(
    way: str, large: Path, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing fails before anybody has looked, the answer is in the socket still, and is read from there.

    The connection is not used again, whatever the answer says of that.
    """
    tls, options = tls_of(way, certificate)
    looks, sent, gone = 0, asyncio.Event(), threading.Event()

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.body(1)
        await sent.wait()
        await caller.say(TOO_LARGE_KEEPING)
        # With a reset: there is more than was read.
        caller.writer.transport.abort()
        loop.call_later(0.05, gone.set)

    def look_late(_: FileSource) -> None:
        """Hold the client's event loop, after the first piece, until the connection has ended."""
        nonlocal looks
        looks += 1
        if looks == 2:
            loop.call_soon_threadsafe(sent.set)
            gone.wait(10)

    async def main() -> tuple[int, object]:
        source = await FileSource.open(large)
        async with Wire(there.url, options) as wire:
            answer = await wire.ask("PATCH", there.url, patch_head(), of_file(source))
            kept = dict(wire._session.connector._conns)
        await source.close()
        return answer.status, kept

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(FileSource, "check", look_late)
    async with peer(behave, tls=tls) as there:
        assert await asyncio.to_thread(asyncio.run, main()) == (413, {})
    assert looks == 2


async def test_a_head_that_does_not_fit(source: FileSource, large: Path) -> None:
    """The body comes behind all of the head, however slowly that goes out."""
    got, whole = bytearray(), SIZE

    async def behave(caller: Caller) -> None:
        nonlocal whole
        while len(got) < whole:
            got.extend(await caller.reader.read(MIB))
            if whole == SIZE and (end := got.find(b"\r\n\r\n")) >= 0:
                whole = end + 4 + MIB
        await caller.say(NO_CONTENT)

    async with peer(behave) as there, Wire(there.url, Options()) as wire:
        await wire.ask("PATCH", there.url, patch_head() | {"X": "x" * (8 * MIB)}, of_file(source, 0, MIB))
    assert got.endswith(b"\r\n\r\n" + large.read_bytes()[:MIB])


@pytest.mark.parametrize("answer", [TOO_LARGE_KEEPING, NO_CONTENT, TOO_LARGE_CLOSING])
@pytest.mark.parametrize("way", WAYS)
async def test_answered_before_the_body_is_out(way: str, answer: bytes, large: Path, certificate: Certificate) -> None:
    """A server that answers early and reads no more is not waited for, and its connection is not used again."""
    tls, options = tls_of(way, certificate)

    async def main() -> list[int]:
        source = await FileSource.open(large)
        async with Wire(there.url, options) as wire:
            answers = [await wire.ask("PATCH", there.url, patch_head(), of_file(source)) for _ in range(2)]
        await source.close()
        return [each.status for each in answers]

    async with peer(refusing(answer, closes=False), tls=tls) as there:
        status = int(answer.split(b" ")[1])
        assert await run(way, main) == [status, status]
        assert len(there.callers) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_that_goes_on_behind_the_end_of_the_body(
    way: str, large: Path, certificate: Certificate
) -> None:
    """The rest of an answer is read after the body was given up, from a connection that is not used again."""
    head, tail = TOO_LARGE_KEEPING[:-5], TOO_LARGE_KEEPING[-5:]
    more = asyncio.Event()
    tls, options = tls_of(way, certificate)

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.body(MIB)
        await caller.say(head)
        caller.writer.transport.pause_reading()
        await more.wait()
        await caller.say(tail)

    async def main() -> bytes:
        source = await FileSource.open(large)
        async with Wire(there.url, options) as wire:
            loop.call_soon_threadsafe(loop.call_later, 0.1, more.set)
            answer = await wire.ask("PATCH", there.url, patch_head(), of_file(source))
        await source.close()
        return answer.body

    loop = asyncio.get_running_loop()
    async with peer(behave, tls=tls) as there:
        assert await run(way, main) == b"too large"


@pytest.mark.parametrize("way", WAYS)
async def test_reset(way: str, large: Path, certificate: Certificate) -> None:
    """A connection that breaks without an answer is something to try again."""
    tls, options = tls_of(way, certificate)

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.body(MIB)
        caller.reset()

    async def main() -> str:
        source = await FileSource.open(large)
        async with Wire(there.url, options) as wire:
            with pytest.raises(Unreachable) as caught:
                await wire.ask("PATCH", there.url, patch_head(), of_file(source))
        await source.close()
        return caught.value.reason

    async with peer(behave, tls=tls) as there:
        reason = await run(way, main)
    assert reason in ("connection reset by peer", "the server closed the connection", "broken pipe")


async def changing(place: Path, how: Callable[[Path], None], tls: ssl.SSLContext | None, options: Options) -> str:
    """Change a file when 1 MiB of it has arrived; return what is said, after looking that not all bytes were sent."""
    path = make_file(place / "file.bin", 32 * MIB)
    source = await FileSource.open(path)
    arrived, changed, count = asyncio.Event(), asyncio.Event(), 0

    async def behave(caller: Caller) -> None:
        nonlocal count
        await caller.head()
        count = len(await caller.body(MIB))
        arrived.set()
        await changed.wait()
        while piece := await caller.reader.read(MIB):
            count += len(piece)

    async with peer(behave, tls=tls) as there, Wire(there.url, options) as wire:
        task = asyncio.create_task(wire.ask("PATCH", there.url, patch_head(), of_file(source)))
        await arrived.wait()
        how(path)
        changed.set()
        with pytest.raises(SourceChanged) as caught:
            await task
        await source.close()
    assert count < 32 * MIB
    return caught.value.sentence


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _touch(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path)


def _replace(path: Path) -> None:
    make_file(path.with_suffix(".new"), 32 * MIB).rename(path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (_grow, "grew from 33554432 to 33554436 bytes"),
        (lambda path: os.truncate(path, 5 * MIB), "shrank from 33554432 to 5242880 bytes"),
        (_touch, "was changed"),
        (_replace, "was replaced by another file"),
    ],
)
@pytest.mark.parametrize("way", ["plain", "tls"])
async def test_a_file_that_changes(
    way: str, tmp_path: Path, certificate: Certificate, how: Callable[[Path], None], said: str
) -> None:
    """The connection is cut before the last byte: no server takes two halves of different files for one."""
    told = await changing(tmp_path, how, *tls_of(way, certificate))
    assert told == f"{tmp_path / 'file.bin'} {said} while it was read"


async def test_cancelled(source: FileSource) -> None:
    """Nothing goes on behind the back of who has cancelled it."""
    ended = asyncio.Event()

    async def behave(caller: Caller) -> None:
        await caller.head()
        await caller.body(MIB)
        task.cancel()
        await caller.ended()
        ended.set()

    async with peer(behave) as there, Wire(there.url, Options()) as wire:
        body = of_file(source)
        task = asyncio.create_task(wire.ask("PATCH", there.url, patch_head(), body))
        with pytest.raises(asyncio.CancelledError):
            await task
        handed = body.meter.handed
        await asyncio.wait_for(ended.wait(), 10)
        assert body.meter.handed == handed < SIZE


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_never_reads(way: str, large: Path, certificate: Certificate) -> None:
    """A connection on which nothing is acknowledged any more is dead."""
    tls, options = tls_of(way, certificate)

    async def behave(caller: Caller) -> None:
        await caller.head()
        caller.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async def main() -> tuple[str, int]:
        source = await FileSource.open(large)
        async with Wire(there.url, Options(ssl=options.ssl, network_timeout=0.5)) as wire:
            body = of_file(source)
            with pytest.raises(Unreachable) as caught:
                await wire.ask("PATCH", there.url, patch_head(), body)
        await source.close()
        return caught.value.reason, body.meter.handed

    async with peer(behave, tls=tls) as there:
        reason, handed = await run(way, main)
    assert reason == "no answer for 0.5 s"
    assert handed < SIZE


async def test_a_server_that_reads_slowly(source: FileSource) -> None:
    """As long as bytes are acknowledged the connection lives, however long it takes, and be all of them handed over."""
    end = 3 * MIB
    waits = 0

    async def behave(caller: Caller) -> None:
        nonlocal waits
        asked = await caller.head()
        for left in range(asked.length, 0, -64 * KIB):
            await caller.body(min(64 * KIB, left))
            # Slowness is what this is about.
            await asyncio.sleep(0.05)
            waits += 1
        await caller.say(NO_CONTENT)

    async with peer(behave) as there, Wire(there.url, Options(network_timeout=1.0)) as wire:
        answer = await wire.ask("PATCH", there.url, patch_head(), of_file(source, 0, end))
    assert answer.status == 204
    # More than the timeout allows for all of it.
    assert waits * 0.05 > 2.0


async def test_waiting_for_the_limit_of_the_rate(source: FileSource) -> None:
    """A body that has to wait for its turn is not taken for a dead connection."""
    async with peer(hashing) as there, Wire(there.url, Options(network_timeout=0.4)) as wire:
        answer = await wire.ask("PATCH", there.url, patch_head(), of_file(source, 0, 3 * 4096, rate=4096))
    assert answer.status == 200


@pytest.mark.parametrize("take", [of_file, None])
async def test_what_was_acknowledged(source: FileSource, take: Callable[..., Awaitable[Body]] | None) -> None:
    """Bytes that the server's system has not confirmed do not count, and the number never goes back."""
    seen: list[int] = []

    async def behave(caller: Caller) -> None:
        await caller.head()
        caller.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with peer(behave) as there, Wire(there.url, Options(network_timeout=0.5)) as wire:
        body = of_file(source) if take else of_bytes(bytes(SIZE))
        task = asyncio.create_task(wire.ask("PATCH", there.url, patch_head(), body))
        while not task.done():
            seen.append(body.meter.acknowledged)
            await asyncio.wait([task], timeout=0.02)
        assert isinstance(task.exception(), Unreachable)
    assert 0 < seen[-1] < body.meter.handed < SIZE
    assert seen == sorted(seen)
    assert body.meter.acknowledged >= seen[-1]


async def test_a_body_is_no_text(source: FileSource) -> None:
    """Whoever takes it for one is told."""
    with pytest.raises(TypeError):
        of_file(source).decode()
