"""Hooks and jobs that mean harm, or are told by somebody who does: rows 54, 55, 57 and 58, against running servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.faults.figures import Figures
from tests.faults.lives import Life, Lives, lives
from tests.faults.networks.procfs import resident_kib
from tests.hooks.test_http_nasty import Nasty, drip, drip_body
from tests.support.client import Client
from tests.support.servers import running
from tests.support.waiting import until

DUMP = (
    'tr "\\0" "\\n" < /proc/$$/cmdline > "$0/$1.argv"; env > "$0/$1.env"; cat > "$0/$1.in";'
    ' echo "$TUSD_PY_ATTEMPT" > "$0/$1.done"'
)
"""Writes down everything that a command is given: its arguments, its environment, its standard input."""
GROWTH = 30 * 1024
"""KiB that a server may grow by an answer, or a flood, that is as large as it likes."""


@pytest.fixture(scope="module")
async def every(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lives]:
    """Where all servers come from."""
    async with lives(tmp_path_factory.mktemp("lives")) as every:
        yield every


@pytest.fixture
async def them(every: Lives) -> AsyncIterator[Lives]:
    """Servers; none of them outlives its test."""
    yield every
    for life in every._lives.values():
        await life.kill()


def rows(data_dir: Path, query: str) -> list[Any]:
    """Ask the database of a running server."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def nothing_is_stored(data_dir: Path) -> bool:
    files = [path for path in (data_dir / "uploads").rglob("*") if path.is_file()]
    return not files and not rows(data_dir, "select id from uploads")


async def there(path: Path) -> None:
    async def exists() -> bool:
        return path.exists()

    await until(exists)


def children(pid: int) -> set[int]:
    """Return the processes that a process has begun and not buried; a zombie is one of them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(each) for path in tasks for each in path.read_text().split()}


@pytest.mark.parametrize(
    "value",
    ["$(touch pwned)", "`touch pwned`", ";touch pwned; rm -rf .", "a\ntouch pwned\n", "-rf", "--help", "' \" $HOME \\"],
)
async def test_hostile_metadata(
    value: str, them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures
) -> None:
    """What a client says is JSON on the standard input of a command job, and nowhere else (row 54)."""
    argv = ["/bin/sh", "-c", DUMP, str(tmp_path), "it"]
    life = await them.begin(tmp_path / "data", jobs={"dump": {"command": argv}})
    encoded = base64.b64encode(value.encode()).decode()
    await Client(session, life.url).upload(b"x", Upload_Metadata=f"filename {encoded},{'k' * 20} {encoded}")
    await there(tmp_path / "it.done")
    told = json.loads((tmp_path / "it.in").read_text())["Event"]["Upload"]["MetaData"]
    assert {value} == set(told.values())
    # A newline ends each argument, and the last one: none of ours has any.
    assert "\n".join([*argv, ""]) == (tmp_path / "it.argv").read_text()
    names = {line.partition("=")[0] for line in (tmp_path / "it.env").read_text().splitlines()}
    assert names <= {
        *("PATH", "HOME", "LANG", "TZ", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"),
        *(name for name in os.environ if name.startswith("LC_")),
        *("TUS_ID", "TUS_OFFSET", "TUS_SIZE", "TUSD_PY_IDEMPOTENCY_KEY", "TUSD_PY_ATTEMPT"),
    }
    assert value not in (tmp_path / "it.env").read_text()
    assert not Path("pwned").exists()
    figures.add("attacks", of="54")


def reply(body: bytes, head: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def wishing(headers: dict[str, str]) -> bytes:
    return reply(json.dumps({"HTTPResponse": {"Header": headers}}).encode())


BOMB = gzip.compress(bytes(20_000_000))
HOSTILE: dict[str, Any] = {
    "a long body": Nasty.endless,
    "a body by drips": drip_body,
    "a head by drips": drip,
    "a bomb": reply(BOMB, "Content-Encoding: gzip\r\n"),
    "a bomb in disguise": reply(BOMB),
    "not HTTP": b"\x16\x03\x01\x02\x00nonsense\r\n\r\n",
    "not JSON": reply(b"<html>"),
    "deep JSON": reply(b"[" * 60_000),
    "a header with CRLF": wishing({"X-Fine": "a\r\nSet-Cookie: stolen=1"}),
    "a header whose name has CRLF": wishing({"X-Fine: a\r\nSet-Cookie": "stolen=1"}),
}


@contextlib.asynccontextmanager
async def nasty_server(*answers: Any) -> AsyncIterator[Nasty]:
    """A receiver of hooks that answers its first connections as told, and agrees afterwards."""
    made = Nasty()
    made.answers = [made.endless if each is Nasty.endless else each for each in answers]
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def asking(url: str) -> dict[str, Any]:
    """Settings of a server that asks a URL before each creation."""
    return {"hooks": {"ask": {"url": url, "events": ["pre-create"], "timeout": 1}}, "hooks_http_retry": 0}


async def refused(client: Client, life: Life) -> str:
    """Make a creation fail; return all of its answer as text."""
    answer = await client.post({"Upload-Length": "5"})
    assert (answer.status, answer.code) == (500, "ERR_HOOK_FAILED")
    assert nothing_is_stored(life.data_dir)
    return "\n".join([*(f"{name}: {value}" for name, value in answer.headers.items()), answer.body.decode()])


@pytest.mark.parametrize("what", HOSTILE)
async def test_hostile_answers(
    what: str, them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures
) -> None:
    """What cannot be used, or never ends, agrees to nothing and costs little; the next one is asked (row 55)."""
    async with nasty_server(reply(b"{}"), HOSTILE[what]) as there:
        life = await them.begin(tmp_path / "data", **asking(there.url))
        client = Client(session, life.url)
        assert (await client.send("DELETE", await client.create(5), {"Tus-Resumable": "1.0.0"})).status == 204
        before = resident_kib(life.pid)
        text = await refused(client, life)
        assert "stolen" not in text
        assert resident_kib(life.pid) - before < GROWTH
        assert (await client.get(await client.upload(b"hello"))).body == b"hello"
        assert "Traceback" not in life.stderr.read_text()
    figures.add("attacks", of="55")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects(
    status: int, them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures
) -> None:
    """A hook cannot send the server, with what it tells, to somebody else (row 55)."""
    async with nasty_server() as elsewhere:
        head = f"HTTP/1.1 {status} Go\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
        async with nasty_server(head.encode()) as there:
            life = await them.begin(tmp_path / "data", **asking(there.url))
            await refused(Client(session, life.url), life)
            assert elsewhere.connections == 0
    figures.add("attacks", of="55")


async def test_no_tls(them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures) -> None:
    """Where TLS was asked for nothing else will do (row 55)."""
    async with nasty_server() as there:
        life = await them.begin(tmp_path / "data", **asking(there.url.replace("http:", "https:")))
        await refused(Client(session, life.url), life)
    figures.add("attacks", of="55")


async def test_headers_of_others(them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures) -> None:
    """A hook cannot say where an upload is, how much of it there is, or who may read the answer (row 55)."""
    taken = {
        "Location": "http://evil.example/",
        "Upload-Offset": "4",
        "Upload-Length": "1",
        "Tus-Resumable": "9.9.9",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Connection": "upgrade",
        "Upgrade": "websocket",
        "Access-Control-Allow-Origin": "https://evil.example",
        "X-Fine": "fine",
    }
    async with nasty_server(wishing(taken)) as there:
        life = await them.begin(tmp_path / "data", **asking(there.url))
        client = Client(session, life.url)
        answer = await client.post({"Upload-Length": "5"})
        assert answer.status == 201
        assert answer.headers["X-Fine"] == "fine"
        assert answer.headers["Tus-Resumable"] == "1.0.0"
        assert {"Upload-Length", "Upgrade", "Access-Control-Allow-Origin"}.isdisjoint(answer.headers)
        assert "evil" not in str(answer.headers)
        assert (await client.head(answer.headers["Location"])).offset == 0
    figures.add("attacks", of="55")


HANGS = """
import os, signal, sys, time
os.write(2, b"hangs")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if not os.fork():
        os.fork()
        break
with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)
time.sleep(1000)
"""
FLOODS = """
import os
for _ in range(200):
    os.write(2, b"x" * 1_000_000)
os.write(2, b"the end")
os._exit(1)
"""
GARBAGE = "import os; os.write(1, bytes(range(256)) * 100)"


async def test_hostile_programs(them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures) -> None:
    """Programs that fork, do not listen, flood or talk nonsense are ended, and their attempts recorded (row 57)."""
    job = {"retries": 0, "timeout": 2}
    programs = {"hangs": [HANGS, str(tmp_path / "pids")], "floods": [FLOODS], "garbage": [GARBAGE]}
    jobs = {name: {"command": [sys.executable, "-c", *given], **job} for name, given in programs.items()}
    life = await them.begin(tmp_path / "data", jobs=jobs)
    client, before = Client(session, life.url), resident_kib(life.pid)
    await client.upload(b"hello")

    async def all_ended() -> bool:
        return rows(life.data_dir, "select count(*) from jobs where ended_at is null") == [(0,)]

    await until(all_ended, timeout=30)
    query = "select task, state, attempt, error, length(output), substr(output, -7), result, json_array_length(history)"
    found = {row[0]: row[1:] for row in rows(life.data_dir, f"{query} from jobs")}
    assert found["hangs"][:2] == ("discarded", 1)
    assert "2 s" in found["hangs"][2]
    assert found["hangs"][4].endswith("hangs")
    assert found["floods"][:3] == ("discarded", 1, "the command exited with 1")
    assert (found["floods"][3] <= 4096, found["floods"][4]) == (True, "the end")
    # As work of its own it may say what it likes; nothing is made of it.
    assert (found["garbage"][:2], found["garbage"][5]) == (("completed", 1), None)
    assert {row[6] for row in found.values()} == {1}
    pids = {int(line) for line in (tmp_path / "pids").read_text().split()}
    assert len(pids) == 7
    await until(lambda: _are_gone(pids))
    assert children(life.pid) == set()
    assert resident_kib(life.pid) - before < GROWTH
    assert (await client.get(await client.upload(b"hello"))).body == b"hello"
    figures.add("attacks", len(programs), of="57")


async def _are_gone(pids: set[int]) -> bool:
    """Whether none of these processes runs; those whose parents died are not the server's to bury."""
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return False
    return True


@pytest.mark.parametrize("script", [GARBAGE, FLOODS, HANGS, "import os; os.write(1, b'{' * 10_000_000)"])
async def test_hostile_hooks(
    script: str, them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures
) -> None:
    """A program that is asked and answers nonsense, too much or not at all has agreed to nothing (row 57)."""
    command = [sys.executable, "-c", script, str(tmp_path / "pids")]
    hooks = {"ask": {"command": command, "events": ["pre-create"], "timeout": 2}}
    life = await them.begin(tmp_path / "data", hooks=hooks)
    before = resident_kib(life.pid)
    await refused(Client(session, life.url), life)
    assert children(life.pid) == set()
    assert resident_kib(life.pid) - before < GROWTH
    assert "Traceback" not in life.stderr.read_text()
    figures.add("attacks", of="57")


SECRETS = {who: f"secret-of-the-{who}" for who in ("hooks", "url", "query", "client", "env")}
TOLD = {
    "Authorization": f"Bearer {SECRETS['client']}",
    "Proxy-Authorization": f"Basic {SECRETS['client']}",
    "Cookie": f"session={SECRETS['client']}",
    "X-Harmless": "harmless",
}


async def test_secrets(them: Lives, tmp_path: Path, session: aiohttp.ClientSession, figures: Figures) -> None:
    """Secrets of the server, of its URLs and of clients are told to nobody who is not meant (row 58)."""
    got: list[tuple[str, bytes]] = []

    async def hear(request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name != "Authorization"}
        got.append(
            (f"{headers} {base64.b64decode(request.headers['Authorization'].split()[1])!r}", await request.read())
        )
        raise web.HTTPForbidden

    app = web.Application()
    app.router.add_post("/hear", hear)
    async with running(app) as base:
        urls = [f"{each}/hear?token={SECRETS['query']}" for each in (base, "http://127.0.0.1:1")]
        named = [each.replace("://", f"://user:{SECRETS['url']}@") for each in urls]
        life = await _with_secrets(them, tmp_path, *named)
        client = Client(session, life.url)
        answers = await _use(client)
        await there(tmp_path / "it.done")
        await until(lambda: _told(got))
        argv = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (life.pid, *children(life.pid))]
        assert await life.end() == 0
    told_by_command = [(tmp_path / f"it.{each}").read_bytes() for each in ("argv", "env", "in")]
    assert b"harmless" in told_by_command[2]
    kept = [path.read_bytes() for path in life.data_dir.glob("uploads.sqlite3*")]
    for secret in map(str.encode, SECRETS.values()):
        everywhere = [*answers, *told_by_command, *argv, *kept, life.stderr.read_bytes(), *(body for _, body in got)]
        assert not [text for text in everywhere if secret in text], secret
    assert got
    for headers, _ in got:
        # Its own credentials are how a URL knows the server; nothing of anybody else's is with them.
        assert SECRETS["url"] in headers
        assert not [each for each in ("hooks", "query", "client", "env") if SECRETS[each] in headers]
    assert "X-Tus-Signature" in got[0][0]
    figures.add("attacks", of="58")


async def _with_secrets(them: Lives, tmp_path: Path, url: str, closed: str) -> Life:
    environ = {"AWS_SECRET_ACCESS_KEY": SECRETS["env"], "TUSD_PY_HOOKS_SECRET": SECRETS["hooks"]}
    dump = ["/bin/sh", "-c", DUMP, str(tmp_path), "it"]
    # A client that wants it gets an error of a hook that cannot be asked.
    when = {"metadata": {"fail": "*"}}
    return await them.begin(
        tmp_path / "data",
        environ=environ,
        hooks_secret=SECRETS["hooks"],
        hooks_http=[url],
        hooks_http_retry=0,
        hooks_enabled_events=["post-create", "post-finish"],
        hooks={"broken": {"url": closed, "events": ["pre-create"], "when": when}},
        jobs={"dump": {"command": dump}},
    )


async def _use(client: Client) -> list[bytes]:
    """Make an upload with credentials, and be refused another one; return the answers."""
    made = await client.post({"Upload-Length": "5", **TOLD})
    assert made.status == 201
    headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": "0", "Tus-Resumable": "1.0.0"}
    filled = await client.send("PATCH", made.headers["Location"], {**headers, **TOLD}, b"hello")
    assert filled.status == 204
    failed = await client.post({"Upload-Length": "5", "Upload-Metadata": "fail eA==", **TOLD})
    assert failed.status == 500
    return [f"{each.headers}".encode() + each.body for each in (made, filled, failed)]


async def _told(got: list[tuple[str, bytes]]) -> bool:
    return any("post-finish" in headers for headers, _ in got)
