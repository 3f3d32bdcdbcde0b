"""Commands that upload one large file, in turns, each against a server that stays up; and what each of them took."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.client import Failed, drive
from benchmarks.measure import cpu_of, steal, tree
from benchmarks.options import tell
from benchmarks.rounds import calm_down
from benchmarks.subjects import LEVELS, NGINX, ROOT, Choice, Server, Subject, find, serving
from benchmarks.tus import Source
from conformance.peers import NotRun, run

OURS, PARALLEL, TUSPY, CURL = "tusd-py upload", "tusd-py upload --parallel 4", "tuspy", "curl -T"
_KIB = 2**10


@dataclass(frozen=True)
class Uploader:
    """A command; FILE and URL are what it is given."""

    name: str
    command: tuple[str, ...]
    version: str
    note: str = ""
    server: str = "tusd-py"


@dataclass
class Outcome:
    """What one upload took. Seconds and bytes."""

    wall: float
    """From the start of the command to its end."""
    bytes: int
    cpu: float
    """CPU time of the command."""
    server: float
    """CPU time of the server."""
    peak: int
    """Most resident bytes of the command."""
    steal: float


def uploaders() -> Iterator[Uploader | tuple[str, str]]:
    """Yield who takes part, or a name and why it does not."""
    ours = (sys.executable, "-m", "tusd_py", "upload", "--no-store", "--quiet")
    yield Uploader(OURS, (*ours, "FILE", "URL"), version("tusd-py"))
    yield Uploader(PARALLEL, (*ours, "--parallel", "4", "FILE", "URL"), version("tusd-py"))
    script = str(Path(__file__).with_name("tuspy_upload.py"))
    yield Uploader(TUSPY, (sys.executable, script, "FILE", "URL"), version("tuspy"), "chunks of 64 MiB")
    curl = shutil.which("curl")
    if curl is None:
        yield CURL, "there is no curl"
        return
    said = run(curl, "--version").split()[1]
    yield Uploader(CURL, (curl, "-sS", "--fail", "-T", "FILE", "URL"), said, "PUT: nothing to resume", NGINX)


def measure(size: int, rounds: int, place: Path, source: Source) -> dict[str, Any]:
    """Upload a file by each command, at each level of durability where the server has such.

    Raises:
        Failed: An upload did not arrive.
    """
    choice = Choice(place / "peers", {})
    who = list(uploaders())
    rows: list[dict[str, Any]] = []
    missing = dict(each for each in who if isinstance(each, tuple))
    for level in LEVELS:
        with contextlib.ExitStack() as stack:
            found: list[tuple[Uploader, Server, list[dict[str, Any]]]] = []
            servers: dict[str, Server] = {}
            for each in who:
                # nginx syncs nothing, whatever is asked of tusd-py.
                if isinstance(each, tuple) or (each.server == NGINX and level != LEVELS[0]):
                    continue
                name = NGINX if each.server == NGINX else f"{each.server} {level}"
                try:
                    if name not in servers:
                        directory = place / name.replace(" ", "-")
                        servers[name] = stack.enter_context(serving(_roomy(find(name, choice)), source, directory))
                except NotRun as reason:
                    missing[each.name] = str(reason)
                    continue
                outcomes: list[dict[str, Any]] = []
                said = f"{each.note}; " * bool(each.note) + f"to {name} {servers[name].peer.version}"
                rows.append(
                    {"subject": each.name, "version": each.version, "note": said, "level": level, "rounds": outcomes}
                )
                found.append((each, servers[name], outcomes))
            for number in range(rounds):
                for uploader, server, outcomes in found:
                    outcome = _upload(uploader, server, source, size)
                    outcomes.append(asdict(outcome))
                    tell(f"durability {level} round {number + 1} {uploader.name}: {outcome.wall:.2f} s")
    return {"size": size, "rows": rows, "missing": missing}


def _roomy(subject: Subject) -> Subject:
    """Return a server that takes a file of any size; as one of several that are compared, it has a limit."""
    if subject.peer is None or subject.name == NGINX:
        return subject
    return replace(subject, peer=replace(subject.peer, command=[*subject.peer.command, "--max-size", "none"]))


def _upload(uploader: Uploader, server: Server, source: Source, size: int) -> Outcome:
    host, port = server.speaker.address
    url = f"http://{host}:{port}{server.speaker.path}"
    named = {"FILE": source.name, "URL": f"{url}upload" if uploader.server == NGINX else url}
    before = _on_disk(server.data)
    calm_down()
    # A machine's own settings must not change what is measured.
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    pids, stolen = tree(server.pid), steal()
    served, began = cpu_of(pids), time.perf_counter()
    child = subprocess.Popen(
        [named.get(word, word) for word in uploader.command], stdout=subprocess.PIPE, text=True,
        env=clean | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert child.stdout is not None
    said = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    outcome = Outcome(
        wall, size, used.ru_utime + used.ru_stime, cpu_of(pids) - served, used.ru_maxrss * _KIB, steal() - stolen
    )
    if child.returncode != 0 or _on_disk(server.data) - before < size:
        raise Failed(f"{uploader.name} ended with {child.returncode}, and not all bytes are on disk")
    _clear(uploader, server, said.split())
    return outcome


def _on_disk(data: Path) -> int:
    return sum(each.stat().st_size for each in data.rglob("*") if each.is_file())


def _clear(uploader: Uploader, server: Server, said: Sequence[str]) -> None:
    """Give the space back, so that each upload finds as much of it."""
    if uploader.server == NGINX:
        (server.data / "files" / "upload").unlink()
        return
    drive(server.speaker.address, [server.speaker.remove([urlsplit(said[0]).path])])
    # Parts that were put together stay until they expire.
    for each in (server.data / "uploads").rglob("*"):
        if each.is_file():
            os.truncate(each, 0)
