"""What becomes of a transfer when a request was no success: the one place where that is decided."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from inspect import isawaitable
from typing import TypeVar

from tusd_py.client.errors import GaveUp, NotATusServer, Refused, TransferFailed, Untrusted
from tusd_py.client.gate import Gate, Paused
from tusd_py.client.records import OnEvent, Options, Retrying
from tusd_py.client.retry import Backoff
from tusd_py.protocol.tus1_client import (
    Mismatch,
    NotTus,
    TryAgain,
    Unauthorized,
    Verdict,
    WrongOffset,
)

PASSING = (Verdict, Untrusted, NotATusServer)
"""Failures of requests, of which `Patience.after` knows whether they pass."""
MOST_MISMATCHES = 5
"""So many bodies in a row may arrive damaged."""
MOST_UNAUTHORIZED = 3
"""So often in a row a token that was refused is tried again, or a new one is."""

T = TypeVar("T")


class Patience:
    """How long one row of requests is tried: those of one upload, or of one part of it."""

    def __init__(self, options: Options, gate: Gate, tell: OnEvent) -> None:
        self._token = options.token
        self._gate = gate
        self._tell = tell
        self._backoff = Backoff(options.retry_for, time.monotonic())
        self._speaks_tus = False
        self._mismatches = 0
        self._unauthorized = 0
        self._refused_token: str | None = None

    def progressed(self) -> None:
        """Note that something went forward: all patience is there again."""
        self._backoff.progressed(time.monotonic())
        self._speaks_tus = True
        self._mismatches = self._unauthorized = 0

    async def ready(self) -> None:
        """Return when there is no pause. However long it was, no patience is lost by it."""
        if self._gate.closed:
            await self._gate.opened()
            self._backoff.progressed(time.monotonic())

    async def insist(self, request: Callable[[], Awaitable[T]]) -> T:
        """Return what a request comes to, which can be sent again and again. Raises `TransferFailed`."""
        while True:
            await self.ready()
            try:
                return await request()
            except PASSING as failure:
                await self.after(failure)

    async def after(self, failure: Verdict | TransferFailed) -> None:
        """Return when it is time to try again, or a pause has begun.

        Raises:
            Refused, NotATusServer, Untrusted: it would be answered alike.
            GaveUp: nothing has gone forward for as long as was allowed.
        """
        match failure:
            case TryAgain():
                await self._wait(failure, failure.retry_after)
            case WrongOffset():
                await self._wait(failure)
            case Mismatch():
                self._mismatches += 1
                if self._mismatches == MOST_MISMATCHES:
                    raise _refused(failure, f"{MOST_MISMATCHES} bodies in a row arrived damaged") from failure
                await self._wait(failure)
            case Unauthorized():
                self._unauthorized += 1
                if self._unauthorized > MOST_UNAUTHORIZED:
                    raise _refused(failure) from failure
                if not await self._has_new_token():
                    await self._wait(failure)
            case NotTus() if self._speaks_tus:
                # It did before: somebody on the way answers in its place, as the login page of a hotel does.
                await self._wait(failure)
            case Untrusted() | NotATusServer() if self._speaks_tus:
                # The same, by https.
                await self._wait(TryAgain(failure.sentence))
            case NotTus():
                raise NotATusServer(failure.reason) from failure
            case Verdict():
                raise _refused(failure) from failure
            case TransferFailed():
                raise failure

    async def _wait(self, verdict: Verdict, retry_after: float | None = None) -> None:
        delay = self._backoff.failed(time.monotonic(), retry_after)
        if delay is None:
            raise GaveUp(f"nothing has gone forward for too long; the last failure: {verdict.reason}") from verdict
        attempt = self._backoff.attempt
        self._tell(Retrying(reason=verdict.reason, delay=delay, attempt=attempt, status=verdict.status))
        with suppress(Paused):
            async with self._gate.passing():
                await asyncio.sleep(delay)

    async def _has_new_token(self) -> bool:
        """Whether there is another token than the one that was refused last."""
        if not callable(self._token):
            return False
        said = self._token()
        token = await said if isawaitable(said) else said
        refused_before, self._refused_token = self._refused_token, token
        return token != refused_before


def _refused(verdict: Verdict, sentence: str | None = None) -> Refused:
    """Return the end that a verdict is, with another sentence than its own if there is one."""
    return Refused(sentence or verdict.reason, status=verdict.status or 0, error=verdict.error)
