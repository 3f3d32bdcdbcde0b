"""How a command that transfers files ends: by itself, by SIGINT or SIGTERM, or by a fault."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from tusd_py.cli.display import Display
from tusd_py.cli.options import Refusal
from tusd_py.cli.text import printable
from tusd_py.cli.transfer_options import explain

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
BY_SIGNAL = 128
"""What shells add to the number of a signal."""

Result = TypeVar("Result")


class Interrupted(Exception):
    """A signal has ended the work."""

    def __init__(self, number: int) -> None:
        self.exit_code = BY_SIGNAL + number
        super().__init__(signal.Signals(number).name)


async def interruptible(work: Coroutine[Any, Any, Result], *, abandon: Callable[[], None]) -> Result:
    """Do work that SIGINT or SIGTERM cancels.

    A second one ends the process at once, also long after this has returned: `abandon` is called, which puts the
    terminal in order, and nothing else is waited for.

    Raises:
        Interrupted: the work was cancelled by a signal, and has ended.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        # From now on without the loop: it may be waiting for a thread that never ends.
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, end_at_once)
        task.cancel()

    def end_at_once(number: int, _: FrameType | None) -> None:
        try:
            abandon()
        finally:
            os._exit(BY_SIGNAL + number)

    for each in _SIGNALS:
        loop.add_signal_handler(each, end, each)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise Interrupted(received[0]) from None
    finally:
        if not received:
            for each in _SIGNALS:
                loop.remove_signal_handler(each)


def carry_out(work: Coroutine[Any, Any, int], display: Display) -> int:
    """Do work that comes to an exit code, and have the display sum up.

    Raises:
        Refusal: a fault of ours, or results that could not be written.
    """
    try:
        exit_code = asyncio.run(work)
    except Exception as error:
        display.close()
        raise Refusal(printable(explain(error).sentence)) from error
    display.end(exit_code)
    if display.unwritten and not exit_code:
        raise Refusal(f"the results cannot be written to standard output: {display.unwritten}")
    return exit_code
