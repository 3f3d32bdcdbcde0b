"""Hooks of a server that is a process of its own: scripts in a directory, programs in a settings file; and what no hook
may see.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.client import CT, Client, T
from tests.support.hooked import PATHS, Hooked, hooked
from tests.support.servers import Target, process
from tests.support.state import check_refusal, nothing_created
from tests.support.timed import name_of
from tests.support.waiting import until

EVENTS = ("pre-create", "post-create", "post-receive", "pre-finish", "post-finish", "pre-terminate", "post-terminate")
CREDENTIALS = {
    "Authorization": "Bearer geheim-1",
    "Cookie": "session=geheim-2",
    "Proxy-Authorization": "Basic geheim-3",
    "Idempotency-Key": "geheim-4-0123456789",
    "X-Request-Id": "r1",
}


@dataclass
class Scripts:
    """A server whose hooks are shell scripts that write down what they read, and say what is in a file."""

    target: Target
    place: Path

    def says(self, event: str, reply: dict[str, Any] | None) -> None:
        (self.place / f"{event}.reply").write_text("" if reply is None else json.dumps(reply))

    def fails(self, event: str) -> None:
        (self.place / f"{event}.reply").unlink()

    def told(self, event: str) -> list[dict[str, Any]]:
        log = self.place / f"{event}.log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    async def has(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait until an event was told so often; return the last time."""

        async def is_told() -> bool:
            return len(self.told(event)) >= count

        await until(is_told)
        told: dict[str, Any] = self.told(event)[-1]["Event"]
        return told


def _write(place: Path, event: str, name: str | None = None) -> Path:
    # The reply is read first: without one the script fails, and has told nobody anything.
    script = place / (name or event)
    script.write_text(f"#!/bin/sh\nset -e\nreply=$(cat {place}/{event}.reply)\n(cat; echo) >> {place}/{event}.log\n"
                      'printf "%s" "$reply"\n')  # fmt: skip
    script.chmod(0o755)
    (place / f"{event}.reply").touch()
    return script


@pytest.fixture(scope="module", params=["directory", "file"])
async def scripts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scripts]:
    """A server that has them in a directory, or named in its settings file."""
    place = tmp_path_factory.mktemp("scripts")
    if request.param == "directory":
        for event in EVENTS:
            _write(place, event)
        options: dict[str, Any] = {"hooks_dir": place, "hooks_enabled_events": ",".join(EVENTS)}
    else:
        tables = [f'[hooks.{event}]\nevents = ["{event}"]\ncommand = ["{_write(place, event)}"]\n' for event in EVENTS]
        (place / "tusd.toml").write_text("\n".join(tables))
        options = {"config": place / "tusd.toml"}
    async with process(place / "data", **options) as target:
        yield Scripts(target, place)


@pytest.fixture
def client(session: aiohttp.ClientSession, scripts: Scripts) -> Client:
    return Client(session, scripts.target.url)


async def test_a_life(scripts: Scripts, client: Client) -> None:
    """Every moment of an upload is told in tusd's JSON, with where its bytes are as soon as there are any."""
    url = await client.create(10, Upload_Metadata="filename YS50eHQ=")
    created = await scripts.has("post-create")
    await client.patch(url, 0, b"hello")
    received = await scripts.has("post-receive")
    await client.patch(url, 5, b"world")
    finished = await scripts.has("post-finish")
    assert (await client.delete(url)).status == 204
    terminated = await scripts.has("post-terminate")
    for told, offset in ((created, 0), (received, 5), (finished, 10), (terminated, 10)):
        upload = told["Upload"]
        assert (upload["ID"], upload["Size"], upload["Offset"]) == (name_of(url), 10, offset)
        assert upload["MetaData"] == {"filename": "a.txt"}
        assert upload["Storage"]["Path"] == str(scripts.target.data_path(url))
    assert scripts.told("pre-create")[-1]["Event"]["Upload"]["ID"] == ""
    assert [scripts.told(event)[-1]["Type"] for event in EVENTS] == [*EVENTS]
    assert {event: len(scripts.told(event)) for event in EVENTS} == dict.fromkeys(EVENTS, 1)


async def test_refused(scripts: Scripts, client: Client) -> None:
    """A script refuses a creation, an end and a removal, in tusd's words (row 22)."""
    words = {"StatusCode": 422, "Body": "No cats", "Header": {"X-Why": "cats"}}
    scripts.says("pre-create", {"RejectUpload": True, "HTTPResponse": words})
    with nothing_created(scripts.target):
        answer = await client.post({"Upload-Length": "5", **CT}, b"hello")
    assert (answer.status, answer.body, answer.headers["X-Why"]) == (422, b"No cats", "cats")
    scripts.says("pre-create", None)
    scripts.says("pre-finish", {"RejectUpload": True, "HTTPResponse": words})
    url = await client.create(5)
    answer = await client.patch(url, 0, b"hello")
    assert (answer.status, answer.body) == (422, b"No cats")
    assert (await client.head(url)).status == 410
    scripts.says("pre-finish", None)
    scripts.says("pre-terminate", {"RejectTermination": True})
    answer = await client.delete(url)
    assert (answer.status, answer.code) == (400, "ERR_UPLOAD_TERMINATION_REJECTED")
    scripts.says("pre-terminate", None)
    assert (await client.delete(url)).status == 204


@pytest.mark.parametrize(
    "change",
    [{"ID": "../../etc/cron.d/x"}, {"Storage": {"Path": "/etc/cron.d/x"}}, {"ID": "taken"}],
    ids=["id", "path", "taken"],
)
async def test_what_cannot_be(scripts: Scripts, client: Client, change: dict[str, Any]) -> None:
    """A script that wants what cannot be has failed; nothing is created (row 22)."""
    if change.get("ID") == "taken":
        scripts.says("pre-create", {"ChangeFileInfo": change})
        assert (await client.head(client.base + "taken")).status == 404
        assert (await client.create(5)).endswith("/taken")
    scripts.says("pre-create", {"ChangeFileInfo": change})
    with nothing_created(scripts.target):
        check_refusal(await client.post({"Upload-Length": "5", **CT}, b"hello"), 500, "ERR_HOOK_FAILED")
    scripts.says("pre-create", None)


async def test_shaped(scripts: Scripts, client: Client) -> None:
    """A script chooses id, metadata and place."""
    change = {"ID": "chosen-1", "MetaData": {"k": "v"}, "Storage": {"Path": "x/y.bin"}}
    scripts.says("pre-create", {"ChangeFileInfo": change})
    url = await client.upload(b"hello", Upload_Metadata="filename YS50eHQ=")
    scripts.says("pre-create", None)
    assert url == client.base + "chosen-1"
    assert (await client.head(url)).headers["Upload-Metadata"] == "k dg=="
    assert (scripts.target.data_dir / "uploads" / "named" / "x" / "y.bin").read_bytes() == b"hello"


async def test_fails(scripts: Scripts, client: Client) -> None:
    """A script that ends with an error has agreed to nothing."""
    scripts.fails("pre-create")
    with nothing_created(scripts.target):
        check_refusal(await client.post({"Upload-Length": "5"}), 500, "ERR_HOOK_FAILED")
    scripts.says("pre-create", None)


@pytest.mark.parametrize("path", PATHS)
async def test_credentials(session: aiohttp.ClientSession, tmp_path: Path, path: str) -> None:
    """What gives access to something is in no event, in whatever case it was sent; the rest is (row 58)."""
    async with hooked(tmp_path / "data", path) as server:
        await _life(server, Client(session, server.target.url))
        assert {str(event.moment) for event in server.app.seen} == {*EVENTS}
        for event in server.app.seen:
            assert "geheim" not in repr(event)
            assert "r1" in dict(event.request.headers).values()


async def test_credentials_by_name(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A header with credentials that the settings name is told, and no other."""
    async with hooked(tmp_path / "data", hooks_http_forward_headers="authorization") as server:
        await _life(server, Client(session, server.target.url))
        for event in server.app.seen:
            assert dict(event.request.headers)["Authorization"] == "Bearer geheim-1"
            assert "geheim-2" not in repr(event)
            assert "geheim-3" not in repr(event)


async def _life(server: Hooked, client: Client) -> None:
    headers = {**T, **CREDENTIALS}
    url = (await client.send("POST", None, {**headers, "Upload-Length": "10"})).headers["Location"]
    for offset in (0, 5):
        answer = await client.patch(url, offset, b"hello", CREDENTIALS)
        assert answer.status == 204
        await server.settle()
    assert (await client.send("DELETE", url, headers)).status == 204
    await server.settle()
