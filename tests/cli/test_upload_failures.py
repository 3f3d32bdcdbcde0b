"""`tusd-py upload`: what is said, and which exit code there is, when files do not arrive."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

import tusd_py
from tests.cli.commands import BODY, SLOWLY, Command, write
from tests.support.servers import Target, running
from tusd_py.cli import main
from tusd_py.cli.transfer_options import explain, together
from tusd_py.client import errors
from tusd_py.client.client import Client


@contextlib.asynccontextmanager
async def _answering(status: int, **options: Any) -> AsyncIterator[str]:
    """Run a server that answers everything alike; yield the URL of its uploads."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, **options)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    async with running(app) as url:
        yield f"{url}/files/"


def _refusing() -> str:
    """Return the URL of a server that does not run."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/files/"


async def test_a_closed_standard_input_is_told(command: Command, uploads_server: Target) -> None:
    """Nothing else is read in its place."""
    words = f'exec "$0" -m tusd_py upload - {uploads_server.url} <&-'
    done = await asyncio.to_thread(
        subprocess.run, ["/bin/sh", "-c", words, sys.executable], env=command.env, capture_output=True, check=False
    )
    assert (2, b"Error: standard input is closed\n") == (done.returncode, done.stderr)


async def test_one_file_does_not_take_the_others_with_it(
    command: Command, uploads_server: Target, tmp_path: Path
) -> None:
    """What is there arrives; each failure is one line; the exit code is theirs when they are of one kind."""
    there, folder, pipe = write(tmp_path, "there", b"x"), tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    os.mkfifo(pipe)
    done = await command.run("upload", "--quiet", folder, tmp_path / "gone", pipe, there, uploads_server.url)
    assert (2, 1) == (done.code, len(done.lines))
    assert [
        f"Error: {folder} is a folder; --recursive sends what is in it",
        f"Error: {tmp_path}/gone cannot be read: No such file or directory",
        f"Error: {pipe} is a pipe, not a file",
    ] == sorted(done.errors)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["ftp://a.example/"], "is no http:// or https:// URL"),
        (["file"], "is no http:// or https:// URL"),
        (["http://a b/"], "is no http:// or https:// URL"),
        (["http://a:0/"], "is no http:// or https:// URL"),
        (["http://a..example/"], "is no http:// or https:// URL"),
        (["-H", "nonsense", "http://a.example/"], "'nonsense': there is no ':' in it"),
        (["-H", "Upload-Offset: 5", "http://a.example/"], "this header belongs to the protocol"),
        (["-H", "A: 1", "-H", "a: 2", "http://a.example/"], "a name is given twice"),
        (["-H", "A: \n", "http://a.example/"], "a header has printable ASCII only"),
        (["-m", "a b=c", "http://a.example/"], "a key is not empty, in printable ASCII, and has no space"),
        (["--jobs", "0", "http://a.example/"], "'0' is too small; it must be at least 1"),
        (["--limit-rate", "fast", "http://a.example/"], "'fast' is not a size"),
        (["--retry-for", "x", "http://a.example/"], "'x' is not a duration"),
        (["--token-file", "/nowhere", "http://a.example/"], "--token-file '/nowhere': No such file or directory"),
        (["--token-file", "/dev/null", "http://a.example/"], "--token-file '/dev/null': there is no token in it"),
        (["--ca-file", "/nowhere", "http://a.example/"], "--ca-file '/nowhere': No such file or directory"),
        (["--ca-file", "/etc/passwd", "http://a.example/"], "--ca-file '/etc/passwd': there are no certificates"),
        (["-", "-", "http://a.example/"], "Standard input can be sent once."),
    ],
)
def test_what_is_not_right_is_said_before_anything_is_sent(flags: list[str], complaint: str) -> None:
    """With exit code 2."""
    result = CliRunner().invoke(main, ["upload", "/etc/hostname", *flags])
    assert 2 == result.exit_code
    assert complaint in " ".join(result.stderr.split())


@pytest.mark.parametrize("options", [{"status": 200, "text": "<html>"}, {"status": 302, "headers": {"Location": "/x"}}])
async def test_who_does_not_speak_tus_is_asked_for_one_file_only(
    command: Command, tmp_path: Path, options: dict[str, Any]
) -> None:
    """One line, however many files there are."""
    for number in range(20):
        write(tmp_path / "many", str(number), b"x")
    async with _answering(**options) as url:
        done = await command.run("upload", "-r", tmp_path / "many", url, "--jobs=1")
    assert 3 == done.code
    assert 1 == len([line for line in done.errors if line.startswith("Error: ")])
    assert "0 of 20 files arrived, 1 failed, 19 did not get their turn or were cut off" in done.errors[-1]


async def test_a_server_that_is_not_there_is_given_up(command: Command, tmp_path: Path) -> None:
    """Each attempt is told with its reason and the delay; then one line per file that waited, and exit code 4."""
    for number in range(20):
        write(tmp_path / "many", str(number), b"x")
    done = await command.run("upload", "-r", tmp_path / "many", _refusing(), "--retry-for=1s", "--jobs=1")
    told, complaint, _ = done.errors[:-2], done.errors[-2], done.errors[-1]
    assert 4 == done.code
    assert told[0].startswith(f"{tmp_path}/many/0: attempt 1 failed: ")
    assert "refused" in told[0]
    assert "; trying again in 0." in told[0]
    assert complaint.startswith(f"Error: {tmp_path}/many/0: nothing has gone forward for too long")


async def test_a_refusal_is_the_servers_own_sentence(command: Command, start_process: Any, tmp_path: Path) -> None:
    """With its code and status for programs."""
    target = await start_process(max_size="1MB")
    path = write(tmp_path, "file")
    done = await command.run("upload", path, target.url, "--json")
    failed, summary = done.events
    assert (3, 1) == (done.code, len(done.errors))
    assert {"event": "failed", "file": str(path), "code": "refused", "exit_code": 3, "status": 413}.items() <= (
        failed.items()
    )
    assert {"event": "summary", "files": 1, "arrived": 0, "failed": 1, "exit_code": 3}.items() <= summary.items()


async def test_a_file_that_grows_is_told(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """Nobody takes a mixture for the file."""
    path = write(tmp_path, "file")
    async with await command.start("upload", path, uploads_server.url, "--json", *SLOWLY) as running:
        await running.until_moving()
        with path.open("ab") as file:
            file.write(b"more")
        done = await running.end()
    assert 5 == done.code
    assert [f"Error: {path} grew from {len(BODY)} to {len(BODY) + 4} bytes while it was read"] == done.errors


async def test_a_certificate_that_proves_nothing_is_refused(command: Command, tmp_path: Path) -> None:
    """The line names the way out, and that is one."""
    request = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    made = [*request.split(), "-keyout", "key", "-out", "cert"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    app = web.Application()
    tusd_py.setup(app, "/files", data_dir=tmp_path / "data")
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        path, url = write(tmp_path, "file"), f"https://127.0.0.1:{runner.addresses[0][1]}/files/"
        refused = await command.run("upload", path, url, "--quiet")
        trusted = await command.run("upload", path, url, "--quiet", "--ca-file", tmp_path / "cert")
    finally:
        await runner.cleanup()
    assert (3, 1) == (refused.code, len(refused.errors))
    assert "--ca-file" in refused.err
    assert (0, 1) == (trusted.code, len(trusted.lines))


async def test_results_that_cannot_be_written_are_a_failure(
    command: Command, uploads_server: Target, tmp_path: Path
) -> None:
    """The files arrive all the same."""
    paths = [write(tmp_path, name, b"x") for name in "ab"]
    for flags in ([], ["--json"]):
        with open("/dev/full", "wb") as full:
            done = await command.run("upload", *paths, uploads_server.url, *flags, stdout=full)
        assert 1 == done.code
        assert "Error: the results cannot be written to standard output: No space left on device" == done.errors[-1]


def test_a_fault_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It names what happened, without a traceback, and the other files go on."""
    seen = []

    async def upload(self: Client, source: Path, **_: Any) -> None:
        seen.append(source)
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Client, "upload", upload)
    paths = [str(write(tmp_path, name)) for name in "ab"]
    result = CliRunner().invoke(main, ["upload", "--no-store", "--quiet", *paths, "http://127.0.0.1:1/"])
    assert 1 == result.exit_code
    assert paths == seen
    sentence = "ZeroDivisionError: by zero (this should not happen; please report it)"
    assert [f"Error: {path}: {sentence}" for path in paths] == result.stderr.splitlines()


def test_a_fault_around_the_files_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also when it is many faults at once."""

    async def enter(self: Client) -> Client:
        raise ExceptionGroup("several", [ZeroDivisionError("by zero"), KeyError("x")])

    monkeypatch.setattr(Client, "__aenter__", enter)
    result = CliRunner().invoke(main, ["upload", "--no-store", str(write(tmp_path, "a")), "http://127.0.0.1:1/"])
    assert 1 == result.exit_code
    assert "Error: ZeroDivisionError: by zero (this should not happen; please report it)\n" == result.stderr


def test_every_failure_has_an_exit_code_of_its_kind() -> None:
    """Each class of the library leads to the code that the help names; different ones together to 1."""
    codes = {
        kind.code: explain(kind("why") if kind is not errors.Refused else kind("why", status=403)).exit_code
        for kind in errors.TransferFailed.__subclasses__()
        if kind.__module__ == errors.__name__
    }
    assert codes == {
        "source-unusable": 2,
        "source-busy": 2,
        "destination-unusable": 2,
        "not-a-tus-server": 3,
        "untrusted": 3,
        "refused": 3,
        "gave-up": 4,
        "source-changed": 5,
        "not-verified": 6,
        "cannot-resume": 7,
        "store-unusable": 1,
    }
    assert (0, 4, 1) == (together([]), together([4, 4]), together([4, 3]))
