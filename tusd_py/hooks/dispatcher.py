"""All hooks together: who is asked before something happens, and who is told in which order afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from tusd_py.abc import Announcement, HookHandler, Hooks
from tusd_py.errors import HookFailed, StoreError, TusError
from tusd_py.hooks.payload import checked
from tusd_py.models.hook import HookEvent, HookReply, Moment
from tusd_py.models.upload import short

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Events that one handler is being told at a time."""
MOST_LANES = 10_000
"""Uploads and handlers with events that wait; further ones are told nothing until there are fewer."""
CLOSING = 5.0
"""Seconds in which what waits is still told at the end."""

Stop = Callable[[str, HookReply], Awaitable[None]]


class Dispatcher(Hooks):
    """Asks and tells handlers. One per engine; used on one event loop.

    Events of one upload reach one handler one after the other, in the order in which they became facts; a handler that
    is slow or hangs holds up nobody else's.
    """

    def __init__(self, *, stop: Stop, progress_interval: float = 1.0) -> None:
        """Begin without handlers.

        Args:
            stop: removes an upload because a `post-receive` hook wants it.
            progress_interval: seconds between two `post-receive` events of one upload.
        """
        self._handlers: dict[str, HookHandler] = {}
        self._moments: frozenset[Moment] = frozenset()
        self._stop = stop
        self._interval = progress_interval
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._limits: dict[str, asyncio.Semaphore] = {}
        self._overflowing = False

    def add(self, handler: HookHandler) -> None:
        """Ask and tell one more. Raises `ValueError` when its name is taken."""
        if handler.name in self._handlers:
            raise ValueError(f"a hook named {handler.name!r} is registered already")
        self._handlers[handler.name] = handler
        self._limits[handler.name] = asyncio.Semaphore(AT_ONCE)
        self._moments |= {moment for moment in Moment if handler.heeds(moment)}

    def heeds(self, moment: Moment) -> bool:
        """Return whether anybody wants to be told at such a moment."""
        return moment in self._moments

    async def ask(self, event: HookEvent) -> HookReply:
        """Put an event to everybody who wants it; see `tusd_py.abc.Hooks.ask`. Cancelling asks nobody any further."""
        together = HookReply()
        for handler in self._wanting(event):
            reply = await _handled(handler, event)
            if reply.is_refusal:
                log.info(
                    "hook %s refused at %s",
                    handler.name,
                    event.moment,
                    extra={"action": "hook_refused", **_where(event)},
                )
                return reply
            together = _joined(together, reply)
        return together

    def announce(self, event: HookEvent) -> Announcement:
        """Take a place for an event; see `tusd_py.abc.Hooks.announce`."""
        place = _Place()
        for handler in self._wanting(event):
            if lane := self._lane(event.upload.id, handler):
                place.take(lane, event)
        return place

    async def settled(self, upload_id: str, handler: str) -> None:
        """Return when one handler was told everything that was announced of an upload; progress is dropped.

        To be awaited before its end is told. Cancel-safe.
        """
        if lane := self._lanes.get((upload_id, handler)):
            lane.drop_progress()
            await lane.idle.wait()

    async def close(self) -> None:
        """Tell what waits, as far as that goes in a few seconds, and close the handlers."""
        tasks = [lane.task for lane in self._lanes.values()]
        for lane in self._lanes.values():
            lane.drop_progress()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for handler in self._handlers.values():
            await handler.close()

    def _wanting(self, event: HookEvent) -> list[HookHandler]:
        return [each for each in self._handlers.values() if each.heeds(event.moment) and each.wants(event)]

    def _lane(self, upload_id: str, handler: HookHandler) -> _Lane | None:
        key = (upload_id, handler.name)
        if (lane := self._lanes.get(key)) is not None:
            return lane
        if len(self._lanes) >= MOST_LANES:
            if not self._overflowing:
                log.warning("hooks are too slow: events are left out", extra={"action": "hook_dropped"})
            self._overflowing = True
            return None
        self._overflowing = False
        lane = self._lanes[key] = _Lane(self._interval)
        lane.task = asyncio.create_task(self._run(key, lane, handler), name=f"tusd-py hook {handler.name}")
        return lane

    async def _run(self, key: tuple[str, str], lane: _Lane, handler: HookHandler) -> None:
        try:
            while (event := await lane.next()) is not None:
                async with self._limits[handler.name]:
                    await self._tell(handler, event)
        finally:
            del self._lanes[key]
            lane.idle.set()

    async def _tell(self, handler: HookHandler, event: HookEvent) -> None:
        try:
            reply = await _handled(handler, event)
            if reply.stops and event.moment is Moment.POST_RECEIVE:
                await self._stop(event.upload.id, reply)
        except HookFailed:
            # It has its line in the log; nobody waits for the answer.
            return
        except (StoreError, TusError, OSError) as error:
            log.warning(
                "an upload could not be stopped: %s", error, extra={"action": "hook_stop_failed", **_where(event)}
            )


class _Place(Announcement):
    def __init__(self) -> None:
        self._taken: list[tuple[_Lane, _Item]] = []

    def take(self, lane: _Lane, event: HookEvent) -> None:
        self._taken.append((lane, lane.add(event)))

    def confirm(self) -> None:
        """See `tusd_py.abc.Announcement`."""
        for lane, item in self._taken:
            item.is_fact = True
            lane.changed.set()

    def withdraw(self) -> None:
        """See `tusd_py.abc.Announcement`."""
        for lane, item in self._taken:
            if not item.is_fact:
                lane.remove(item)


class _Item:
    __slots__ = ("event", "is_fact")

    def __init__(self, event: HookEvent) -> None:
        self.event = event
        self.is_fact = False

    @property
    def is_progress(self) -> bool:
        return self.event.moment is Moment.POST_RECEIVE


class _Lane:
    """What one handler is to be told of one upload, in order."""

    task: asyncio.Task[None]

    def __init__(self, interval: float) -> None:
        self.changed = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while nothing waits and nothing is being told."""
        self._items: deque[_Item] = deque()
        self._interval = interval
        self._next_progress_at = 0.0

    def add(self, event: HookEvent) -> _Item:
        item = _Item(event)
        if item.is_progress and self._items and self._items[-1].is_progress:
            # The latest wins; the other one was not told yet.
            self._items.pop()
        self._items.append(item)
        self.idle.clear()
        self.changed.set()
        return item

    def remove(self, item: _Item) -> None:
        if item in self._items:
            self._items.remove(item)
        self.changed.set()

    def drop_progress(self) -> None:
        self._items = deque(item for item in self._items if not item.is_progress)
        self._next_progress_at = 0.0
        self.changed.set()

    async def next(self) -> HookEvent | None:
        """Return what is to be told now, waiting until it is time; None when there is nothing more."""
        clock = asyncio.get_running_loop().time
        while True:
            self.changed.clear()
            wait: float | None = None
            if not self._items:
                self.idle.set()
                wait = self._next_progress_at - clock()
                if wait <= 0:
                    return None
            elif self._items[0].is_fact:
                wait = self._next_progress_at - clock() if self._items[0].is_progress else 0.0
                if wait <= 0:
                    break
            try:
                async with asyncio.timeout(wait):
                    await self.changed.wait()
            except TimeoutError:
                continue
        item = self._items.popleft()
        if item.is_progress:
            self._next_progress_at = clock() + self._interval
        return item.event


async def _handled(handler: HookHandler, event: HookEvent) -> HookReply:
    """Return a handler's reply. Raises `HookFailed` with nothing in it that a client should not know."""
    try:
        # Those of an application's own may not have been looked at yet.
        return checked(await handler.handle(event, key=event.id), event.moment)
    except HookFailed as error:
        log.warning(
            "hook %s failed at %s: %s",
            handler.name,
            event.moment,
            error,
            extra={"action": "hook_failed", **_where(event)},
        )
    except Exception:
        log.exception(
            "hook %s failed at %s", handler.name, event.moment, extra={"action": "hook_failed", **_where(event)}
        )
    raise HookFailed


def _joined(first: HookReply, second: HookReply) -> HookReply:
    """Return what two replies want together; where both want something, the second one has it."""
    return replace(
        first,
        status=first.status if second.status is None else second.status,
        body=first.body if second.body is None else second.body,
        headers=first.headers + second.headers,
        upload_id=first.upload_id if second.upload_id is None else second.upload_id,
        metadata=first.metadata if second.metadata is None else second.metadata,
        path=first.path if second.path is None else second.path,
    )


def _where(event: HookEvent) -> dict[str, str]:
    return {"moment": event.moment, "upload_id": short(event.upload.id)}
