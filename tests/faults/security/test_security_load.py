"""T9: rows of the security table (reliability 5.2) that are many requests, and that no row is forgotten."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.engine.rooms import house
from tests.faults.figures import Figures
from tests.faults.lives import Life, Lives, lives
from tests.faults.networks.procfs import cpu_seconds, resident_kib
from tests.faults.security.attacks import ATTACKS, chunks, patch
from tests.faults.security.security_rows import ALL, ELSEWHERE, NOT_YET
from tests.support.client import Client
from tests.support.wire import Wire
from tusd_py.engine.create import new_upload
from tusd_py.models.limits import Limits
from tusd_py.protocol.intents import Create

MIB = 2**20


@pytest.fixture(scope="module")
async def them(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lives]:
    """Servers for what is large."""
    async with lives(tmp_path_factory.mktemp("loaded")) as them:
        yield them


@pytest.fixture
async def life(them: Lives, tmp_path: Path) -> AsyncIterator[Life]:
    """A new one: what others brought into memory would hide what is measured."""
    life = await them.begin(tmp_path / "data", durability="none")
    yield life
    await life.kill()


def test_no_row_is_forgotten() -> None:
    """Every row of the table is tested here, or where we say that it is, or waits for a reason."""
    here = {attack.row for attack in ATTACKS}
    assert sorted({*here, *ELSEWHERE, *NOT_YET} ^ set(ALL)) == []
    missing = [f"{row}: {where}" for row, its in ELSEWHERE.items() for where in its.split() if not _exists(where)]
    assert missing == []
    assert all(NOT_YET.values())


def _exists(where: str) -> bool:
    file, _, name = where.partition("::")
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return any(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name for each in tree.body)


async def test_ids(volume_of: Callable[[str], int], figures: Figures) -> None:
    """Ids have 128 bits, none comes twice, and every digit is everywhere equally often (row 21)."""
    count = 1_000_000 if volume_of("T9") >= 3000 else 100_000
    async with house() as rooms:
        ids = [new_upload(rooms.engine._ctx, Create(length=1), Limits()).id for _ in range(count)]
    assert len(set(ids)) == count
    everything, expected = "".join(ids), count / 16
    assert len(everything) == 32 * count
    for place in range(32):
        found = Counter(everything[place::32])
        assert set(found) == set("0123456789abcdef")
        # 15 degrees of freedom: 65 is passed by chance once in 3 * 10^7 times.
        assert sum((found[digit] - expected) ** 2 / expected for digit in found) < 65
    figures.add("ids", count)


async def test_announced_terabytes(
    life: Life, session: aiohttp.ClientSession, volume_of: Callable[[str], int], figures: Figures
) -> None:
    """Uploads that announce 1 TiB each are taken and take no space (rows 50 and 51)."""
    count, client = volume_of("T9"), Client(session, life.url)
    for _ in range(count // 50):
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(client.create(2**40))
    assert not [path for path in (life.data_dir / "uploads").rglob("*") if path.is_file()]
    figures.add("attacks", count // 50 * 50, of="51")


AT_ONCE = 36
"""So many that what the memory of a process grows by in large steps is little for each."""
ALLOWED = 300
"""KiB that one open request may cost (I19)."""
PIPELINED = "GET /files/unknown HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("what", "status"),
    [("100 pipelined", 404), ("chunk extension", 204), ("one-byte chunks", 204), ("32-byte chunks", 204)],
)
async def test_large_requests(
    life: Life, session: aiohttp.ClientSession, what: str, status: int, figures: Figures
) -> None:
    """What is long on the wire and short in meaning costs neither time nor memory (row 14, I19)."""
    client = Client(session, life.url)
    # What the very first request brings into memory stays there, and is no cost of the others.
    await client.upload(b"x")
    memory, time = resident_kib(life.pid), cpu_seconds(life.pid)

    async def ask() -> None:
        to = (await client.create(MIB)).rpartition("/")[2]
        chunked = patch("Transfer-Encoding: chunked", to=to, body="").replace("<host>", "x")
        raw = {
            "100 pipelined": PIPELINED * 100,
            "chunk extension": chunked + f"6;{'x' * MIB}\r\nhello!\r\n0\r\n\r\n",
            "one-byte chunks": chunked + chunks(*"x" * 30_000, ""),
            "32-byte chunks": chunked + chunks(*["x" * 32] * 30_000, ""),
        }[what]
        async with await Wire.open(life.url) as wire:
            wire.send(raw.encode())
            answers = {(await wire.answer()).status for _ in range(100 if "pipelined" in what else 1)}
        assert answers <= {status, 400, 431}

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask())
    grown = resident_kib(life.pid) - memory
    figures.sample("rss_per_request_kib", grown / AT_ONCE, of=what)
    figures.add("attacks", AT_ONCE, of="14")
    assert cpu_seconds(life.pid) - time < AT_ONCE
    assert grown < ALLOWED * AT_ONCE
