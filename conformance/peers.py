"""Run the suite against servers of other people and against tusd-py, and write RESULTS.md.

`python -m conformance.peers` installs @tus/server and tuspyserver into a temporary directory, and takes tusd and rustus
from PATH. What cannot be had is named with the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCRIPTS = HERE / "peer_servers"
RESULTS = HERE / "RESULTS.md"
LEVELS = ("MUST", "SHOULD", "DECISION")
DEMANDED = "filename eC50eHQ=,filetype dGV4dC9wbGFpbg=="
START, RUN = 30, 300


@dataclass(frozen=True)
class Peer:
    """A server: how it is named, and how it is started."""

    name: str
    command: list[str]
    version: str
    path: str = "/files/"
    metadata: str = ""
    note: str = ""


@dataclass
class Result:
    """What came out for one peer."""

    name: str
    version: str
    note: str = ""
    report: dict[str, Any] = field(default_factory=dict)

    def cell(self, section: str, level: str) -> str:
        """Return how many checks passed, failed and were not applicable."""
        words = ("passed", "failed", "not applicable")
        rows = [each for each in self.report["rows"] if each["level"] == level and section in (each["section"], "all")]
        counts = [sum(each["result"] == word for each in rows) for word in words]
        return " / ".join(str(count) for count in counts) if rows else ""

    def failures(self, *levels: str) -> Iterator[str]:
        """Return one line for each row that fails; several cases of a row are one line."""
        told: dict[tuple[str, str], list[dict[str, str]]] = {}
        for each in self.report["rows"]:
            if each["result"] == "failed" and each["level"] in levels:
                told.setdefault((each["id"], each["sentence"]), []).append(each)
        for (identifier, sentence), cases in told.items():
            first, more = cases[0], len(cases) - 1
            also = f" (and {more} more case{'s' * (more > 1)})" if more else ""
            seen = re.sub(r"(?:http://127\.0\.0\.1:\d+)?(/files/)?\b[0-9A-Za-z_-]{20,}\b", r"\1…", first["observed"])
            yield f"- `{identifier}` {first['level']}, {first['spec']}: {sentence}. Seen: {seen}{also}."


class NotRun(Exception):
    """A peer cannot be had here; the message says why."""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that must work and return what it printed."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=RUN, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRun(f"{command[0]} did not run: {type(error).__name__}") from None
    if done.returncode:
        raise NotRun(f"{Path(command[0]).name} ended with {done.returncode}")
    return done.stdout.strip()


def found(name: str) -> str:
    """Return where a program is."""
    if (path := shutil.which(name)) is None:
        raise NotRun(f"{name} is not on PATH")
    return path


def ours(_: Path) -> Peer:
    """The server of this repository."""
    version = run(sys.executable, "-m", "tusd_py", "--version").rpartition(" ")[2]
    flags = ["--port", "{port}", "--data-dir", "{data}", "--max-size", "1GiB"]
    return Peer("tusd-py", [sys.executable, "-m", "tusd_py", "serve", *flags], version)


def node(place: Path) -> Peer:
    """The reference server for Node."""
    names = ("@tus/server", "@tus/file-store")
    node, npm = found("node"), found("npm")
    if not (place / "node_modules").exists():
        run(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", place, *names, cwd=place)
    script = shutil.copy(SCRIPTS / "tus_node.mjs", place)
    packages = [json.loads((place / "node_modules" / name / "package.json").read_text())["version"] for name in names]
    version = f"{packages[0]}, file-store {packages[1]}, node {run(node, '--version').removeprefix('v')}"
    note = "The script keeps the process alive after an exception that nothing handles."
    return Peer("@tus/server", [node, str(script), "{port}", "{data}"], version, path="/files", note=note)


def tuspyserver(place: Path) -> Peer:
    """A server for FastAPI."""
    python = place / "bin" / "python"
    if not (place / "bin" / "uvicorn").exists():
        run(sys.executable, "-m", "venv", place)
        run(python, "-m", "pip", "install", "-q", "tuspyserver", "fastapi", "uvicorn")
    version = run(python, "-c", "from importlib.metadata import version; print(version('tuspyserver'))")
    note = f"Every upload has Upload-Metadata `{DEMANDED}`, because HEAD of this server needs it."
    command = [str(python), str(SCRIPTS / "tuspyserver_app.py"), "{port}", "{data}"]
    return Peer("tuspyserver", command, version, metadata=DEMANDED, note=note)


def tusd(_: Path, program: str = "tusd") -> Peer:
    """The reference server in Go."""
    program = found(program)
    flags = ["-host", "127.0.0.1", "-port", "{port}", "-upload-dir", "{data}", "-max-size", str(2**30)]
    return Peer("tusd", [program, *flags], run(program, "-version").split()[1])


def rustus(_: Path, program: str = "rustus") -> Peer:
    """A server in Rust."""
    program = found(program)
    flags = ["--host", "127.0.0.1", "--port", "{port}", "--data-dir", "{data}", "--info-dir", "{data}"]
    flags += ["--max-body-size", str(2**31)]  # else it refuses bodies of more than 256 KB
    # It cannot be asked for its version.
    digest = hashlib.sha256(Path(program).read_bytes()).hexdigest()
    return Peer("rustus", [program, *flags], f"sha256 of the program {digest[:12]}")


PEERS: dict[str, Callable[[Path], Peer]] = {
    "tusd-py": ours,
    "@tus/server": node,
    "tuspyserver": tuspyserver,
    "tusd": tusd,
    "rustus": rustus,
}


@contextmanager
def started(peer: Peer, place: Path) -> Iterator[tuple[int, int]]:
    """Run a peer on a free port, in a session of its own, until the block ends; yield process id and port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (place / "data").mkdir(mode=0o700)
    command = [each.format(port=port, data=place / "data") for each in peer.command]
    with (
        (place / "log").open("w") as log,
        subprocess.Popen(command, cwd=place, stdout=log, stderr=log, start_new_session=True) as child,
    ):
        try:
            until_it_listens(child, port)
            yield child.pid, port
        finally:
            child.terminate()
            try:
                child.wait(START)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)


@contextmanager
def running(peer: Peer, place: Path) -> Iterator[str]:
    """Run a peer until the block ends; yield its URL."""
    with started(peer, place) as (_, port):
        yield f"http://127.0.0.1:{port}{peer.path}"


def until_it_listens(child: subprocess.Popen[bytes], port: int) -> None:
    """Wait until somebody accepts connections."""
    end = time.monotonic() + START
    while time.monotonic() < end and child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise NotRun("it did not start")


def ask(name: str, make: Callable[[Path], Peer], place: Path) -> Result:
    """Install and start a peer, run the suite against it, and return what came out."""
    try:
        peer = make(place)
        with running(peer, place) as url:
            command = [sys.executable, "-m", "conformance", url, "--json", "-", "--metadata", peer.metadata]
            done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=RUN, check=False)
        if done.returncode not in (0, 1):
            raise NotRun(done.stderr.strip().splitlines()[-1])
    except NotRun as reason:
        return Result(name, f"NOT RUN: {reason}")
    return Result(name, peer.version, peer.note, json.loads(done.stdout))


def page(results: list[Result]) -> str:
    """Return RESULTS.md."""
    ran = [each for each in results if each.report]
    sections = list(dict.fromkeys(row["section"] for row in ran[0].report["rows"]))
    lines = ["# Results", "", "<!-- Generated by `make conformance-peers`. -->", ""]
    lines += ["The same questions to several servers, each with the settings of `peer_servers/` on one machine.", ""]
    lines += ["| server | version |", "|---|---|", *(f"| {each.name} | {each.version} |" for each in results), ""]
    lines += [f"- {each.name}: {each.note}" for each in ran if each.note]
    for level in LEVELS:
        same = "same / differs" if level == "DECISION" else "passed / failed"
        lines += ["", f"## {level}: {same} / not applicable", ""]
        if level == "DECISION":
            lines += ["What tusd-py decided where the protocol is silent. To differ is no fault.", ""]
        lines += ["| section | " + " | ".join(each.name for each in ran) + " |", "|---|" + "---|" * len(ran)]
        for section in [*sections, "all"]:
            cells = [each.cell(section, level) for each in ran]
            if any(cells):
                lines.append(f"| {section} | " + " | ".join(cells) + " |")
    lines += ["", "## Where servers leave the protocol", ""]
    for each in ran:
        lines += [f"### {each.name}", "", *(list(each.failures("MUST", "SHOULD")) or ["Nowhere that is asked."]), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Ask every peer and write the page; return 1 when tusd-py itself has a fault."""
    results = []
    with tempfile.TemporaryDirectory(prefix="tus-peers-") as root:
        for name, make in PEERS.items():
            place = Path(root) / re.sub(r"\W", "-", name)
            place.mkdir()
            result = ask(name, make, place)
            print(f"{name}: {result.version}", *(result.cell("all", level) for level in LEVELS if result.report))
            results.append(result)
    if not results[0].report:
        return 1
    RESULTS.write_text(page(results), encoding="utf-8")
    failed = [each["id"] for each in results[0].report["rows"] if each["result"] == "failed"]
    print(f"{RESULTS.name} is written." + (f" tusd-py fails {', '.join(failed)}." if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
