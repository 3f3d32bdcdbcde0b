"""What a server holds, seen from outside: to show that a refused request changed nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from tests.support.client import Answer, Client
from tests.support.database import rows
from tests.support.servers import Target
from tests.support.wire import RawAnswer

_SENTENCE = re.compile(r"[A-Z`][^\r\n]*[^\s.]")


@dataclass(frozen=True)
class Seen:
    """One upload: what HEAD says of it, and its stored bytes."""

    offset: str | None
    length: str | None
    deferred: str | None
    metadata: str | None
    concat: str | None
    data: bytes


async def look(client: Client, target: Target, url: str) -> Seen:
    """Return one upload as it stands."""
    answer = await client.head(url)
    assert answer.status == 200, answer.status
    names = ("Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat")
    path = target.data_path(url)
    # Data is made with the first byte.
    data = path.read_bytes() if path.exists() else b""
    return Seen(*(answer.headers.get(name) for name in names), data)


@contextlib.asynccontextmanager
async def unchanged(client: Client, target: Target, *urls: str) -> AsyncIterator[None]:
    """What is requested inside must not change these uploads."""
    before = [await look(client, target, url) for url in urls]
    yield
    assert [await look(client, target, url) for url in urls] == before


def holdings(target: Target) -> set[str]:
    """Return the names of all data files, and the ids of all rows."""
    files = {f"file {path.name}" for path in (target.data_dir / "uploads").rglob("*") if path.is_file()}
    return files | {f"row {name}" for (name,) in rows(target.data_dir, "select id from uploads")}


@contextlib.contextmanager
def nothing_created(target: Target) -> Iterator[None]:
    """What is requested inside must not leave an upload behind, nor remove one."""
    before = holdings(target)
    yield
    assert holdings(target) == before


def check_refusal(answer: Answer | RawAnswer, status: int, code: str) -> None:
    """Check an error answer: status, headers that every answer has, and `CODE: sentence` as its body."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers.getall("Tus-Resumable") == ["1.0.0"]
    assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    found, _, sentence = answer.body.decode().partition(": ")
    assert found == code
    assert sentence.endswith("\n")
    assert _SENTENCE.fullmatch(sentence[:-1]), sentence
    if status != 409:
        # tuspy takes any answer with an offset for a success.
        assert "Upload-Offset" not in answer.headers
