"""T9: the security table (reliability 5.2), request for request, over raw sockets, against both ways of serving."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from tests.faults.figures import Figures
from tests.faults.lives import lives
from tests.faults.security.attacks import ATTACKS, SETTINGS, Attack
from tests.support.client import Client
from tests.support.servers import embedded
from tests.support.wire import Wire

HTTP_ERRORS = (HttpProcessingError, RequestPayloadError)
ROWS = list(dict.fromkeys(attack.row for attack in ATTACKS))


@dataclass
class Attacked:
    """A server that must stay as it is."""

    client: Client
    data_dir: Path
    troubles: Callable[[], str]
    """What it has logged of failures that nobody foresaw."""
    ids: dict[str, str] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Make the uploads that the requests name; the one that is open is made anew when it was touched."""

        def name(url: str) -> str:
            return url.rpartition("/")[2]

        self.ids["<done>"] = name(await self.client.upload(b"hello"))
        part = await self.client.upload(b"hello", Upload_Concat="partial")
        self.ids["<part>"] = name(part)
        final = await self.client.post({"Upload-Concat": f"final;{part}"})
        self.ids["<whole>"] = name(final.headers["Location"])
        self.ids["<open>"] = name(await self.client.create(11))
        self.ids["<host>"] = self.client.base.split("/")[2]

    def filled(self, text: str) -> str:
        for token, value in self.ids.items():
            text = text.replace(token, value)
        return text

    def state(self) -> object:
        """Return everything that is stored, except the bytes."""
        files = {(path.name, path.stat().st_size) for path in (self.data_dir / "uploads").rglob("*") if path.is_file()}
        with contextlib.closing(sqlite3.connect(f"file:{self.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
            return files, db.execute("select * from uploads order by id").fetchall()

    async def suffer(self, attack: Attack) -> list[str]:
        """Send a request and return what is wrong with what came of it."""
        before, known, wrong = self.state(), self.troubles(), []
        async with await Wire.open(self.client.base) as wire:
            wire.send(self.filled(attack.raw).encode("utf-8", "surrogateescape"))
            answer = await wire.answer(timeout=5)
            text = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
            text = f"{answer.status} {answer.reason}\n{text}\n{answer.body.decode('latin-1')}"
            if answer.status not in attack.statuses:
                wrong.append(f"{answer.status} instead of {attack.statuses}")
            if self.filled(attack.has).lower() not in text.lower():
                wrong.append(f"no {self.filled(attack.has)!r} in {text!r}")
            if attack.lacks and attack.lacks.lower() in text.lower():
                wrong.append(f"{attack.lacks!r} in {text!r}")
            if attack.closes:
                wrong += await _left_open(wire)
        if not attack.stores and self.state() != before:
            wrong.append("what is stored has changed")
        if (good := (await self.client.head(self.client.base + self.ids["<done>"])).status) != 200:
            wrong.append(f"{good} for a good request afterwards")
        if (troubles := self.troubles()) != known:
            wrong.append(troubles.removeprefix(known))
        return [f"{attack.row}, {attack.what}: {each}" for each in wrong]


async def _left_open(wire: Wire) -> list[str]:
    try:
        rest = await wire.closed(timeout=5)
    except TimeoutError:
        return ["the connection is left open"]
    return [f"a second answer: {rest[:60]!r}"] if rest else []


@pytest.fixture(scope="module", params=["process", "embedded"])
async def attacked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, session: aiohttp.ClientSession
) -> AsyncIterator[Attacked]:
    """A server that is asked everything of the table, one request after the other."""
    place = tmp_path_factory.mktemp(f"attacked-{request.param}")
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "process":
            life = await (await stack.enter_async_context(lives(place))).begin(place / "data", **SETTINGS)
            target = Attacked(Client(session, life.url), place / "data", lambda: _traceback(life.stderr.read_text()))
        else:
            heard = stack.enter_context(_listening())
            server = await stack.enter_async_context(embedded(place / "data", **SETTINGS))
            target = Attacked(Client(session, server.url), place / "data", lambda: "\n".join(heard))
        await target.prepare()
        yield target


def _traceback(log: str) -> str:
    return log[log.index("Traceback") :] if "Traceback" in log else ""


class _Ear(logging.Handler):
    """Takes down what was logged with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # What aiohttp refuses by itself, and what it cannot unpack while it throws a refused body away, it logs with
        # a traceback: that is the host application's to silence. Our own process has it silenced.
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not (record.name == "aiohttp.server" and isinstance(error, HTTP_ERRORS)):
            self.heard.append(self.format(record))


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    ear = _Ear()
    logging.getLogger().addHandler(ear)
    try:
        yield ear.heard
    finally:
        logging.getLogger().removeHandler(ear)


@pytest.mark.parametrize("row", ROWS)
async def test_row(attacked: Attacked, row: str, figures: Figures) -> None:
    """Every request is answered as the table says, changes nothing, and the next one is served (I2, I5, I20)."""
    wrong = []
    for attack in ATTACKS:
        if attack.row == row:
            wrong += await attacked.suffer(attack)
            figures.add("attacks", of=row)
            if attack.stores:
                attacked.ids["<open>"] = (await attacked.client.create(11)).rpartition("/")[2]
    figures.add("unhandled_500s", sum("500" in each for each in wrong))
    assert not wrong, "\n".join(wrong)
