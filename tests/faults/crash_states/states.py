"""Every state in which a power cut may leave a data directory, and what the next start makes of it.

The server is recorded while it serves short stories (`workloads.py`); its calls are played on a file system that knows
what was synced (`simfs.py`). At any moment of the recording the power may go, or the process die: what is left is laid
out as a real directory, a server is started on it, and what it has then is compared with what was promised before.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.crash_states import tracing
from tests.faults.crash_states.simfs import Change, Directory, Fate, Names, SimFs
from tests.faults.crash_states.story import Story
from tests.faults.crash_states.tracing import Answered, Call, Connection, Tracer
from tests.faults.crash_states.workloads import Workload, tell
from tests.faults.lives import LAG, Lives

MOST = 256
"""States of one moment; with more changes on the way than that many selections, some are drawn."""
AT_ONCE = 4
"""Stories told at the same time."""


@dataclass
class Recording:
    """One story and all that its server did."""

    workload: Workload
    story: Story
    calls: list[tuple[Call, bool]]

    @property
    def name(self) -> str:
        return f"{self.workload.name} ({self.workload.level})"


@dataclass
class Moment:
    """A moment of a recording, just after something had changed or was told."""

    number: int
    fs: SimFs
    life: int = 0
    answered: set[Connection] = field(default_factory=set)
    """The connections to which an answer had begun to go."""
    noted: set[str] = field(default_factory=set)
    """The keys of the jobs that had begun."""
    told: bool = False
    """Whether it is one of those after which something was promised."""
    begun: bool = False
    """Whether there had been uploads."""


@dataclass(frozen=True)
class State:
    """What is left: of which moment, after which end, and how to have it again."""

    moment: Moment
    tree: dict[str, bytes | None]
    cut: bool
    """Whether the power went; else the process died."""
    how: str


async def record(workloads: Sequence[Workload], place: Path) -> list[Recording]:
    """Have all stories told by servers that are watched.

    A story is told once more when its recording does not lead to what is there: a process that is killed may do a last
    thing unseen.
    """
    recordings = await _record(workloads, place)
    if strange := [number for number, each in enumerate(recordings) if _differs(each)]:
        (place / "again").mkdir()
        for number, told in zip(
            strange, await _record([workloads[number] for number in strange], place / "again"), strict=True
        ):
            assert not (different := _differs(told)), f"{told.name}: {different}"
            recordings[number] = told
    return recordings


async def _record(workloads: Sequence[Workload], place: Path) -> list[Recording]:
    trace = place / "trace"
    async with _watched(place, trace) as lives:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, workload: Workload) -> Story:
            async with gate:
                return await tell(workload, lives, place / f"story-{number}")

        stories = await asyncio.gather(*(one(number, each) for number, each in enumerate(workloads)))
    calls = tracing.read(trace)
    trace.unlink()
    return [Recording(workload, story, _of(story, calls)) for workload, story in zip(workloads, stories, strict=True)]


@asynccontextmanager
async def _watched(place: Path, trace: Path) -> AsyncIterator[Lives]:
    process = await asyncio.create_subprocess_exec(
        *tracing.command(trace),
        *(sys.executable, "-W", "error", "-m", "tests.faults.lives"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    lives = Lives(process, place)
    lives.lag.write_bytes(bytes(LAG.size))
    listening = asyncio.create_task(lives.listen())
    try:
        yield lives
    finally:
        await lives.close()
        await listening


def _of(story: Story, calls: Sequence[tuple[Call, bool]]) -> list[tuple[Call, bool]]:
    """Return the calls that may concern a story."""
    connections = {request.connection for request in story.requests}
    paths = (str(story.place), str(story.lives.jobs))
    mine = {
        call for call, ended in calls if not ended and (call.connection in connections or any(map(call.touches, paths)))
    }
    return [(call, ended) for call, ended in calls if call in mine]


def moments(recording: Recording) -> Iterator[Moment]:
    """Play a recording and stop at every moment at which the power may go."""
    story = recording.story
    tracer = Tracer(story.place, story.lives.jobs, lambda name, start, end: _content(story, name, start, end))
    moment = Moment(0, tracer.fs, life=-1)
    for call, ended in recording.calls:
        told = tracer.step(call, ended)
        if told is False:
            continue
        moment.told = told is not True
        if isinstance(told, Answered):
            moment.answered.add(told.connection)
        elif isinstance(told, bytes):
            moment.noted.add(told.split()[1].decode())
        elif not ended and call.name == "pwrite64" and call.path(0) == str(story.data_dir / "lock"):
            moment.life += 1
        uploads = tracer.fs.find("data/uploads")
        moment.begun = moment.begun or (isinstance(uploads, Directory) and bool(uploads.live))
        moment.number += 1
        yield moment


def states(moment: Moment, count: int, seed: int) -> Iterator[State]:
    """Yield some of the states that a moment may leave, always beginning with those that show most."""
    pending = moment.fs.pending() if count else []
    seen: set[tuple[Fate, ...]] = set()
    for how, fate in _selections(pending, random.Random(f"{seed}/{moment.number}")):
        if count <= 0 or len(seen) >= MOST:
            return
        if fate is None:
            yield State(moment, moment.fs.alive(), cut=False, how=how)
            count -= 1
            continue
        chosen = tuple(map(fate, pending))
        if chosen in seen and Fate.TORN not in chosen:
            continue
        seen.add(chosen)
        yield State(moment, moment.fs.crash(fate, random.Random(f"{seed}/{moment.number}/{how}")), cut=True, how=how)
        count -= 1


Selection = tuple[str, Callable[[Change], Fate] | None]
"""What it is, and what becomes of each change; None = the process dies, which harms nothing."""


def _selections(pending: Sequence[Change], chance: random.Random) -> Iterator[Selection]:
    yield "nothing unsynced is left", lambda _: Fate.LOST
    yield "names are left", lambda change: Fate.KEPT if isinstance(change, Names) else Fate.LOST
    yield "names and sizes are left", lambda change: Fate.KEPT if isinstance(change, Names) else Fate.SIZE
    yield "killed", None
    yield "everything is left", lambda _: Fate.KEPT
    yield "bytes are left", lambda change: Fate.LOST if isinstance(change, Names) else Fate.KEPT
    yield "stale bytes", lambda change: Fate.KEPT if isinstance(change, Names) else Fate.STALE
    for number in range(4 * MOST if pending else 0):
        drawn = dict(zip(pending, _drawn(len(pending), chance), strict=True))
        yield f"drawn {number}", drawn.__getitem__


def _drawn(count: int, chance: random.Random) -> list[Fate]:
    """Draw fates: mostly kept but for a few, mostly lost but for a few, cut off at a moment, or anything."""
    some = chance.choices((Fate.LOST, Fate.SIZE, Fate.STALE, Fate.TORN, Fate.KEPT), (3, 1, 1, 3, 3), k=count)
    match chance.randrange(4):
        case 0:
            return [each if chance.random() < 1.5 / count else Fate.KEPT for each in some]
        case 1:
            return [each if chance.random() < 1.5 / count else Fate.LOST for each in some]
        case 2:
            end = chance.randrange(count)
            return [Fate.KEPT] * end + [some[end]] + [Fate.LOST] * (count - end - 1)
        case _:
            return some


def plan(recordings: Sequence[Recording], count: int, seed: int) -> list[Counter[int]]:
    """Share so many states out among the moments of all recordings: moments of promises come first."""
    chance = random.Random(seed)
    left = sorted(
        (chance.random() + (not moment.told), number, moment.number, _room(moment))
        for number, recording in enumerate(recordings)
        for moment in moments(recording)
        if moment.begun or recording.workload.from_start
    )
    shares: list[Counter[int]] = [Counter() for _ in recordings]
    while left and count > 0:
        for _, number, moment, _ in left[:count]:
            shares[number][moment] += 1
        count -= len(left)
        left = [each for each in left if shares[each[1]][each[2]] < each[3]]
    return shares


def _room(moment: Moment) -> int:
    """Return how many states a moment has at most; one is that of a killed process."""
    pending = moment.fs.pending()
    return 1 + min(2 ** len(pending), MOST) if all(isinstance(each, Names) for each in pending) else MOST


def _content(story: Story, name: str, start: int, end: int) -> bytes:
    upload = story.by_id(name)
    assert upload is not None, name
    return story.content(upload.key, start, end)


def _differs(recording: Recording) -> set[str]:
    """Return the paths at which the simulated file system has not come to what the real one has."""
    place = recording.story.place
    *_, last = moments(recording)
    simulated = last.fs.alive()
    real = {
        str(path.relative_to(place)): None if path.is_dir() else path.read_bytes()
        for path in place.rglob("*")
        if not path.name.endswith("-shm") and not path.is_socket()
    }
    # Nobody knows what a call has done in which the process died. Of the ballast only the size is in a trace.
    unknown = {call.path(0) for call, ended in recording.calls if not ended and call.result is None}
    return {
        path
        for path in real.keys() | simulated.keys()
        if real.get(path, b"-") != simulated.get(path, b"-")
        and not path.endswith("/ballast")
        and str(place / path) not in unknown
    }
