"""`tusd-py download`: a file from a server, and what is said when it does not arrive."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.cli.commands import Command
from tests.client.test_download import scripted
from tests.client.wiring import ok, peer
from tests.support.client import Client
from tests.support.servers import Target

BODY = random.Random(2).randbytes(3 * 2**20 + 7)


@pytest.fixture
async def url(session: aiohttp.ClientSession, uploads_server: Target) -> str:
    """The URL of a finished upload."""
    return await Client(session, uploads_server.url).upload(BODY, Upload_Metadata="filename ZmlsbS5tcDQ=")


async def test_a_file_arrives_and_its_path_is_printed(command: Command, url: str, tmp_path: Path) -> None:
    """Standard output says where the file is, and nothing else."""
    done = await command.run("download", url, cwd=tmp_path)
    assert (0, ["film.mp4"]) == (done.code, done.lines)
    assert BODY == (tmp_path / "film.mp4").read_bytes()
    assert [f"{url.rpartition('/')[2]}: arrived, 3.0 MiB in 0s"] == done.errors


async def test_where_it_goes(command: Command, url: str, tmp_path: Path) -> None:
    """Into a directory, or a file; what is there is replaced when that is wanted."""
    assert [str(tmp_path / "film.mp4")] == (await command.run("download", url, "-o", tmp_path, "-q")).lines
    place = tmp_path / "film.mp4"
    place.write_bytes(b"mine")
    refused = await command.run("download", url, "--output", place)
    assert (2, f"Error: {place} exists already\n", "") == (refused.code, refused.err, refused.out)
    assert b"mine" == place.read_bytes()
    done = await command.run("download", url, "-o", place, "--overwrite", "--quiet")
    assert (0, "", BODY) == (done.code, done.err, place.read_bytes())


async def test_standard_output(command: Command, url: str, tmp_path: Path) -> None:
    """The bytes of the file, and nothing else."""
    with (tmp_path / "x").open("wb") as out:
        done = await command.run("download", url, "-o", "-", stdout=out)
    assert (0, BODY) == (done.code, (tmp_path / "x").read_bytes())
    async with await command.start("download", url, "-o", "-") as piped:
        out, err = await asyncio.wait_for(piped.process.communicate(), 30)
    assert BODY == out
    assert b"arrived" in err


async def test_standard_output_has_room_for_one(command: Command, url: str) -> None:
    """Not for the file and JSON."""
    done = await command.run("download", url, "-o", "-", "--json")
    assert 2 == done.code
    assert "cannot have both" in done.err


async def test_closed_standard_output(command: Command, url: str) -> None:
    """Nothing else is written in its place; a reader that has gone is told."""
    closed = await command.run("download", url, "-o", "-", preexec_fn=lambda: os.close(1), stdout=None)
    assert 2 == closed.code
    assert closed.err.endswith("standard output is closed\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = await command.run("download", url, "-o", "-", stdout=writing)
    os.close(writing)
    assert 2 == done.code
    assert done.err.endswith("standard output cannot be written: Broken pipe\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_download_goes_on(
    command: Command, url: str, tmp_path: Path, number: signal.Signals
) -> None:
    """It ends as shells expect, and the same command fetches only what is missing."""
    words = ("download", url, "-o", tmp_path / "x", "--json")
    async with await command.start(*words, "--limit-rate=2MiB") as first:
        await first.until_moving(2**19)
        first.process.send_signal(number)
        cut = await first.end()
    assert 128 + number == cut.code
    assert cut.err == "interrupted; the same command goes on from there, if the server has the same file then\n"
    assert not (tmp_path / "x").exists()
    done = await command.run(*words)
    assert 0 == done.code
    by_name = {event["event"]: event for event in done.events}
    assert BODY == (tmp_path / "x").read_bytes()
    assert len(BODY) - by_name["resumed"]["offset"] == by_name["finished"]["sent"] < len(BODY)
    assert {"event": "downloaded", "file": str(tmp_path / "x"), "path": str(tmp_path / "x")} == by_name["downloaded"]
    assert ("summary", 0) == (done.events[-1]["event"], done.events[-1]["exit_code"])


async def test_an_interrupted_pipe(command: Command, url: str) -> None:
    """Also when nobody reads what comes out, the first signal ends it, and nothing is promised."""
    reading, writing = os.pipe()
    try:
        async with await command.start("download", url, "-o", "-", stdout=writing) as running:
            await asyncio.to_thread(os.read, reading, 1)
            running.process.send_signal(signal.SIGINT)
            done = await running.end()
    finally:
        os.close(reading)
        os.close(writing)
    assert 130 == done.code
    assert "so the same command begins anew" in done.errors[-1]


async def test_what_servers_refuse(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """In the words of the server, and with an exit code of its own."""
    done = await command.run("download", uploads_server.url + "0" * 32, cwd=tmp_path)
    assert (3, 1) == (done.code, len(done.errors))
    assert done.err.startswith("Error: " + "0" * 32 + ": ")
    async with peer(scripted([ok(b"", "Location: /login", status="302 Found")])) as there:
        done = await command.run("download", there.url + "x", cwd=tmp_path)
    assert (3, "Error: x: the server redirects to /login; use that URL\n") == (done.code, done.err)
    assert [] == [each for each in os.listdir(tmp_path) if each != "home"]


async def test_a_server_that_is_not_there(command: Command, tmp_path: Path) -> None:
    """It is given up after as long as is wanted."""
    done = await command.run("download", "http://127.0.0.1:9/x", "--retry-for=100ms", cwd=tmp_path)
    assert 4 == done.code
    assert done.errors[-1].startswith("Error: x: nothing has gone forward for too long; the last failure: ")


async def test_hostile_name(command: Command, tmp_path: Path) -> None:
    """A name that the server chooses is shown harmlessly, and leads nowhere else."""
    answer = ok(b"0", "Content-Disposition: attachment; filename*=UTF-8''..%2F..%2F%1b%5B2Jx")
    (tmp_path / "here").mkdir()
    async with peer(scripted([answer])) as there:
        done = await command.run("download", there.url, cwd=tmp_path / "here")
    assert (0, ["[2Jx"]) == (done.code, done.lines)
    assert ["[2Jx"] == os.listdir(tmp_path / "here")


async def test_headers_and_token(command: Command, tmp_path: Path) -> None:
    """What the flags name goes with the request."""
    (tmp_path / "token").write_text("secret\n")
    async with peer(scripted([ok(b"0")])) as there:
        words = ("download", there.url + "x", "-H", "X-Key: k", "--token-file", tmp_path / "token")
        assert 0 == (await command.run(*words, cwd=tmp_path)).code
    assert ("k", "Bearer secret") == (there.asked[0].headers["X-Key"], there.asked[0].headers["Authorization"])


async def test_help(command: Command) -> None:
    """Every flag is explained, and what the exit codes mean."""
    done = await command.run("download", "--help")
    assert all(word in done.out for word in ("--output", "--overwrite", "--limit-rate", "--ca-file", "Exit codes"))
