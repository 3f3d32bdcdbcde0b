"""Short stories of one upload or a few, each told to a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.crash_states.story import WRONG, Story, level_of
from tests.faults.lives import Lives
from tests.support.servers import WAYS_OF_BODIES

Tell = Callable[[Story], Awaitable[None]]


@dataclass(frozen=True)
class Workload:
    """One story and the settings of its server."""

    name: str
    tell: Tell
    settings: Mapping[str, Any] = field(default_factory=dict)
    from_start: bool = False
    """Whether the first start of the server is a part of it."""

    @property
    def level(self) -> str:
        return level_of(self.settings)


async def create(story: Story) -> None:
    await story.create("a", 1000)
    await story.create("b", None)
    await story.create("empty", 0)
    await story.until_done("empty")


async def create_with_bodies(story: Story) -> None:
    await story.create("whole", 3000, 3000)
    await story.create("some", 9000, 3000)
    await story.create("large", 150_000, 120_000)
    await story.create("largest", 70_000, 70_000)
    await story.until_done("whole", "largest")


async def create_together(story: Story) -> None:
    bodies = [0, 2000, 3000, 500, 3000, 3000]
    await asyncio.gather(*(story.create(f"u{number}", 3000, body) for number, body in enumerate(bodies)))
    await story.patch("u1", 2000, 1000)


async def patches(story: Story) -> None:
    await story.create("a", 5000)
    for at, size in ((0, 700), (700, 2300), (3000, 2000)):
        await story.patch("a", at, size)
        assert await story.head("a") == at + size
    await story.until_done("a")


async def large_patches(story: Story) -> None:
    await story.create("a", 300_000)
    await story.patch("a", 0, 180_000)
    await story.patch("a", 180_000, 120_000)
    await story.until_done("a")


async def deletions(story: Story) -> None:
    await story.create("open", 5000)
    await story.patch("open", 0, 3000)
    await story.create("done", 3000, 3000)
    await story.delete("open")
    await story.until_done("done")
    await story.delete("done")
    await story.create("next", 100)


async def concatenation(story: Story) -> None:
    await story.create("one", 3000, 3000, partial=True)
    await story.create("two", 2500, partial=True)
    await story.patch("two", 0, 2500)
    await story.concat("both", "one", "two")
    await story.delete("one")
    await story.until_done("both")


async def expiry(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.create("b", 5000, 2000)
    await story.until_row("a", "id is null")
    await story.until_row("b", "id is null")


async def settling(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.until_row("a", "synced_offset = 3000")
    await story.patch("a", 3000, 1000)
    await story.create("b", 3000, 3000)
    await story.until_row("b", "synced_offset = 3000")
    await story.delete("b")


async def journaled(story: Story) -> None:
    settled = "not exists (select 1 from journal)"
    await story.create("a", 9000)
    await story.patch("a", 0, 3000)
    await story.create("b", 3000, 3000)
    await story.until_row("b", settled)
    await story.patch("a", 3000, 2000)
    await story.delete("b")
    await story.create("c", 4000, 1000)
    await story.patch("c", 1000, 3000)
    await story.patch("a", 5000, 4000)
    await story.until_row("a", settled)
    await story.until_done("a", "c")


async def mismatch(story: Story) -> None:
    await story.create("a", 9000)
    await story.patch("a", 0, 2000)
    checksum = {"Upload-Checksum": "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="}
    answer = await story.patch("a", 2000, 5000, headers=checksum, writer=WRONG)
    assert answer is not None
    assert answer.status == 460, answer
    await story.patch("a", 2000, 7000)
    await story.until_done("a")


async def killed(story: Story, *, reboot: bool = False) -> None:
    await story.create("a", 200_000)
    await story.patch("a", 0, 10_000)
    await story.patch("a", 10_000, 100_000, cut=partial(story.until_size, "a", 60_000))
    await story.begin(reboot=reboot)
    offset = await story.head("a")
    await story.patch("a", offset, 200_000 - offset)
    await story.until_done("a")


async def shortened(story: Story) -> None:
    await story.create("a", None)
    await story.patch("a", 0, 1000)
    await story.patch("a", 1000, 90_000, cut=partial(story.until_size, "a", 50_000))
    await story.begin()
    offset = await story.head("a")
    await story.patch("a", offset, 500, headers={"Upload-Length": str(offset + 500)})


async def stopped(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    assert story.life is not None
    assert await story.life.end() == 0
    await story.begin(reboot=True)
    offset = await story.head("a")
    await story.patch("a", offset, 5000 - offset)
    await story.until_done("a")


async def raised(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.until_row("a", "synced_offset = 3000")
    # What the first life committed was not synced, and must be before the second one shows it.
    await story.begin(durability="patch", sweep_interval=60)
    assert await story.head("a") == 3000
    await story.patch("a", 3000, 2000)


async def agreed(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.patch("a", 3000, 2000)
    await story.create("whole", 3000, 3000)
    await story.create("part", 3000, partial=True)
    await story.patch("part", 0, 3000)
    await story.concat("both", "part", "part")
    await story.until_done("a", "whole", "both")


async def refused(story: Story) -> None:
    await story.create("a", 5000)
    story.uploads["a"].refused = True
    await story.patch("a", 0, 3000)
    answer = await story.patch("a", 3000, 2000)
    assert answer is not None
    assert answer.status == 400, answer
    await story.create("b", 3000)


async def agreed_later(story: Story) -> None:
    await story.create("a", 5000)
    answer = await story.patch("a", 0, 5000)
    assert answer is not None
    assert answer.status == 500, answer
    await story.begin(agrees="yes")
    await story.until_done("a")
    assert await story.head("a") == 5000


async def told_of_ends(story: Story) -> None:
    await story.create("open", 5000)
    await story.patch("open", 0, 3000)
    await story.create("done", 3000, 3000)
    await story.until_done("done")
    await story.delete("open")
    await story.delete("done")
    await story.until_ended("open", "done")
    await story.create("next", 100)


READ, MOVED, DIRECT = WAYS_OF_BODIES["parsed"], WAYS_OF_BODIES["moved"], WAYS_OF_BODIES["direct"]
CHECKPOINTS = {"checkpoint_bytes": 40_000}
SYNCED = {"journal_up_to": "none"}
ASKED, TOLD = {"agrees": "yes"}, {"tells_ends": True}
WORKLOADS = (
    Workload("first start", create, from_start=True),
    Workload("patches", patches),
    Workload("patches", patches, {"durability": "none"}),
    Workload("patches that are synced", patches, SYNCED),
    Workload("moved patches with checkpoints", large_patches, MOVED | CHECKPOINTS),
    Workload("create with bodies", create_with_bodies, MOVED),
    Workload("create with bodies that are synced", create_with_bodies, SYNCED),
    Workload("journaled bodies", journaled, {"sweep_interval": 0.1}),
    Workload("create together", create_together),
    Workload("create together, synced", create_together, SYNCED),
    Workload("deletions", deletions),
    Workload("concatenation", concatenation),
    Workload("killed in a PATCH", killed, READ | CHECKPOINTS),
    Workload("shortened after a kill", shortened),
    Workload("raised after a kill", raised, {"durability": "none", "sweep_interval": 0.1}),
    Workload("agreed finish", agreed, ASKED),
    Workload("deletions that are told", told_of_ends, TOLD),
    # Up to here those for a quick look.
    Workload("agreed finish", agreed, ASKED | {"durability": "finish"} | READ),
    Workload("agreed finish", agreed, ASKED | {"durability": "none"}),
    Workload("agreed finish that is synced", agreed, ASKED | SYNCED),
    Workload("refused finish", refused, {"agrees": "no"}),
    Workload("refused finish", refused, {"agrees": "no", "durability": "finish"}),
    Workload("agreed in the next life", agreed_later, {"agrees": "fails"}),
    Workload("agreed in the next life", agreed_later, {"agrees": "fails", "durability": "finish"}),
    Workload("deletions that are told", told_of_ends, TOLD | {"durability": "finish"}),
    Workload("deletions that are told", told_of_ends, TOLD | {"durability": "none"}),
    Workload("create", create, {"durability": "finish"}),
    Workload("create with bodies", create_with_bodies, {"durability": "finish"} | READ),
    Workload("patches", patches, {"durability": "finish"}),
    Workload("patches that are synced", patches, {"durability": "finish"} | SYNCED),
    Workload("moved patches", large_patches, MOVED),
    Workload("read patches with checkpoints", large_patches, READ | CHECKPOINTS),
    Workload("patches read directly", large_patches, DIRECT | CHECKPOINTS),
    Workload("deletions", deletions, {"durability": "finish"}),
    Workload("deletions", deletions, {"durability": "none"}),
    Workload("concatenation", concatenation, {"durability": "none"}),
    Workload("expiry", expiry, {"expire_after": 0.3, "sweep_interval": 0.1}),
    Workload("settling", settling, {"durability": "none", "sweep_interval": 0.1}),
    Workload("checksum mismatch", mismatch, READ),
    Workload("killed in a PATCH", partial(killed, reboot=True), {"durability": "none"} | MOVED | CHECKPOINTS),
    Workload("stopped", stopped, {"durability": "none"}),
)
FEW = WORKLOADS[:17]


async def tell(workload: Workload, lives: Lives, place: Path) -> Story:
    """Tell a story from its beginning to the death of its server."""
    place.mkdir()
    story = Story(lives, place, workload.settings)
    await story.begin()
    await workload.tell(story)
    assert story.life is not None
    await story.life.kill()
    return story
