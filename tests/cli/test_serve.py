"""`tusd-py serve` as a process: what it prints, how it ends, how it refuses."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

READY = "You can now upload files to: "


@contextmanager
def _serving(data_dir: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tusd_py", "serve", "--port", "0", "--data-dir", str(data_dir), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            assert line.startswith(READY), line
            yield process, line.removeprefix(READY).strip()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_announces_itself_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    """I17: one flushed line on stdout when it listens; exit code 0 after one signal."""
    with _serving(tmp_path / "data") as (process, url):
        with urllib.request.urlopen(urllib.request.Request(url, method="OPTIONS")) as answer:
            assert "1.0.0" == answer.headers["Tus-Version"]
        process.send_signal(number)
        rest, _ = process.communicate()
    assert (0, "") == (process.returncode, rest)


def test_many_connections(tmp_path: Path) -> None:
    """The soft limit on file descriptors, often too low for a server, is raised to what is granted (reliability T7)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with _serving(tmp_path / "data") as (process, url):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            address = ("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
            with ExitStack() as connections:
                for _ in range(100):
                    connections.enter_context(socket.create_connection(address))
                with urllib.request.urlopen(urllib.request.Request(url, method="OPTIONS"), timeout=10) as answer:
                    assert 200 == answer.status
            process.terminate()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_json_log_has_one_object_per_line(tmp_path: Path) -> None:
    """Everything on stderr is JSON, whatever a client sends."""
    with _serving(tmp_path / "data", "--log-format", "json") as (process, url):
        request = urllib.request.Request(url, method="OPTIONS", headers={"User-Agent": "a\tb%s{}"})
        urllib.request.urlopen(request).close()
        process.terminate()
        _, log = process.communicate()
    records = [msgspec.json.decode(line) for line in log.splitlines()]
    assert "started" in [record.get("action") for record in records]


def test_second_server_is_refused_in_one_line(tmp_path: Path) -> None:
    """I16: two servers never share a data directory; the second ends with code 1 and says who holds it."""
    with _serving(tmp_path / "data") as (process, _):
        second = subprocess.run(
            [sys.executable, "-m", "tusd_py", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (1, "") == (second.returncode, second.stdout)
        assert [f"Error: another server uses this data directory (pid {process.pid}): {tmp_path / 'data'}"] == [
            line for line in second.stderr.splitlines() if line.startswith("Error")
        ]
        assert "Traceback" not in second.stderr


def test_port_in_use_is_refused_in_one_line(tmp_path: Path) -> None:
    """A taken port is an error of one line, code 1."""
    with _serving(tmp_path / "one") as (_, url):
        port = url.split(":")[2].split("/")[0]
        second = subprocess.run(
            [sys.executable, "-m", "tusd_py", "serve", "--port", port, "--data-dir", str(tmp_path / "two")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (1, "") == (second.returncode, second.stdout)
    assert "Error: cannot listen" in second.stderr
    assert "Traceback" not in second.stderr


def test_uvloop_that_is_not_there(tmp_path: Path) -> None:
    """An event loop that is asked for and cannot be had is refused with a line that says what to install."""
    (tmp_path / "uvloop.py").write_text("raise ImportError", encoding="utf-8")
    command = [sys.executable, "-m", "tusd_py", "serve", "--event-loop", "uvloop", "--data-dir", str(tmp_path / "data")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: event_loop: uvloop cannot be imported; install tusd-py[speed]\n"
    assert not (tmp_path / "data").exists()
