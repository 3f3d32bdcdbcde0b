"""User code at named moments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from tusd_py.models.hook import HookEvent, HookReply, Moment
from tusd_py.models.job import Job


class HookHandler(ABC):
    """One way to tell somebody what happens: a function, a command, a URL."""

    name: str
    """Unlike that of any other handler, and stable: it is stored with the jobs that tell of an end."""

    @abstractmethod
    def heeds(self, moment: Moment) -> bool:
        """Whether it wants to be told at such a moment at all."""

    @abstractmethod
    def wants(self, event: HookEvent) -> bool:
        """Whether it wants to be told of this event."""

    @abstractmethod
    async def handle(self, event: HookEvent, *, key: str, attempt: int = 1) -> HookReply:
        """Tell it, and return what it wants.

        `key` is the idempotency key of this delivery, `attempt` counts deliveries with this key from 1.

        Raises `HookFailed` when it cannot be told or its answer cannot be used, within its own deadline. Cancelling
        leaves nothing running.
        """

    async def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release everything. Safe to call twice."""


class OwedJobs(Protocol):
    """What an engine asks of the registered tasks."""

    def heeds(self, moment: Moment) -> bool:
        """Whether there is any task for such a moment. Cheap."""

    def owed(self, event: HookEvent) -> Sequence[Job]:
        """Return the jobs to be stored in the transaction that makes the event a fact."""

    def wake(self) -> None:
        """Jobs were stored: run them."""


class Announcement(Protocol):
    """An event that is about to become a fact, with its place among those of its upload."""

    def confirm(self) -> None:
        """It has become one: tell everybody who wants to know, in the order of announcing."""

    def withdraw(self) -> None:
        """It has not: tell nobody. Nothing happens after `confirm`."""


class Hooks(Protocol):
    """What an engine asks of all hooks together."""

    def heeds(self, moment: Moment) -> bool:
        """Whether anybody wants to be told at such a moment. Cheap."""

    async def ask(self, event: HookEvent) -> HookReply:
        """Put a `pre-` event to everybody who wants it, one after the other; return what they want together.

        The first refusal ends it. Raises `HookFailed`: somebody could not be asked, so nothing was agreed to.
        """

    def announce(self, event: HookEvent) -> Announcement:
        """Take a place for a `post-create` or `post-receive` event. Never waits.

        Events of one upload are told in the order of their announcing, the next one when the last was told.
        Progress that nobody was told yet is replaced by newer progress.
        """
