"""Many files that belong together: what has arrived is known until all of them have."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.client.conftest import Told
from tests.client.toy import Toy, swallows
from tests.support.servers import Target
from tusd_py.client.client import Client
from tusd_py.client.records import Event, Finished, Options, Warned
from tusd_py.client.urlstore import UrlStore

KIB, MIB = 2**10, 2**20
Make = Callable[..., Path]
QUICK = Options(retry_for=20, network_timeout=5)


async def send(url: str, paths: list[Path], store: UrlStore, *, end: bool = False) -> dict[str, tuple[str, int]]:
    """Send files in one run; return URL and bytes sent of each. `end` = all there were."""
    done = {}
    async with Client(url, options=QUICK, store=store, batch="b") as client:
        for path in paths:
            uploaded = await client.upload(path)
            done[path.name] = (uploaded.url, uploaded.sent)
        if end:
            await client.forget_arrived()
    return done


@pytest.mark.parametrize("size", [0, 1, 3 * MIB])
async def test_what_has_arrived_is_not_sent_again_until_the_end(
    server: Target, store: UrlStore, make_file: Make, size: int
) -> None:
    """The next run tells the same URL and sends nothing; after the end the file is sent anew."""
    path = make_file(size)
    first, second = [await send(server.url, [path], store) for _ in range(2)]
    assert (first[path.name][0], 0) == second[path.name]
    third = await send(server.url, [path], store, end=True)
    assert second == third
    assert [] == await store.list()
    fourth = await send(server.url, [path], store)
    assert fourth[path.name][0] != first[path.name][0]
    assert size == fourth[path.name][1]


async def test_parts_that_were_put_together_are_one(server: Target, store: UrlStore, make_file: Make) -> None:
    """Of a parallel upload the URL of the whole is kept: it is not put together twice."""
    path = make_file(3 * MIB)
    urls = set()
    for _ in range(2):
        async with Client(server.url, options=Options(parallel=3), store=store, batch="b") as client:
            urls.add((await client.upload(path)).url)
    assert 1 == len(urls)


async def test_what_is_gone_is_sent_again(server: Target, store: UrlStore, make_file: Make) -> None:
    """An upload that had arrived and was removed since is made anew."""
    path = make_file(10)
    first = await send(server.url, [path], store)
    async with Client(server.url) as client:
        await client.terminate(first[path.name][0])
    second = await send(server.url, [path], store)
    assert (True, 10) == (second[path.name][0] != first[path.name][0], second[path.name][1])


async def test_small_files_cost_one_write(server: Target, store: UrlStore, make_file: Make) -> None:
    """A disk that syncs for each of them would be slower than the network: one secret, and what has arrived at once."""
    paths = [make_file(10, name=f"f{n}") for n in range(20)]
    writes = []
    real = UrlStore._changing

    def counted(self: UrlStore) -> object:
        writes.append(1)
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UrlStore, "_changing", counted)
        patch.setattr("tusd_py.client.remembering._SOON", 3600.0)
        await send(server.url, paths, store)
    assert 2 == len(writes)
    assert 20 == len(await store.list())


async def test_creation_of_a_small_file_has_one_key_until_the_end(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """A run that was killed between request and answer is followed by one that asks with the same key, then another."""
    path = make_file(10)
    keys = []
    for ends in (False, False, True, False):
        toy.requests.clear()
        await send(toy.url, [path], store, end=ends)
        keys += [each.headers["idempotency-key"] for each in toy.requests if each.method == "POST"]
        if not ends:
            # As if it had been killed before it could note what had arrived.
            await store.forget(str(path))
    assert keys[0] == keys[1] == keys[2] != keys[3]


async def test_a_run_ends_for_one_server_and_batch(store: UrlStore) -> None:
    """The secret of a run is not that of one to another server, or of other files; it lasts until the run has ended."""
    here, there = [await store.begin_run(url, "b") for url in ("http://a/", "http://b/")]
    assert here != there
    assert here == await UrlStore(store.path).begin_run("http://a/", "b")
    await store.end_run("http://a/", "b", [])
    assert here != await store.begin_run("http://a/", "b")
    assert there == await store.begin_run("http://b/", "b")
    assert there != await store.begin_run("http://b/", "c")


async def test_secrets_grow_old(tmp_path: Path) -> None:
    """What nobody went on with for so long is forgotten."""
    now = [0.0]
    old = UrlStore(tmp_path / "s.sqlite3", keep_for=100, now=lambda: now[0])
    first = await old.begin_run("http://a/", "b")
    now[0] = 101.0
    assert first != await UrlStore(old.path, keep_for=100, now=lambda: now[0]).begin_run("http://a/", "b")
    with closing(sqlite3.connect(old.path)) as db:
        assert [(1,)] == db.execute("select count(*) from runs").fetchall()


async def test_store_that_fails_meanwhile(
    server: Target, store: UrlStore, make_file: Make, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told, and every file arrives."""
    monkeypatch.setattr("tusd_py.client.remembering._SOON", 0.0)
    noted: list[Event] = []
    async with Client(server.url, options=QUICK, store=store, batch="b", on_event=noted.append) as client:
        await client.upload(make_file(10, name="a"), on_event=told.append)
        store.path.write_bytes(b"no database at all, and long enough to be seen as none" * 100)
        await client.upload(make_file(10, name="b"), on_event=told.append)
        await client.forget_arrived()
    assert 2 == len(told.of(Finished))
    assert told.of(Warned)
    words = [event.reason for event in noted if isinstance(event, Warned)]
    assert words[0].startswith("another run may take for sent what it is to send anew: ")


async def test_answer_to_a_small_creation_that_is_lost(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """It is asked for again with the same key."""
    toy.on("POST", swallows)
    await send(toy.url, [make_file(10)], store)
    keys = [each.headers["idempotency-key"] for each in toy.requests if each.method == "POST"]
    assert (2, 1) == (len(keys), len(set(keys)))
