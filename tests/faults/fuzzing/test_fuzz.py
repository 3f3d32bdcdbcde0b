"""Whatever strangers send: a documented refusal or a closed connection, never an error of ours (I20)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.figures import Figures
from tests.faults.fuzzing.attack import Attack
from tests.faults.fuzzing.corpus import kept
from tests.faults.fuzzing.heads import GOOD, flawed
from tests.faults.fuzzing.readers import READERS, make
from tests.faults.lives import Life, lives
from tests.support.wire import Wire

MOST_REQUESTS = 200_000
"""Requests over sockets take a thousand times as long as texts without."""
CLIENTS = 16
AT_ONCE = 10
"""Connections that wait for the second half of a request."""

Volume = Callable[[str], int]
Input = tuple[str, bytes, Callable[[Wire, bytes], Awaitable[None]]]
"""Where it comes from, the bytes, and what is done with them."""


def share_of(volume_of: Volume, seeds: list[int]) -> tuple[int, int]:
    """Return how many texts and how many requests a seed is good for."""
    volume = volume_of("T10") // len(seeds)
    requests = min(volume // 10, MOST_REQUESTS)
    return volume - requests, requests


def test_readers(seeds: list[int], volume_of: Volume, figures: Figures) -> None:
    """Headers, metadata, lists, ranges and whole heads: only a documented error comes out, and nothing breaks a line.

    What is accepted, a strict reader of its own accepts as well. (I20; reliability 5.2 rows 1-8, 23-29, 41, 46)
    """
    texts, _ = share_of(volume_of, seeds)
    count = 0
    for where, name, arguments in _texts(seeds, texts):
        try:
            READERS[name].read(*arguments)
        except Exception as error:
            raise AssertionError(f"{where}: {(name, arguments)!a}") from error
        count += 1
    figures.add("fuzz_inputs", count, of="readers")


def _texts(seeds: list[int], count: int) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    yield from (("corpus", name, arguments) for name, arguments in kept("readers"))
    for seed in seeds:
        for number in range(count):
            yield f"seed {seed}, number {number}", *make(seed, number)


@contextlib.asynccontextmanager
async def attacked(place: Path, figures: Figures) -> AsyncIterator[Attack]:
    """Have a server to attack; at its end it must be well, and its log must not show one error (I20)."""
    async with lives(place) as them:
        life = await them.begin(place / "data", durability="none")
        attack = Attack(life.url, place / "data")
        await attack.prepare()
        try:
            yield attack
        finally:
            figures.add("unhandled_500s", attack.unhandled)
        assert await life.end() == 0
        attack.judge_disk()
        assert not errors_in(life)


def errors_in(life: Life) -> list[str]:
    """Return the lines of a log that are no news of a request or of the server's life."""
    lines = life.stderr.read_text("utf-8", "replace").splitlines()
    return [line for line in lines if line.split(" ", 2)[1:2] != ["INFO"]]


async def _each(attack: Attack, inputs: Iterable[Input]) -> int:
    """Send all inputs, several at a time; return how many. Fails with those that something was wrong with."""
    waiting = iter(inputs)
    failures: list[str] = []
    count = 0

    async def client() -> None:
        nonlocal count
        for where, raw, strike in waiting:
            count += 1
            try:
                async with await Wire.open(attack.url) as wire:
                    await strike(wire, raw)
            except Exception as error:  # noqa: BLE001 - whatever it is, the input must be told
                failures.append(f"{where}: {raw!r}\n    {error!r}")

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    assert not failures, "\n".join(failures[:10])
    return count


async def test_requests(tmp_path: Path, seeds: list[int], volume_of: Volume, figures: Figures) -> None:
    """Requests with wrong bytes: a well-formed answer with a documented status, or the end of the connection.

    A good request is answered afterwards, what was refused did nothing, and what was accepted was a request by the
    rules: 204 to a PATCH only with a plain `Upload-Offset`. (I2, I5, I20; reliability 5.2 rows 1-16)
    """
    _, requests = share_of(volume_of, seeds)
    async with attacked(tmp_path, figures) as attack:
        count = await _each(attack, [("corpus", raw, attack.strike) for raw in kept("requests")])
        for seed in seeds:
            flaws = ((number, flawed(Random(f"{seed}-{number}"))) for number in range(requests * 3 // 4))
            count += await _each(attack, ((f"seed {seed}, number {at}", raw, attack.strike) for at, raw in flaws))
    figures.add("fuzz_inputs", count, of="requests")


async def test_two_packets(tmp_path: Path, seeds: list[int], volume_of: Volume, figures: Figures) -> None:
    """A good request is answered alike wherever it is cut in two (I4, I20)."""
    _, requests = share_of(volume_of, seeds)
    rounds = max(requests // 4 // AT_ONCE, 1)
    async with attacked(tmp_path, figures) as attack:
        for seed in seeds:
            random = Random(f"{seed}-cuts")
            inputs: list[Input] = []
            for number in range(rounds):
                places = [random.randrange(10_000) for _ in range(AT_ONCE)]
                where = f"seed {seed}, round {number}, cut at {places}"
                inputs.append((where, GOOD[(seed + number) % len(GOOD)], partial(attack.cut, places=places)))
            await _each(attack, inputs)
    figures.add("fuzz_inputs", rounds * AT_ONCE * len(seeds), of="cuts")
