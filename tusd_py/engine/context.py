"""What every verb of the engine works with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tusd_py.abc import Announcement, Body, Clock, DataStore, Hooks, InfoStore, JobStore, Locker, OwedJobs
from tusd_py.models.hook import HookEvent, HookReply, Moment, RequestInfo
from tusd_py.models.job import Job
from tusd_py.models.limits import Durability


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How careful and how patient an engine is. Every field has its setting."""

    durability: Durability = Durability.PATCH
    journal_up_to: int = 64 * 1024
    """Longest body in bytes that is kept in the journal in place of being synced; 0 = none."""
    journal_size: int = 16 * 1024 * 1024
    """Size of the journal in bytes from which on it is emptied; from four times as much on nothing is added to it."""
    checkpoint_bytes: int = 16 * 1024 * 1024
    """Inside a long body the offset is committed after so many bytes ..."""
    checkpoint_interval: float = 2.0
    """... or so many seconds, whichever comes first: what a crash in the middle may cost."""
    progress_interval: float = 1.0
    """Seconds between two `post-receive` events of one upload, where somebody wants them."""
    lock_timeout: float = 5.0
    """Seconds to wait for an upload that somebody else is using."""
    shutdown_timeout: float = 30.0
    """Seconds that running requests have to end by themselves once the server is going down."""
    silent_after: float = 1.0
    """Seconds without a byte after which a HEAD may end a PATCH whose client has probably vanished."""


@dataclass(slots=True)
class Doubts:
    """What failed syncs may have lost. The kernel calls such pages clean, so that a later sync succeeds (I9)."""

    failures: int = 0
    """Syncs of everything that failed so far: what was written before one, and is not committed, never counts."""
    everything: bool = False
    """Set from such a failure until all that was not synced is taken back: nothing is committed meanwhile."""
    uploads: dict[str, int] = field(default_factory=dict)
    """Uploads whose own sync failed, and how far each has to fall back before anything is added to it."""
    taken_back: int = 0
    """How often a single upload fell back."""
    journaled: bool = False
    """Set when a sync failed, until everything in the journal is written again: the data may have lost it."""
    unwritten: set[str] = field(default_factory=set)
    """Uploads of which the journal has bytes that cannot be written to their data: nobody else may have them."""


class NoHooks(Hooks):
    """Nobody wants to know anything."""

    def heeds(self, moment: Moment) -> bool:
        """Return False."""
        return False

    async def ask(self, event: HookEvent) -> HookReply:
        """Agree."""
        return HookReply()

    def announce(self, event: HookEvent) -> Announcement:
        """Not be called: nobody heeds it."""
        raise NotImplementedError


class NoJobs(OwedJobs):
    """Nothing is owed."""

    def heeds(self, moment: Moment) -> bool:
        """Return False."""
        return False

    def owed(self, event: HookEvent) -> Sequence[Job]:
        """Return nothing."""
        return ()

    def wake(self) -> None:
        """Do nothing."""


@dataclass(slots=True, kw_only=True)
class Context:
    """The rooms that meet in an engine, and what is going on in it right now."""

    data: DataStore
    info: InfoStore
    locker: Locker
    clock: Clock
    policy: Policy
    hooks: Hooks = field(default_factory=NoHooks)
    """User code that is asked or told at named moments."""
    jobs: OwedJobs = field(default_factory=NoJobs)
    """What an upload owes at its end: stored together with it."""
    job_store: JobStore | None = None
    """Where the jobs are, to be shown."""
    receiving: dict[str, Body] = field(default_factory=dict)
    """Bodies being read at this moment, by upload id."""
    pins: Counter[str] = field(default_factory=Counter)
    """Partial uploads being copied at this moment: they must not be removed."""
    received: Counter[str] = field(default_factory=Counter)
    """Bytes stored so far, by the way they came: `moved` by the store, or `read` here."""
    admission: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held between looking at the usage and adding to it, where there are limits on it."""
    doubts: Doubts = field(default_factory=Doubts)
    finishing: dict[str, RequestInfo] = field(default_factory=dict)
    """New ones that have every byte and wait for a hook to agree, with the request that brought the last one."""
    finishing_more: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is one more of them."""
    syncing: asyncio.Task[None] | None = None
    """The sync of everything that is going on."""
    journal_is_long: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is time to sync what the journal keeps."""
    emptying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while that is done."""
    replaying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while entries of the journal are read and written: nobody may take them back meanwhile."""
    draining: bool = False
    """Set when the server is going down: no new body is read."""
