"""An application that decides about the uploads of real clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.interop.mounts import Mount
from tests.support.waiting import until
from tusd_py.models.hook import HookEvent, HookReply, Moment

MODES = ("embedded", "moved", "cancelling", "guest")
"""Ways of having a server in which an application can decide in Python."""
NO_CATS = HookReply(refuses=True, status=422, body="No cats, please")


@dataclass
class Decisions:
    """What the application is told, and what it says to the next questions; behind these it agrees."""

    mount: Mount
    answers: list[HookReply | Exception] = field(default_factory=list)
    about: Moment = Moment.PRE_FINISH
    before: Callable[[], None] = lambda: None
    """What happens when it is asked, before it answers."""
    seen: list[HookEvent] = field(default_factory=list)

    def count(self, moment: Moment) -> int:
        """Return how often a moment was told."""
        return sum(event.moment is moment for event in self.seen)

    async def settle(self) -> None:
        """Wait until nothing more is to be told."""
        tus = self.mount.tus
        assert tus is not None

        async def is_quiet() -> bool:
            return await tus._info.next_job_at() is None

        await until(is_quiet)


def decide(mount: Mount) -> Decisions:
    """Let an application decide about everything that a server is sent."""
    decisions = Decisions(mount)
    assert mount.tus is not None

    @mount.tus.hook(*Moment, name="decisions")
    async def hear(event: HookEvent) -> HookReply | None:
        decisions.seen.append(event)
        if event.moment is not decisions.about:
            return None
        decisions.before()
        answer = decisions.answers.pop(0) if decisions.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    return decisions
