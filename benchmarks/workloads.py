"""What the servers are asked to do, with sizes, who takes part, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import local_limits
from benchmarks.client import Failed, Response, Script
from benchmarks.site import Outcome, Site, shared
from benchmarks.subjects import BEFORE, EMPTY, FSYNCED, NAIVE, NGINX, OURS, PEERS, SPLICE, SYNCED, UVLOOP
from benchmarks.tus import Source, one, place_of

KIB, MIB, GIB = 2**10, 2**20, 2**30
NONE, PATCH = OURS


@dataclass(frozen=True)
class Sizes:
    """How much of it."""

    size: int = 0
    """Bytes of one upload."""
    count: int = 1
    """Uploads or requests."""
    connections: int = 1
    piece: int = MIB
    """Bytes of one PATCH, where an upload is sent in several."""

    @property
    def space(self) -> int:
        """How many bytes lie on the disk at most while one subject works."""
        # A join keeps its parts.
        return self.size * self.connections * self.count * (2 if self.count > 1 else 1)


@dataclass(frozen=True)
class Target:
    """A ratio to reach: how many times better `subject` is than `against`."""

    subject: str
    against: str
    ratio: float
    metric: str = ""
    """Another one than that of the workload."""


@dataclass(frozen=True)
class Workload:
    """One thing that is measured."""

    name: str
    sentence: str
    run: Callable[[Site, Sizes], Outcome]
    full: Sizes
    quick: Sizes | None
    """None: left out by `--quick`."""
    metric: str
    """What the ratios are about: cpu (per byte), wall, or rate (operations per second)."""
    subjects: tuple[str, ...]
    limits: Mapping[str, Callable[[Source, Sizes, Path], Outcome]] = field(default_factory=dict)
    """What needs no server, measured by the harness itself."""
    targets: tuple[Target, ...] = ()
    prefers: tuple[str, ...] = ()
    """Extensions of tus that it uses; servers that lack them do without, which is said."""
    memory: int = 0
    """Most bytes of resident memory for each open upload beyond what the idle server has."""


def whole(site: Site, sizes: Sizes) -> Outcome:
    """Send each upload in one request, on its own connection."""
    if "put" in site.speaker.extensions:
        outcome = site.timed([one(site.speaker.put(f"/{next(site.turns)}", sizes.size), [])], size=sizes.size)
        site.check([], sizes.size)
        return outcome
    return _chunks(site, sizes, sizes.size)


def checksum(site: Site, sizes: Sizes) -> Outcome:
    """Send one upload in one PATCH, with its checksum where the server knows that."""
    if "checksum" not in site.speaker.extensions:
        return _chunks(site, sizes, sizes.size)
    return _chunks(site, sizes, sizes.size, f"Upload-Checksum: {site.speaker.source.digest(sizes.size)}")


def chunks(site: Site, sizes: Sizes) -> Outcome:
    """Send uploads piece by piece, each on its own connection."""
    return _chunks(site, sizes, sizes.piece)


def _chunks(site: Site, sizes: Sizes, piece: int, *more: str) -> Outcome:
    made = site.create(sizes.connections, sizes.size)
    scripts = [site.speaker.fill(path, sizes.size, piece, *more) for path in made]
    total = sizes.size * sizes.connections
    requests = sizes.connections * -(-sizes.size // piece)
    outcome = site.timed(scripts, size=total, operations=requests, uploads=sizes.connections)
    site.check(made, sizes.size)
    return outcome


def small_files(site: Site, sizes: Sizes) -> Outcome:
    """Upload small files, in one request each where the server can do that."""
    numbers, made = shared(sizes.count), site.made
    scripts: list[Script] = [site.speaker.files(numbers, sizes.size, made) for _ in range(sizes.connections)]
    outcome = site.timed(scripts, size=sizes.size * sizes.count, operations=sizes.count)
    site.check(made, sizes.size)
    return outcome


def join(site: Site, sizes: Sizes) -> Outcome:
    """Make one upload of partial ones; only the last request counts.

    Raises:
        Failed: The server has no concatenation.
    """
    if "concatenation" not in site.speaker.extensions:
        raise Failed("no concatenation")
    parts = site.create(sizes.count, sizes.size, "Upload-Concat: partial")
    for part in parts:
        site.fill(part, sizes.size)
    answers: list[Response] = []
    outcome = site.timed([one(site.speaker.join(parts), answers)], size=sizes.size * sizes.count)
    site.made.append(place_of(answers[0]))
    site.check(site.made[-1:], sizes.size * sizes.count)
    return outcome


def heads(site: Site, sizes: Sizes) -> Outcome:
    """Ask for uploads again and again, each connection for its own: some servers lock what they look at."""
    made, numbers = site.create(sizes.connections, MIB), shared(sizes.count)
    return site.timed([site.speaker.heads(numbers, path) for path in made], operations=sizes.count)


def creations(site: Site, sizes: Sizes) -> Outcome:
    """Announce uploads and send nothing."""
    numbers, made = shared(sizes.count), site.made
    scripts: list[Script] = [site.speaker.create(numbers, MIB, made) for _ in range(sizes.connections)]
    return site.timed(scripts, operations=sizes.count)


SERVERS = (*OURS, *BEFORE, *PEERS)
SMALL = (*OURS, UVLOOP, *BEFORE, *PEERS)
DURABLE = (*SYNCED.values(), FSYNCED)
"""Servers that promise what the level `patch` does, or, the last, the most of it that they can by themselves."""
AS_DURABLE = tuple(Target(PATCH, name, 1) for name in DURABLE)
MANY = (Target(NONE, "tusd", 2), Target(PATCH, "tusd", 2))

WORKLOADS = (
    Workload(
        "one-big-body", "One upload in one PATCH.", whole, Sizes(GIB), Sizes(256 * MIB), "cpu",
        (*SERVERS, *DURABLE, NAIVE, NGINX, SPLICE), {"dd": local_limits.dd},
        (
            Target(NONE, "tusd", 3), Target(NONE, "@tus/server", 4), Target(NONE, "tuspyserver", 3.5),
            Target(NONE, NAIVE, 2.5), Target(NONE, SPLICE, 0.9), Target(PATCH, "tusd", 2),
            Target(PATCH, "dd", 0.9, "wall"), *(replace(each, metric="wall") for each in AS_DURABLE),
        ),
    ),
    Workload(
        "checksum", "One upload in one PATCH with Upload-Checksum: sha256; servers without checksum do without.",
        checksum, Sizes(GIB), Sizes(256 * MIB), "wall", SERVERS, {"sha256": local_limits.sha256},
        (Target(NONE, "tusd", 1), Target(NONE, "sha256", 0.9)), ("checksum",),
    ),
    Workload(
        "chunks", "One upload in PATCHes of 1 MiB on one connection.", chunks, Sizes(64 * MIB), Sizes(32 * MIB), "cpu",
        (*SERVERS, *DURABLE, NAIVE),
        targets=(
            Target(NONE, "tusd", 2), Target(NONE, "@tus/server", 5),
            *(replace(each, metric="wall") for each in AS_DURABLE),
        ),
    ),
    Workload(
        "chunks-8", "Eight uploads in PATCHes of 1 MiB, each on its own connection.", chunks,
        Sizes(64 * MIB, connections=8), Sizes(16 * MIB, connections=8), "cpu", (*SERVERS, NAIVE),
        targets=(Target(NONE, "tusd", 2), Target(NONE, "@tus/server", 5)),
    ),
    Workload(
        "small-files", "Small files by creation-with-upload; by POST and PATCH where the server lacks it.",
        small_files, Sizes(10 * KIB, 10_000, 16), Sizes(10 * KIB, 1_000, 16), "rate", (*SMALL, *DURABLE, EMPTY),
        targets=(
            *(Target(level, peer, ratio) for level in OURS for peer, ratio in
              (("tusd", 1), ("@tus/server", 2), ("tuspyserver", 3))),
            Target(NONE, EMPTY, 0.6), *AS_DURABLE,
        ),
        prefers=("creation-with-upload",),
    ),
    Workload(
        "many-100", "100 uploads at a time, each in one PATCH on its own connection.", whole,
        Sizes(20 * MIB, connections=100), Sizes(2 * MIB, connections=100), "wall", SERVERS, targets=MANY,
        memory=300 * KIB,
    ),
    Workload(
        "join", "Four partial uploads become one; only the last POST counts.", join, Sizes(256 * MIB, 4),
        Sizes(32 * MIB, 4), "wall", (*OURS, *BEFORE, "tusd", "rustus"),
        {"copy_file_range": local_limits.copy_file_range}, (Target(NONE, "tusd", 2),),
    ),
    Workload(
        "tiny-chunks", "One upload in PATCHes of 1 KiB on one connection.", chunks, Sizes(2_000 * KIB, piece=KIB),
        Sizes(500 * KIB, piece=KIB), "rate", (*SMALL, *DURABLE, EMPTY), targets=AS_DURABLE,
    ),
    *(
        Workload(f"heads-{number}", f"HEAD, {number} at a time, each of an upload of its own.", heads,
                 Sizes(0, count, number), Sizes(0, count // 5, number), "rate", (*SMALL, EMPTY))
        for number, count in ((1, 5_000), (64, 20_000))
    ),
    *(
        Workload(f"creations-{number}", f"POST without body, {number} at a time.", creations, Sizes(0, count, number),
                 Sizes(0, count // 5, number), "rate", (*SMALL, EMPTY))
        for number, count in ((1, 2_500), (64, 10_000))
    ),
    # Last, as it removes thousands of files; those that make files should not come after it. Without rustus, which has
    # whole bodies in memory.
    Workload(
        "many-1000", "1000 uploads at a time, each in one PATCH on its own connection.", whole,
        Sizes(20 * MIB, connections=1000), None, "wall", tuple(name for name in SERVERS if name != "rustus"),
        targets=MANY, memory=300 * KIB,
    ),
)  # fmt: skip
