"""Who takes part: tusd-py, servers of other people, and limits that no tus server can pass."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.client import Failed, Request, Response, drive
from benchmarks.tus import Source, Speaker, one
from conformance import peers
from conformance.peers import NotRun, Peer

ROOT = Path(__file__).parents[1]
LIMITS = Path(__file__).parent / "limits"
LEVELS = ("none", "patch")
OURS = tuple(f"tusd-py {level}" for level in LEVELS)
UVLOOP = "tusd-py patch on uvloop"
BEFORE = tuple(f"before {level}" for level in LEVELS)
PEERS = ("tusd", "rustus", "@tus/server", "tuspyserver")
SYNCED = {name: f"{name}, every write synced" for name in ("tusd", "rustus")}
FSYNCED = "rustus --force-fsync"
SPLICE, NGINX, NAIVE, EMPTY = "splice sink", "nginx", "naive aiohttp", "empty aiohttp"


@dataclass(frozen=True)
class Choice:
    """What the command line says about who takes part."""

    peers_dir: Path
    """Where peers are installed and limits are built; kept between runs."""
    programs: dict[str, str]
    """Executables of peers."""
    before: str = ""
    """Another tusd-py to compare with: a Python that has it, or a directory with the repository."""
    remounts: bool = False
    """Whether the file system of the data may be mounted so that every write is synced."""


@dataclass(frozen=True)
class Subject:
    """A server that takes part, or why it does not."""

    name: str
    peer: Peer | None = None
    missing: str = ""
    stores: bool = True
    """Whether what is sent must be on disk afterwards."""
    fixed: frozenset[str] | None = None
    """Extensions of a server that cannot be asked."""
    heads: bool = True
    """Whether HEAD shows how far an upload is."""
    synced: bool = False
    """Whether every write to the file system is synced while it works."""


@dataclass
class Server:
    """A subject that runs."""

    subject: Subject
    peer: Peer
    pid: int
    speaker: Speaker
    data: Path


def _tusd_py(choice: Choice, level: str, *, before: bool = False, on_uvloop: bool = False) -> Subject:
    name = f"{'before' if before else 'tusd-py'} {level}"
    peer = peers.ours(choice.peers_dir)
    command = ["env", f"PYTHONPATH={ROOT}", *peer.command]
    if before:
        if not choice.before:
            return Subject(name, missing="--tusd-py was not given")
        path = Path(choice.before)
        if path.is_dir():
            command[1] = f"PYTHONPATH={path.resolve()}"
        else:
            command = [choice.before, *peer.command[1:]]
        asked = command[: command.index("serve")]
        peer = replace(peer, version=peers.run(*asked, "--version").rpartition(" ")[2])
    note = f"durability {level}"
    if on_uvloop:
        try:
            note += f"; uvloop {version('uvloop')}"
        except PackageNotFoundError:
            return Subject(UVLOOP, missing="uvloop is not installed")
        name, command = UVLOOP, [*command, "--event-loop", "uvloop"]
    return Subject(name, replace(peer, command=[*command, "--durability", level], note=note))


def _peer(name: str, choice: Choice) -> Subject:
    place = choice.peers_dir / re.sub(r"\W+", "-", name).strip("-")
    if name == "tusd":
        return Subject(name, peers.tusd(place, choice.programs.get(name, name)))
    if name == "rustus":
        return Subject(name, peers.rustus(place, choice.programs.get(name, name)))
    place.mkdir(parents=True, exist_ok=True)
    peer = peers.PEERS[name](place)
    if name == "tuspyserver":
        # uvicorn takes the faster loop and parser when they are there: what its users are told to install.
        python = place / "bin" / "python"
        if not list(place.glob("lib/*/site-packages/uvloop")):
            peers.run(python, "-m", "pip", "install", "-q", "uvloop", "httptools")
        said = "from importlib.metadata import version as v; print(', '.join(f'{n} {v(n)}' for n in %r))"
        more = peers.run(python, "-c", said % (["uvicorn", "uvloop", "httptools"],))
        peer = replace(peer, version=f"{peer.version}, {more}")
    return Subject(name, peer)


def _synced(name: str, choice: Choice) -> Subject:
    if not choice.remounts:
        return Subject(SYNCED[name], missing="--remount was not given")
    subject = _peer(name, choice)
    assert subject.peer is not None
    return replace(subject, name=SYNCED[name], peer=replace(subject.peer, note="mount -o sync"), synced=True)


def _fsynced(choice: Choice) -> Subject:
    rustus = _peer("rustus", choice)
    assert rustus.peer is not None
    peer = replace(
        rustus.peer, command=[*rustus.peer.command, "--force-fsync"], note="syncs bytes, no names and no offsets"
    )
    return replace(rustus, name=FSYNCED, peer=peer)


def _aiohttp(name: str, script: str) -> Subject:
    command = [sys.executable, str(LIMITS / script), "{port}", "{data}"]
    return Subject(
        name, Peer(name, command, f"aiohttp {version('aiohttp')}"), stores=name != EMPTY,
        fixed=frozenset({"creation-with-upload"} if name == EMPTY else ()),
    )  # fmt: skip


def _splice(choice: Choice) -> Subject:
    compiler = peers.found("cc")
    choice.peers_dir.mkdir(parents=True, exist_ok=True)
    program, source = choice.peers_dir / "splice_sink", LIMITS / "splice_sink.c"
    peers.run(compiler, "-O2", "-pthread", "-o", program, source)
    about = peers.run(compiler, "--version").partition("\n")[0]
    return Subject(SPLICE, Peer(SPLICE, [str(program), "{port}", "{data}"], about), fixed=frozenset(), heads=False)


def _nginx() -> Subject:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx") or peers.found("nginx")
    command = [sys.executable, str(LIMITS / "nginx_dav.py"), "{port}", "{data}", program]
    # It says its version on stderr only.
    about = peers.run("sh", "-c", 'exec "$0" -v 2>&1', program).rpartition("/")[2]
    return Subject(NGINX, Peer(NGINX, command, about, path="/"), fixed=frozenset({"put"}), heads=False)


MAKERS: dict[str, Callable[[Choice], Subject]] = {
    **{f"tusd-py {level}": functools.partial(_tusd_py, level=level) for level in LEVELS},
    UVLOOP: functools.partial(_tusd_py, level="patch", on_uvloop=True),
    **{f"before {level}": functools.partial(_tusd_py, level=level, before=True) for level in LEVELS},
    **{name: functools.partial(_peer, name) for name in PEERS},
    **{synced: functools.partial(_synced, name) for name, synced in SYNCED.items()},
    FSYNCED: _fsynced,
    SPLICE: _splice,
    NGINX: lambda _: _nginx(),
    NAIVE: lambda _: _aiohttp(NAIVE, "naive_aiohttp.py"),
    EMPTY: lambda _: _aiohttp(EMPTY, "empty_aiohttp.py"),
}


def find(name: str, choice: Choice) -> Subject:
    """Return a subject, installed or built; one that cannot be had says why."""
    try:
        return MAKERS[name](choice)
    except NotRun as reason:
        return Subject(name, missing=str(reason))


@contextlib.contextmanager
def serving(subject: Subject, source: Source, place: Path) -> Iterator[Server]:
    """Run a subject until the block ends, then give back the space that it took.

    Raises:
        NotRun: It did not start.
    """
    if subject.peer is None:
        raise NotRun(subject.missing)
    place.mkdir()
    try:
        with peers.started(subject.peer, place) as (pid, port):
            speaker = Speaker(("127.0.0.1", port), subject.peer.path, source, subject.peer.metadata)
            known = _extensions(speaker) if subject.fixed is None else subject.fixed
            yield Server(subject, subject.peer, pid, replace(speaker, extensions=known), place / "data")
    except NotRun as reason:
        said = (place / "log").read_text(errors="replace").strip().splitlines()
        raise NotRun(f"{reason}: {said[-1]}" if said else str(reason)) from None
    finally:
        # Emptied, not removed: ext4 without a journal passes over inodes that were freed in the last minutes, one by
        # one, and whoever makes files next would pay for that.
        for path in (place / "data").rglob("*"):
            if path.is_file():
                os.truncate(path, 0)


def _extensions(speaker: Speaker) -> frozenset[str]:
    host, port = speaker.address
    asked = f"OPTIONS {speaker.path} HTTP/1.1\r\nHost: {host}:{port}\r\nTus-Resumable: 1.0.0\r\n\r\n".encode()
    answers: list[Response] = []
    try:
        drive(speaker.address, [one(Request(asked, (200, 204)), answers)])
    except Failed as failed:
        raise NotRun(f"OPTIONS: {failed}") from None
    return frozenset(each.strip() for each in answers[0].header(b"Tus-Extension").split(","))
