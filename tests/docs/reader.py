"""A reader who types what a page says, block by block, in one empty directory.

`tusd-py serve` and an application's `web.run_app` become processes on a free port, and the default address in a block
becomes theirs. Installing is left out: `.ci/run` does it with the README's own commands. Shell variables in lower case
live until the end of the page, as they do in a terminal.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.docs.blocks import ROOT, Block
from tests.support.servers import READY

DEFAULT = "127.0.0.1:8080"
PATIENCE = 30
INSTALLS = re.compile(r"^(python3 -m venv|pip install|\.venv/bin/pip|\.venv/bin/pytest)")
SERVES = re.compile(r"\btusd-py serve\b(?!.*--help)")
RUNS_APP = re.compile(r"^web\.run_app\(", re.MULTILINE)
MOUNTED = re.compile(r'setup\(\w+, "([^"]+)"')
APP_READY = "======== Running on "

KEEP_VARIABLES = "trap 'declare -p | grep -E \"^declare -- [a-z]\" > .variables || true' EXIT"
RUN_ON_FREE_PORT = """
import runpy, sys
from aiohttp import web
run_app = web.run_app
def announce(text):
    print(text, flush=True)
web.run_app = lambda app, **options: run_app(
    app, **{**options, "host": "127.0.0.1", "port": 0, "print": announce, "reuse_port": None})
runpy.run_path(sys.argv[1], run_name="__main__")
"""


class Reader:
    """One page's terminal. Ends every process that it started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._server: subprocess.Popen[str] | None = None
        self._log: IO[bytes] = (directory / ".log").open("wb")
        self._address = DEFAULT
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        own["XDG_STATE_HOME"] = str(directory / ".state")
        self._env = kept | own

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._log.close()

    def follow(self, block: Block) -> None:
        """Do what a block says; fail as it fails."""
        if block.language == "python":
            self._python(block.text)
            return
        commands, expected = commands_and_output(block.text)
        script: list[str] = []
        output = ""
        for typed in commands:
            left = [each for each in typed.split(" && ") if not INSTALLS.match(each)]
            command = " && ".join(left).replace(".venv/bin/", "")
            if SERVES.search(command):
                output += self._bash(script)
                script = []
                self._serve(command)
            elif command:
                script.append(command)
        output += self._bash(script)
        check_output(expected, output.replace(self._address, DEFAULT))

    def stop(self) -> None:
        """Stop the running server, which must end cleanly."""
        server, self._server = self._server, None
        if server is None:
            return
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(PATIENCE)
        finally:
            if server.poll() is None:
                server.kill()
            assert server.stdout is not None
            server.stdout.close()
        assert 0 == code, (self.directory / ".log").read_text(errors="replace")

    def _bash(self, script: list[str]) -> str:
        text = "\n".join(script)
        if not text.strip():
            return ""
        lines = ["set -euo pipefail", "[ ! -f .variables ] || . ./.variables", KEEP_VARIABLES, self._here(text)]
        done = subprocess.run(
            ["bash", "-c", "\n".join(lines)],
            cwd=self.directory,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert 0 == done.returncode, f"{text}\n{done.stdout}"
        return done.stdout

    def _python(self, text: str) -> None:
        file = self.directory / "snippet.py"
        if RUNS_APP.search(text):
            file.write_text(text)
            self.stop()
            ready = self._start([sys.executable, "-W", "error", "-c", RUN_ON_FREE_PORT, str(file)], APP_READY)
            self._address = re.findall(r"127\.0\.0\.1:\d+", ready)[0]
            self._try_uploads(text)
            return
        file.write_text(self._here(text))
        done = subprocess.run(
            # tuspy leaves its files and sessions to the garbage collector.
            [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", str(file)],
            cwd=self.directory,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert 0 == done.returncode, f"{text}\n{done.stdout}{done.stderr}"

    def _serve(self, command: str) -> None:
        """Start the server of a page; there is one at a time."""
        self.stop()
        command = SERVES.sub("exec tusd-py serve --port 0 ", command)
        ready = self._start(["bash", "-c", command], READY)
        if found := re.findall(r"(?<=//)[\w.]+:\d+", ready):
            self._address = found[0]

    def _start(self, command: list[str], ready: str) -> str:
        """Start a process and return the line by which it says that it is ready."""
        self._server = subprocess.Popen(
            command, cwd=self.directory, env=self._env, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line.startswith(ready), line + (self.directory / ".log").read_text(errors="replace")
        return line

    def _here(self, text: str) -> str:
        """Return a text with the address of the running server; one with default settings is started if needed."""
        if DEFAULT in text and self._server is None:
            self._serve("tusd-py serve")
        return text.replace(DEFAULT, self._address)

    def _try_uploads(self, text: str) -> None:
        """Every mount of an application takes an upload."""
        for prefix in MOUNTED.findall(text):
            request = urllib.request.Request(
                f"http://{self._address}{re.sub(r'{[^}]+}', '7', prefix)}",
                data=b"hello",
                method="POST",
                headers={
                    "Tus-Resumable": "1.0.0",
                    "Upload-Length": "5",
                    "Content-Type": "application/offset+octet-stream",
                    "Authorization": "Bearer secret",
                },
            )
            with contextlib.closing(urllib.request.urlopen(request, timeout=PATIENCE)) as answer:
                assert (201, "5") == (answer.status, answer.headers["Upload-Offset"])


def commands_and_output(text: str) -> tuple[list[str], list[str]]:
    """Return what is typed, and the lines that a page shows as the answer: without `$` all of it is typed."""
    text = text.replace("\\\n", "\\\0")
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        commands = [line for line in lines if line.strip()]
        return [line.replace("\0", "\n") for line in commands], []
    typed = [line.removeprefix("$ ").replace("\0", "\n") for line in lines if line.startswith("$ ")]
    return typed, [line for line in lines if line.strip() and not line.startswith("$ ")]


def check_output(expected: list[str], output: str) -> None:
    """Every line that a page shows comes in this order; `...` stands for anything, case and spaces do not count."""
    lines = iter(output.splitlines())
    for line in expected:
        words = [r"\s+".join(map(re.escape, piece.split())) for piece in line.split("...")]
        pattern = re.compile(r".*".join(words), re.IGNORECASE)
        assert any(pattern.search(found.strip()) for found in lines), f"{line!r} is not in:\n{output}"
