"""Who is asked, who is told, in which order, and who has to wait for whom: nobody for anybody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest

from tests.hooks.events import event
from tests.support.waiting import until
from tusd_py.errors import HookFailed, StoreError
from tusd_py.hooks import dispatcher as room
from tusd_py.hooks.dispatcher import Dispatcher
from tusd_py.models.hook import HookEvent, HookReply, Moment

CREATE, PROGRESS, ASK = Moment.POST_CREATE, Moment.POST_RECEIVE, Moment.PRE_CREATE
Told = tuple[str, str, int]
"""Upload, moment, offset."""


class Handler(room.HookHandler):
    """Notes what it is told, behind a door that may be shut."""

    def __init__(
        self, name: str, answer: HookReply | Exception | None = None, *, moments: Collection[Moment] = tuple(Moment)
    ) -> None:
        self.name = name
        self.answer = answer or HookReply()
        self.told: list[Told] = []
        self.keys: list[str] = []
        self.door = asyncio.Event()
        self.door.set()
        self.began = asyncio.Event()
        self.is_closed = False
        self.only: Callable[[HookEvent], bool] = lambda _: True
        self._moments = moments

    def heeds(self, moment: Moment) -> bool:
        return moment in self._moments

    def wants(self, event: HookEvent) -> bool:
        return self.only(event)

    async def handle(self, event: HookEvent, *, key: str, attempt: int = 1) -> HookReply:
        assert attempt == 1
        self.began.set()
        await self.door.wait()
        self.told.append((event.upload.id, str(event.moment), event.upload.offset))
        self.keys.append(key)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.is_closed = True

    def has(self, *told: Told) -> Callable[[], Any]:
        """Return what to wait for: these and no others were told."""

        async def is_told() -> bool:
            return self.told == [*told]

        return is_told


class Stops:
    """Uploads that were to be stopped."""

    def __init__(self) -> None:
        self.stopped: list[tuple[str, HookReply]] = []
        self.error: Exception | None = None

    async def __call__(self, upload_id: str, reply: HookReply) -> None:
        self.stopped.append((upload_id, reply))
        if self.error is not None:
            raise self.error


@pytest.fixture
def stops() -> Stops:
    return Stops()


@pytest.fixture
async def hooks(stops: Stops) -> AsyncIterator[Dispatcher]:
    """A dispatcher that lets all progress through."""
    dispatcher = Dispatcher(stop=stops, progress_interval=0)
    yield dispatcher
    for handler in dispatcher._handlers.values():
        assert isinstance(handler, Handler)
        handler.door.set()
    await dispatcher.close()


def told(moment: Moment = CREATE, upload: str = "one", offset: int = 0) -> HookEvent:
    return event(moment, id=upload, offset=offset, length=100)


def tell(hooks: Dispatcher, *events: HookEvent) -> None:
    for each in events:
        hooks.announce(each).confirm()


async def test_asked_in_order_until_one_refuses(hooks: Dispatcher) -> None:
    """Handlers are asked in the order of registering; behind a refusal nobody is."""
    order: list[str] = []
    handlers = [Handler("a"), Handler("b", HookReply(refuses=True, status=403)), Handler("c")]
    for handler in handlers:
        handler.only = lambda _, name=handler.name: order.append(name) is None  # type: ignore[misc]
        hooks.add(handler)
    reply = await hooks.ask(told(ASK))
    assert (reply.refuses, reply.status) == (True, 403)
    assert [len(handler.told) for handler in handlers] == [1, 1, 0]
    assert order == ["a", "b", "c"]
    assert handlers[0].keys == ["one:pre-create"]


async def test_only_those_who_want_it(hooks: Dispatcher) -> None:
    """A handler hears of its own moments, and of the events that it wants among those."""
    never, picky = Handler("never", moments=[Moment.PRE_FINISH]), Handler("picky", moments=[ASK, CREATE])
    picky.only = lambda event: event.upload.id == "two"
    hooks.add(never)
    hooks.add(picky)
    for upload in ("one", "two"):
        await hooks.ask(told(ASK, upload))
        tell(hooks, told(CREATE, upload))
    await until(picky.has(("two", "pre-create", 0), ("two", "post-create", 0)))
    assert never.told == []
    assert [hooks.heeds(moment) for moment in (ASK, CREATE, Moment.PRE_FINISH, PROGRESS)] == [True, True, True, False]


async def test_replies_are_joined(hooks: Dispatcher) -> None:
    """What several handlers want is done together; where two want the same, the later one has it."""
    hooks.add(Handler("a", HookReply(status=200, body="a", headers=(("X", "1"),), upload_id="abc", path="a/b")))
    hooks.add(Handler("b"))
    hooks.add(Handler("c", HookReply(status=201, headers=(("X", "2"), ("Y", "3")), metadata={"k": "v"}, path="c")))
    reply = await hooks.ask(told(ASK))
    assert reply == HookReply(
        status=201,
        body="a",
        headers=(("X", "1"), ("X", "2"), ("Y", "3")),
        upload_id="abc",
        metadata={"k": "v"},
        path="c",
    )


@pytest.mark.parametrize(
    "answer",
    [
        HookFailed("connection to 10.0.0.7 refused"),
        RuntimeError("secret"),
        HookReply(path="../../etc/cron.d/x"),
        HookReply(upload_id="/etc/passwd"),
        HookReply(status=99),
    ],
    ids=["failed", "raised", "path", "id", "status"],
)
async def test_failing_handler(
    hooks: Dispatcher, caplog: pytest.LogCaptureFixture, answer: HookReply | Exception
) -> None:
    """A handler that fails, or wants what cannot be, agrees to nothing; the client is not told why, the log is
    (rows 22, 55, 58).
    """
    hooks.add(Handler("bad", answer))
    last = Handler("last")
    hooks.add(last)
    with caplog.at_level(logging.WARNING), pytest.raises(HookFailed) as caught:
        await hooks.ask(told(ASK))
    assert caught.value.message == HookFailed().message
    assert last.told == []
    (record,) = caplog.records
    assert record.getMessage().startswith("hook bad failed at pre-create")
    assert record.__dict__["action"] == "hook_failed"


async def test_in_order_per_upload(hooks: Dispatcher) -> None:
    """Events of one upload come one after the other in the order of announcing, whatever is confirmed first."""
    handler = Handler("a")
    hooks.add(handler)
    first, second = hooks.announce(told()), hooks.announce(told(PROGRESS, offset=5))
    second.confirm()
    tell(hooks, told(upload="other"))
    await until(handler.has(("other", "post-create", 0)))
    first.confirm()
    await until(handler.has(("other", "post-create", 0), ("one", "post-create", 0), ("one", "post-receive", 5)))
    assert handler.keys == ["other:post-create", "one:post-create", "one:post-receive:5"]


async def test_withdrawn(hooks: Dispatcher) -> None:
    """What did not become a fact is told to nobody and holds up nothing; a fact cannot be withdrawn."""
    handler = Handler("a")
    hooks.add(handler)
    place = hooks.announce(told())
    fact = hooks.announce(told(PROGRESS, offset=5))
    fact.confirm()
    fact.withdraw()
    place.withdraw()
    await until(handler.has(("one", "post-receive", 5)))


async def test_progress_is_coalesced(hooks: Dispatcher) -> None:
    """Of progress that was not told yet the latest is told, behind what came before it."""
    handler = Handler("a")
    handler.door.clear()
    hooks.add(handler)
    tell(hooks, told())
    await handler.began.wait()
    tell(hooks, *(told(PROGRESS, offset=offset) for offset in range(1, 50)))
    handler.door.set()
    await until(handler.has(("one", "post-create", 0), ("one", "post-receive", 49)))


async def test_progress_interval(stops: Stops) -> None:
    """Between two progress events of an upload the interval passes; those of others do not wait for it."""
    hooks = Dispatcher(stop=stops, progress_interval=1000)
    handler = Handler("a")
    hooks.add(handler)
    tell(hooks, told(PROGRESS, offset=1))
    await until(handler.has(("one", "post-receive", 1)))
    tell(hooks, told(PROGRESS, offset=2), told(PROGRESS, "two", offset=3))
    await until(handler.has(("one", "post-receive", 1), ("two", "post-receive", 3)))
    await hooks.settled("one", "a")
    await hooks.close()
    assert len(handler.told) == 2


async def test_settled(hooks: Dispatcher) -> None:
    """Who waits for an upload to be settled goes on when its facts were told, and progress is none any more."""
    handler = Handler("a")
    handler.door.clear()
    hooks.add(handler)
    await hooks.settled("one", "a")
    tell(hooks, told(PROGRESS, offset=1))
    await handler.began.wait()
    tell(hooks, told(), told(PROGRESS, offset=2))
    waiting = asyncio.create_task(hooks.settled("one", "a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    handler.door.set()
    await waiting
    assert handler.told == [("one", "post-receive", 1), ("one", "post-create", 0)]
    await hooks.close()
    assert len(handler.told) == 2


async def test_settled_waits_for_what_may_become_a_fact(hooks: Dispatcher) -> None:
    """An upload with an event that is about to become a fact is not settled: a finish is told behind its creation."""
    handler = Handler("a")
    hooks.add(handler)
    place = hooks.announce(told())
    waiting = asyncio.create_task(hooks.settled("one", "a"))
    await until(_idle)
    assert not waiting.done()
    place.confirm()
    await waiting
    assert handler.told == [("one", "post-create", 0)]


async def test_the_slow_hold_up_nobody(hooks: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many uploads a handler hangs at, the others are told; and so are its own others, up to a number."""
    slow, quick = Handler("slow"), Handler("quick")
    slow.door.clear()
    hooks.add(slow)
    hooks.add(quick)
    names = [f"upload{number}" for number in range(3 * room.AT_ONCE)]
    tell(hooks, *(told(upload=name) for name in names))
    await until(quick.has(*((name, "post-create", 0) for name in names)))
    assert slow.told == []
    slow.door.set()
    await until(slow.has(*((name, "post-create", 0) for name in names)))


async def test_a_failure_is_no_ones_business(hooks: Dispatcher, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that fails to be told something is told the next; each failure has its line in the log."""
    handler = Handler("a", RuntimeError("no"))
    hooks.add(handler)
    with caplog.at_level(logging.WARNING):
        tell(hooks, told(), told(PROGRESS, offset=1))
        await until(handler.has(("one", "post-create", 0), ("one", "post-receive", 1)))
    await hooks.settled("one", "a")
    assert len(caplog.records) == 2


async def test_number_of_lanes_is_bounded(
    hooks: Dispatcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind too many uploads that wait, further ones are left out, said once; later ones are told again."""
    monkeypatch.setattr(room, "MOST_LANES", 2)
    handler = Handler("a")
    handler.door.clear()
    hooks.add(handler)
    with caplog.at_level(logging.WARNING):
        tell(hooks, *(told(upload=name) for name in ("one", "two", "three", "four")))
    assert [record.__dict__["action"] for record in caplog.records] == ["hook_dropped"]
    handler.door.set()
    await until(handler.has(("one", "post-create", 0), ("two", "post-create", 0)))
    await until(lambda: _true(not hooks._lanes))
    tell(hooks, told(upload="five"))
    await until(handler.has(("one", "post-create", 0), ("two", "post-create", 0), ("five", "post-create", 0)))


@pytest.mark.parametrize("error", [None, StoreError("no disk")], ids=["works", "fails"])
async def test_stop(hooks: Dispatcher, stops: Stops, error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    """A handler may stop an upload at post-receive, and at no other moment; what goes wrong is in the log."""
    stops.error = error
    reply = HookReply(stops=True, status=418, body="enough")
    hooks.add(Handler("a", reply))
    with caplog.at_level(logging.WARNING):
        tell(hooks, told(), told(PROGRESS, offset=1))
        await until(lambda: _true(bool(stops.stopped)))
        await hooks.settled("one", "a")
    assert stops.stopped == [("one", reply)]
    assert [record.__dict__["action"] for record in caplog.records] == (["hook_stop_failed"] if error else [])


async def test_close(stops: Stops, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end what waits is told, what hangs is broken off, progress is dropped, and handlers are closed."""
    monkeypatch.setattr(room, "CLOSING", 0.05)
    hooks = Dispatcher(stop=stops, progress_interval=1000)
    quick, hanging = Handler("quick"), Handler("hanging")
    hanging.door.clear()
    hooks.add(quick)
    hooks.add(hanging)
    tell(hooks, told(), told(PROGRESS, offset=1), told(PROGRESS, "two", offset=1))
    never = hooks.announce(told(upload="three"))
    await hooks.close()
    assert sorted(quick.told) == [("one", "post-create", 0)]
    assert hanging.told == []
    assert (quick.is_closed, hanging.is_closed) == (True, True)
    never.withdraw()
    await hooks.close()


async def test_names(hooks: Dispatcher) -> None:
    """Two handlers of one name are refused, and the first one stays: it is stored with their jobs."""
    first, second = Handler("a"), Handler("a")
    hooks.add(first)
    with pytest.raises(ValueError, match="'a' is registered already"):
        hooks.add(second)
    await hooks.ask(told(ASK))
    assert (len(first.told), second.told) == (1, [])


async def _idle() -> bool:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)
    return True


async def _true(value: bool) -> bool:
    return value
