"""`tusd-py upload`: files, folders and pipes arrive at a server, and go on after whatever happened."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from click.testing import CliRunner

import tusd_py
from tests.cli.commands import BODY, SLOWLY, Command, Running, write
from tests.support.servers import Target, running
from tusd_py.cli import main
from tusd_py.client import errors
from tusd_py.client.client import Client
from tusd_py.client.records import Finished, OnEvent
from tusd_py.protocol.metadata import read_metadata


async def _metadata(url: str) -> dict[str, str]:
    async with aiohttp.request("HEAD", url, headers={"Tus-Resumable": "1.0.0"}) as answer:
        return read_metadata(answer.headers.get("Upload-Metadata", ""))


async def test_a_file_arrives_and_its_url_is_printed(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Standard output has the URL and nothing else; the server knows the name and has the bytes."""
    path = write(tmp_path, "some name.bin")
    done = await command.run("upload", path, uploads_server.url, "-m", "colour=dark blue")
    (url,) = done.lines
    assert 0 == done.code
    assert BODY == uploads_server.data_path(url).read_bytes()
    assert {"filename": "some name.bin", "colour": "dark blue"}.items() <= (await _metadata(url)).items()
    begun, arrived = done.errors
    assert f"{path}: begins, 3.0 MiB" == begun
    assert arrived.startswith(f"{path}: arrived, 3.0 MiB in ")


async def test_several_files_are_told_apart(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Each URL stands before the path it is of, with a tab between, and the sum comes at the end."""
    paths = [write(tmp_path, name, name.encode()) for name in ("a", "b\n", "empty")]
    done = await command.run("upload", *paths, uploads_server.url)
    found = dict(reversed(line.split("\t")) for line in done.lines)
    assert 0 == done.code
    assert {str(path).replace("\n", "\\n") for path in paths} == set(found)
    assert [b"a", b"b\n", b"empty"] == [uploads_server.data_path(url).read_bytes() for _, url in sorted(found.items())]
    assert done.errors[-1].startswith("3 of 3 files arrived; 8 B moved in ")


async def test_a_name_that_is_no_text_is_sent(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """A file can have any name, and --json stays JSON."""
    path = Path(os.fsdecode(os.fsencode(tmp_path / "folder") + b"/\xff.txt"))
    write(path.parent, path.name, b"x")
    done = await command.run("upload", "-r", path.parent, uploads_server.url, "--json")
    finished = next(event for event in done.events if event["event"] == "finished")
    assert 0 == done.code
    assert f"{path.parent}/\\xff.txt" == finished["file"]
    told = await _metadata(finished["url"])
    assert ("\ufffd.txt", "folder/\ufffd.txt") == (told["filename"], told["relativePath"])


async def test_a_folder_arrives_with_its_paths(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Each file says where in the folder it lies; a file and a link to it do not get into each other's way."""
    folder = tmp_path / "folder"
    names = ["a.txt", "sub/b.txt", "sub/deep/c.txt", *(f"sub/link{number}" for number in range(5))]
    for name in names[:3]:
        write(folder, name, name.encode())
    for name in names[3:]:
        (folder / name).symlink_to(folder / "a.txt")
    os.mkfifo(folder / "pipe")
    done = await command.run("upload", "--recursive", folder, uploads_server.url)
    assert 0 == done.code
    told = [(await _metadata(line.split("\t")[0]))["relativePath"] for line in done.lines]
    assert sorted(f"folder/{name}" for name in names) == sorted(told)
    assert f"left out: {folder}/pipe, which is not a regular file" == done.errors[0]


async def test_standard_input_arrives(command: Command, uploads_server: Target) -> None:
    """What a pipe brings is an upload, however long it is."""
    done = await command.run("upload", "-", uploads_server.url, "-m", "filename=dump", "--chunk-size=1MiB", data=BODY)
    (url,) = done.lines
    assert (0, BODY) == (done.code, uploads_server.data_path(url).read_bytes())
    assert "dump" == (await _metadata(url))["filename"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_upload_goes_on(
    command: Command, uploads_server: Target, tmp_path: Path, number: signal.Signals
) -> None:
    """It says that nothing is lost, ends as shells expect, and the same command sends only what is missing."""
    path = write(tmp_path, "file")
    async with await command.start("upload", path, uploads_server.url, "--json", *SLOWLY) as first:
        await first.until_moving(2**19)
        first.process.send_signal(number)
        interrupted = await first.end()
    assert 128 + number == interrupted.code
    assert ["interrupted; nothing that has arrived is lost, and the same command goes on from there"] == (
        interrupted.errors
    )
    done = await command.run("upload", path, uploads_server.url, "--json")
    resumed, finished = done.events[0], done.events[-2]
    assert ("resumed", "finished") == (resumed["event"], finished["event"])
    assert 0 < resumed["offset"] == len(BODY) - finished["sent"]
    assert BODY == uploads_server.data_path(finished["url"]).read_bytes()


async def test_a_killed_upload_goes_on(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Without any chance to say goodbye, too."""
    path = write(tmp_path, "file")
    async with await command.start("upload", path, uploads_server.url, "--json", *SLOWLY) as first:
        await first.until_moving(2**19)
        first.process.kill()
        await first.process.wait()
    done = await command.run("upload", path, uploads_server.url)
    assert 0 == done.code
    assert f"{path}: goes on at " in done.errors[0]
    assert BODY == uploads_server.data_path(done.out.strip()).read_bytes()


async def test_parts_of_a_file_go_on(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Sent in parts and interrupted, a file goes on in the same parts."""
    path = write(tmp_path, "file")
    async with await command.start("upload", path, uploads_server.url, "--json", "--parallel=3", *SLOWLY) as first:
        seen = await first.until_moving(2**19)
        first.process.send_signal(signal.SIGINT)
        await first.end()
    assert [3] == [event["parts"] for event in seen if event["event"] == "created"]
    done = await command.run("upload", path, uploads_server.url)
    assert 0 == done.code
    assert BODY == uploads_server.data_path(done.out.strip()).read_bytes()


async def test_nothing_is_promised_that_is_not_true(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Interrupted with --no-store it will not go on, and nothing was written anywhere; a pipe cannot go on either."""
    path = write(tmp_path, "file")
    async with await command.start("upload", path, uploads_server.url, "--json", "--no-store", *SLOWLY) as first:
        await first.until_moving()
        first.process.send_signal(signal.SIGINT)
        done = await first.end()
    assert (130, ["interrupted; nothing was remembered, so the same command begins anew"]) == (done.code, done.errors)
    assert not command.home.exists()
    words = ("upload", "-", uploads_server.url, "--chunk-size=1")
    async with await command.start(*words, stdin=asyncio.subprocess.PIPE) as second:
        assert second.process.stdin is not None
        assert second.process.stderr is not None
        second.process.stdin.write(b"x")
        assert b"standard input: begins, size not known yet\n" == await second.process.stderr.readline()
        second.process.send_signal(signal.SIGTERM)
        assert b"cannot be read again" in await second.process.stderr.readline()
        assert 143 == await second.process.wait()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
async def test_what_has_arrived_before_an_end_is_not_sent_again(
    command: Command, uploads_server: Target, tmp_path: Path, end: signal.Signals
) -> None:
    """Of several files the same command sends those that are missing, and tells the URLs of all; then it is done."""
    paths = [write(tmp_path, "a", bytes(2**18)), write(tmp_path, "b", b"x"), write(tmp_path, "c")]
    words = ["upload", *paths, uploads_server.url, "--json", "--jobs=1"]
    async with await command.start(*words, *SLOWLY) as first:
        await first.until_moving(2**19)
        first.process.send_signal(end)
        await first.end()
    second = await command.run(*words)
    assert 0 == second.code
    sent = {Path(event["file"]).name: event["sent"] for event in second.events if event["event"] == "finished"}
    assert (0, 0) == (sent["a"], 0 if end is signal.SIGKILL else sent["b"])
    assert 0 < sent["c"] < (tmp_path / "c").stat().st_size
    third = await command.run(*words)
    assert 2**18 == next(event["sent"] for event in third.events if event["event"] == "finished")


async def test_a_second_signal_ends_at_once() -> None:
    """Whatever the first one is still waiting for."""
    script = """
import asyncio
from tusd_py.cli.ending import interruptible
async def work():
    try:
        print("working", flush=True)
        await asyncio.sleep(1000)
    finally:
        print("ending", flush=True)
        await asyncio.sleep(1000)
asyncio.run(interruptible(work(), abandon=lambda: print("abandoned", flush=True)))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with Running(process):
        for said in (b"working\n", b"ending\n"):
            assert said == await process.stdout.readline()
            process.send_signal(signal.SIGINT)
        assert b"abandoned\n" == await process.stdout.read()
        assert 130 == await process.wait()


async def test_an_upload_that_is_gone_begins_anew(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Whoever removed it, and however long ago: that is told, and everything is sent."""
    path = write(tmp_path, "file")
    async with await command.start("upload", path, uploads_server.url, "--json", *SLOWLY) as first:
        seen = await first.until_moving()
        first.process.kill()
        await first.process.wait()
    (url,) = [event["url"] for event in seen if event["event"] == "created"]
    async with aiohttp.request("DELETE", url, headers={"Tus-Resumable": "1.0.0"}) as answer:
        assert 204 == answer.status
    done = await command.run("upload", path, uploads_server.url)
    assert 0 == done.code
    assert f"{path}: begins anew: " in done.errors[0]
    assert BODY == uploads_server.data_path(done.out.strip()).read_bytes()


async def test_a_token_that_is_renewed_is_used(command: Command, tmp_path: Path) -> None:
    """The file is read again before each request; whoever writes it anew need not hurry."""
    token = write(tmp_path, "token", b"old\n")
    seen = []

    @web.middleware
    async def check(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        if request.method == "POST":
            # Empty for a while, as it is when a shell writes it.
            token.write_bytes(b"" if len(seen) == 2 else b"new\n")
            if len(seen) < 4:
                return web.Response(status=503)
        return await handler(request)

    app = web.Application(middlewares=[check])
    tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    async with running(app) as url:
        done = await command.run("upload", write(tmp_path, "file"), f"{url}/files/", "--token-file", token)
    assert 0 == done.code
    assert ["Bearer old", "Bearer old", "Bearer old", "Bearer new", "Bearer new"] == seen


async def test_files_arrive_when_nothing_can_be_remembered(
    command: Command, uploads_server: Target, tmp_path: Path
) -> None:
    """That is said once, however many files there are, and nothing is promised that is not true."""
    paths = [write(tmp_path, "a", b"x"), write(tmp_path, "b")]
    env = command.env | {"XDG_STATE_HOME": "/dev/null/nowhere"}
    words = ["upload", *paths, uploads_server.url, "--jobs=1"]
    done = await command.run(*words, env=env)
    assert (0, 2, 1) == (done.code, len(done.lines), done.err.count("warning: "))
    async with await command.start(*words, *SLOWLY, "--json", env=env) as interrupted:
        await interrupted.until_moving(2**19)
        interrupted.process.send_signal(signal.SIGINT)
        done = await interrupted.end()
    assert (130, ["interrupted; nothing was remembered, so the same command begins anew"]) == (done.code, done.errors)


def test_files_arrive_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container, where nobody has one."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    async def upload(self: Client, source: Path, *, on_event: OnEvent, **_: Any) -> None:
        on_event(Finished(url="http://a.example/1", size=1, sent=1, seconds=1.0, verified=False))

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Client, "upload", upload)
    result = CliRunner().invoke(main, ["upload", str(write(tmp_path, "a")), "http://127.0.0.1:1/"])
    assert (0, "http://a.example/1\n") == (result.exit_code, result.stdout)
    assert "warning: uploads cannot be resumed by another run: " in result.stderr


def test_an_empty_folder_is_nothing_to_send(tmp_path: Path) -> None:
    """That is no failure."""
    result = CliRunner().invoke(main, ["upload", "-r", str(tmp_path), "http://127.0.0.1:1/"])
    assert (0, "", "there is nothing to send\n") == (result.exit_code, result.stdout, result.stderr)


def test_many_files_are_few_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However many files there are, only --jobs of them are begun."""
    for number in range(200):
        (tmp_path / str(number)).touch()
    tasks = []

    async def upload(self: Client, source: Path, **_: Any) -> None:
        tasks.append(len(asyncio.all_tasks()))
        raise errors.SourceUnusable("no")

    monkeypatch.setattr(Client, "upload", upload)
    CliRunner().invoke(main, ["upload", "-r", "--no-store", "--jobs=4", str(tmp_path), "http://127.0.0.1:1/"])
    assert 200 == len(tasks)
    assert max(tasks) <= 4 + 4


def test_a_server_needs_nothing_that_draws() -> None:
    """`tusd-py serve` does not load what only a terminal needs."""
    script = "import sys, tusd_py.cli.main; sys.exit('rich' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", script], check=False).returncode
