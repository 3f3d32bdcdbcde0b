"""Whether files have arrived: whole, once, under the URL that was told, and without leaving anything for ever."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.support.client import Client


@dataclass(frozen=True)
class Sent:
    """A file, and what its uploader said."""

    path: Path
    metadata: Mapping[str, str]
    """What the server has to know of it."""
    url: str
    """That was told, maybe on another way than the direct one."""

    @property
    def name(self) -> str:
        """Of the upload that was told."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Stored:
    """An upload as the server's database has it."""

    name: str
    kind: str
    state: str
    offset: int
    length: int | None
    metadata: Mapping[str, str]
    parts: tuple[str, ...]
    expires: bool


@dataclass(frozen=True)
class Judgement:
    """What came of it."""

    wrong: tuple[str, ...]
    """One line for each thing that must not be."""
    duplicates: tuple[Stored, ...]
    """Finished uploads that nobody was told of."""
    orphans: tuple[Stored, ...]
    """Other uploads that belong to none that was told: unfinished, or parts of nothing."""


def stored(data_dir: Path) -> list[Stored]:
    """Return what the database of a server has."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/uploads.sqlite3?mode=ro", uri=True)) as database:
        rows = database.execute("select id, kind, state, offset, length, metadata, parts, expires_at from uploads")
        return [
            Stored(name, kind, state, offset, length, _told(metadata), tuple(json.loads(parts)), expires is not None)
            for name, kind, state, offset, length, metadata, parts, expires in rows
        ]


async def judge(session: aiohttp.ClientSession, url: str, data_dir: Path, files: Iterable[Sent]) -> Judgement:
    """Judge what a server has, which runs at this URL and must have nothing else."""
    sent, uploads = list(files), stored(data_dir)
    wrong: list[str] = []
    for each in sent:
        wrong += [f"{each.path.name}: {what}" for what in await _of_file(Client(session, url), data_dir, each, uploads)]
    whole = [each for each in uploads if each.kind != "partial" and each.state == "finished"]
    told = {each.name for each in sent}
    parts = {part for each in whole if each.name in told for part in each.parts}
    duplicates = tuple(each for each in whole if each.name not in told)
    orphans = tuple(each for each in uploads if each.name not in told | parts and each not in whole)
    wrong += [f"{each} has no end" for each in orphans if not each.expires]
    return Judgement(tuple(wrong), duplicates, orphans)


async def _of_file(client: Client, data_dir: Path, file: Sent, uploads: Iterable[Stored]) -> list[str]:
    found = {each.name: each for each in uploads}.get(file.name)
    if found is None:
        return [f"nobody knows {file.url}"]
    size, wrong = file.path.stat().st_size, []
    if (found.state, found.offset, found.length) != ("finished", size, size):
        wrong.append(f"{found} is not finished")
    if missing := {name: text for name, text in file.metadata.items() if found.metadata.get(name) != text}:
        wrong.append(f"{found.metadata} instead of {missing}")
    body = (await client.get(client.base + file.name)).body
    expected = _digest(file.path.read_bytes())
    if _digest(body) != expected:
        wrong.append(f"{len(body)} other bytes by GET")
    path = data_dir / "uploads" / file.name[:2] / file.name
    if not path.exists() or _digest(path.read_bytes()) != expected:
        wrong.append("other bytes on the disk")
    return wrong


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _told(metadata: str) -> dict[str, str]:
    """Read Upload-Metadata."""
    pairs = [pair.strip().partition(" ") for pair in metadata.split(",") if pair.strip()]
    return {key: base64.b64decode(value).decode() for key, _, value in pairs}
