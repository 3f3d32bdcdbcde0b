"""What is remembered of uploads that were begun: by all processes, whatever happens to them and to the file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tusd_py.client.errors import SourceBusy, StoreUnusable
from tusd_py.client.source import Fingerprint
from tusd_py.client.urlstore import Stored, UrlStore, default_path

ENDPOINT = "https://example.org/files/"
STORED = Stored(
    path="/home/ada/film.mp4",
    endpoint=ENDPOINT,
    fingerprint=Fingerprint(size=7, mtime_ns=1_700_000_000_123_456_789, inode=42, digest="ab" * 32),
    key="0" * 32,
    urls=("https://example.org/files/a", None),
    created_at=50.0,
    updated_at=0.0,
)


@pytest.fixture
def store(tmp_path: Path) -> UrlStore:
    """A store that is not there yet, at the hour 100."""
    return UrlStore(tmp_path / "state" / "tusd-py" / "resumable.sqlite3", now=lambda: 100.0)


async def test_remembered(store: UrlStore) -> None:
    """What was remembered is found, in every detail, also by another store of the same file."""
    await store.remember(STORED)
    expected = replace(STORED, updated_at=100.0)
    assert expected == await store.find(STORED.path, ENDPOINT)
    assert expected == await UrlStore(store.path, now=store._now).find(STORED.path, ENDPOINT)
    assert await store.find(STORED.path, "https://example.org/other/") is None
    assert await store.find("/home/ada/film", ENDPOINT) is None


async def test_replaced(store: UrlStore) -> None:
    """An upload takes the place of an earlier one of the same file to the same server."""
    other = replace(STORED, endpoint="https://example.net/files/", created_at=40.0)
    for stored in (STORED, other, replace(STORED, urls=("x", "y"), key="1" * 32)):
        await store.remember(stored)
    found = await store.list()
    assert [("0" * 32, other.endpoint), ("1" * 32, ENDPOINT)] == [(each.key, each.endpoint) for each in found]


async def test_forgotten(store: UrlStore) -> None:
    """An upload is taken out for one server, or for all of them."""
    for n in range(3):
        await store.remember(replace(STORED, endpoint=f"https://example.org/{n}/"))
    await store.remember(replace(STORED, path="/other"))
    assert 1 == await store.forget(STORED.path, endpoint="https://example.org/1/")
    assert await store.find(STORED.path, "https://example.org/1/") is None
    assert 0 == await store.forget(STORED.path, endpoint="https://example.org/1/")
    assert 2 == await store.forget(STORED.path)
    assert ["/other"] == [each.path for each in await store.list()]


async def test_any_name_and_number(store: UrlStore) -> None:
    """Names that are no text, and numbers beyond SQLite's, come back as they were."""
    odd = replace(
        STORED,
        path=os.fsdecode(b"/tmp/\xff'; drop table resumable; --\n"),
        fingerprint=replace(STORED.fingerprint, size=2**63 - 1, inode=2**64 - 1, mtime_ns=-1),
    )
    await store.remember(odd)
    assert [replace(odd, updated_at=100.0)] == await store.list()


async def test_looking_makes_nothing(store: UrlStore) -> None:
    """Nobody who only looks leaves files behind."""
    assert await store.find(STORED.path, ENDPOINT) is None
    assert await store.list() == []
    assert not store.path.parent.parent.exists()


async def test_private(store: UrlStore) -> None:
    """Nobody else can read it, whatever the umask: URLs of uploads are keys to them."""
    mask = os.umask(0)
    try:
        async with store.claim(STORED.path, ENDPOINT):
            await store.remember(STORED)
    finally:
        os.umask(mask)
    assert 0o700 == stat.S_IMODE(store.path.parent.stat().st_mode)
    names = {place.name: stat.S_IMODE(place.stat().st_mode) for place in store.path.parent.iterdir()}
    assert {"resumable.sqlite3": 0o600, "resumable.lock": 0o600} == names


@pytest.mark.parametrize(
    ("state", "base"), [("/state", "/state"), ("", "/home/ada/.local/state"), ("here", "/home/ada/.local/state")]
)
def test_place(monkeypatch: pytest.MonkeyPatch, state: str, base: str) -> None:
    """It is where the user's programs keep their state; a relative `XDG_STATE_HOME` does not count."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_STATE_HOME", state)
    assert Path(base, "tusd-py/resumable.sqlite3") == default_path() == UrlStore().path


async def test_old_ones(store: UrlStore) -> None:
    """What nobody went on with for a month is not found any more, and leaves the file with the next change."""
    await store.remember(STORED)
    month = UrlStore(store.path, now=lambda: 100.0 + 30 * 86400)
    assert len(await month.list()) == 1
    later = UrlStore(store.path, now=lambda: 101.0 + 30 * 86400)
    assert await later.find(STORED.path, ENDPOINT) is None
    assert await later.list() == []
    await later.remember(replace(STORED, path="/other"))
    assert ["/other"] == [each.path for each in await store.list()]


async def test_kept_as_long_as_wanted(store: UrlStore) -> None:
    """How long is the caller's choice."""
    await store.remember(STORED)
    assert await UrlStore(store.path, keep_for=9.0, now=lambda: 110.0).list() == []
    assert len(await UrlStore(store.path, keep_for=10.0, now=lambda: 110.0).list()) == 1


async def test_claimed_once(store: UrlStore) -> None:
    """One task at a time uploads a file to a server; other files and other servers are nobody's business."""
    async with store.claim(STORED.path, ENDPOINT):
        with pytest.raises(SourceBusy, match=r"another process is uploading /home/ada/film.mp4 to https://example"):
            async with store.claim(STORED.path, ENDPOINT):
                pass
        async with store.claim(STORED.path, "https://example.net/"), store.claim("/other", ENDPOINT):
            pass
    with pytest.raises(ZeroDivisionError):
        async with store.claim(STORED.path, ENDPOINT):
            raise ZeroDivisionError
    async with store.claim(STORED.path, ENDPOINT):
        pass


async def test_claim_given_up(store: UrlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that was cancelled while it was made is let go of as soon as it is there."""
    goes_on, through = threading.Event(), threading.Event()
    take = store._lock

    def slowly(place: int) -> int | None:
        goes_on.wait(10)
        fd = take(place)
        through.set()
        return fd

    monkeypatch.setattr(store, "_lock", slowly)
    before = len(os.listdir("/proc/self/fd"))
    claiming = asyncio.ensure_future(store.claim(STORED.path, ENDPOINT).__aenter__())
    await asyncio.sleep(0)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    goes_on.set()
    assert await asyncio.to_thread(through.wait, 10)
    monkeypatch.undo()
    async with asyncio.timeout(10):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0)
    async with store.claim(STORED.path, ENDPOINT):
        pass


_CHILD = """
import asyncio, sys
from pathlib import Path
from tusd_py.client.urlstore import Stored, UrlStore, Fingerprint
from tusd_py.client.errors import SourceBusy, StoreUnusable

store, name = UrlStore(Path(sys.argv[1])), sys.argv[2]
fingerprint = Fingerprint(size=1, mtime_ns=1, inode=1, digest="")

def stored(path):
    return Stored(path=path, endpoint="e", fingerprint=fingerprint, key=name, urls=(), created_at=0.0, updated_at=0.0)

"""
_HOLDS = """
async def main():
    async with store.claim("/film", "e"):
        await store.remember(stored("/film"))
        print("claimed", flush=True)
        await asyncio.Event().wait()
"""
_WRITES = """
async def main():
    n = 0
    while True:
        n += 1
        await store.remember(stored(f"/{name}/{n}"))
        print(n, flush=True)
"""
_COUNTS = """
async def main():
    counter, counted = store.path.with_name("counter"), 0
    while counted < 20:
        await store.remember(stored(f"/{name}/{counted}"))
        try:
            async with store.claim("/film", "e"):
                before = int(counter.read_text())
                await store.find("/film", "e")
                counter.write_text(str(before + 1))
                counted += 1
        except SourceBusy:
            await asyncio.sleep(0.001)
"""


@contextlib.asynccontextmanager
async def child(store: UrlStore, body: str, name: str = "child") -> AsyncIterator[asyncio.subprocess.Process]:
    script = f"{_CHILD}{body}\nasyncio.run(main())"
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", script, str(store.path), name, stdout=subprocess.PIPE
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


async def test_killed_claimer(store: UrlStore) -> None:
    """What a process has claimed is its own until it dies, by whatever death; what it remembered stays."""
    store = UrlStore(store.path)
    async with child(store, _HOLDS) as holder:
        assert await line(holder) == "claimed"
        with pytest.raises(SourceBusy):
            async with store.claim("/film", "e"):
                pass
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        async with store.claim("/film", "e"):
            found = await store.find("/film", "e")
    assert found is not None
    assert found.key == "child"


async def test_many_processes(store: UrlStore) -> None:
    """Several processes claim and write at once: never two at a time hold a claim, and no row is lost."""
    store.path.parent.mkdir(parents=True)
    counter = store.path.with_name("counter")
    counter.write_text("0")
    async with contextlib.AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child(store, _COUNTS, name)) for name in "abcd"]
        async with asyncio.timeout(60):
            assert [0] * 4 == [await each.wait() for each in children]
    assert counter.read_text() == "80"
    found = {each.path for each in await UrlStore(store.path).list()}
    assert found == {f"/{name}/{n}" for name in "abcd" for n in range(20)}


async def test_killed_writers(store: UrlStore) -> None:
    """Processes that are killed while they write leave a sound file, with every row that they were done with."""
    done: dict[str, int] = {}
    for round_ in range(6):
        name = f"child-{round_}"
        async with child(store, _WRITES, name) as writer:
            for _ in range(1 + round_ * 3):
                done[name] = int(await line(writer))
            writer.send_signal(signal.SIGKILL)
            await writer.wait()
    found = {each.path for each in await UrlStore(store.path).list()}
    assert {f"/{name}/{n}" for name, count in done.items() for n in range(1, count + 1)} <= found
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]


async def assert_unusable(store: UrlStore, words: str) -> None:
    """Whatever is asked is answered in one line; claims need nothing but their own file."""
    asked = (
        lambda: store.find(STORED.path, ENDPOINT),
        store.list,
        lambda: store.remember(STORED),
        lambda: store.forget("/x"),
    )
    for ask in asked:
        with pytest.raises(StoreUnusable, match=words) as caught:
            await ask()
        assert "\n" not in caught.value.sentence
        assert str(store.path) in caught.value.sentence
    async with store.claim(STORED.path, ENDPOINT):
        pass


@pytest.mark.parametrize("damage", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_damaged(store: UrlStore, damage: bytes) -> None:
    """A file that is none of SQLite's is left as it is."""
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(damage)
    await assert_unusable(store, "cannot be used: ")
    assert store.path.read_bytes() == damage


async def test_overwritten_pages(store: UrlStore) -> None:
    """A file whose inside is overwritten is told as such, or read: it is never believed half."""
    for n in range(40):
        await store.remember(replace(STORED, path=f"/{n}"))
    size = store.path.stat().st_size
    assert size > 2 * 4096
    with store.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    with pytest.raises(StoreUnusable):
        await store.list()


async def test_damaged_row(store: UrlStore) -> None:
    """A row that makes no sense is told as damage."""
    await store.remember(STORED)
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute('update resumable set fingerprint = \'{"size": "no"}\'')
        db.commit()
    with pytest.raises(StoreUnusable, match="is damaged, remove it: "):
        await store.find(STORED.path, ENDPOINT)


async def test_newer_schema(store: UrlStore) -> None:
    """What a newer version wrote is not touched."""
    await store.remember(STORED)
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute("pragma user_version = 2")
    before = store.path.read_bytes()
    await assert_unusable(store, "was written by a newer version of tusd-py")
    assert store.path.read_bytes() == before


async def test_of_another_program(store: UrlStore) -> None:
    """Somebody else's database is not touched."""
    store.path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        db.execute("create table resumable (x)")
    before = store.path.read_bytes()
    await assert_unusable(store, "belongs to another program")
    assert store.path.read_bytes() == before


async def test_empty_file(store: UrlStore) -> None:
    """A file that was made by a process that died at once is one in which nothing is."""
    store.path.parent.mkdir(parents=True)
    store.path.touch()
    assert await store.list() == []
    await store.remember(STORED)
    assert len(await store.list()) == 1


async def test_file_in_the_way(tmp_path: Path) -> None:
    """Where no directory can be made there is no store, and no claim."""
    (tmp_path / "state").touch()
    store = UrlStore(tmp_path / "state" / "tusd-py" / "resumable.sqlite3")
    for refused in (store.remember(STORED), store.claim("/x", "e").__aenter__()):
        with pytest.raises(StoreUnusable, match="cannot be used: "):
            await refused
