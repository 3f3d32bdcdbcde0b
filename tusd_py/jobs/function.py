"""An application's functions as tasks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

from tusd_py.jobs.registry import Work
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol.metadata import read_metadata

Function = Callable[[FinishedUpload], object]
"""Is given a finished upload and returns a result, or a coroutine that does."""


def name_of(function: Function) -> str:
    """Return the name that a function has as a task unless it is given one: its qualified name.

    Raises ValueError for one that has none, such as a `functools.partial`.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name:
        raise ValueError(f"{function!r} has no qualified name; give the task one")
    return f"{module}.{name}"


def runs(function: Function, locate: Callable[[UploadInfo], Path | None]) -> Callable[[Work], Awaitable[object]]:
    """Return what makes a task of a function: `Task.run`.

    `locate` says where the data of an upload is. A function that is not a coroutine function runs in a thread, which
    nothing can stop: at its deadline the attempt has failed, and the thread goes on beside the next one.
    """

    async def run(work: Work) -> object:
        upload = _describe(work, locate)
        if inspect.iscoroutinefunction(function):
            return await function(upload)
        result = await asyncio.to_thread(function, upload)
        return await result if inspect.isawaitable(result) else result

    return run


def _describe(work: Work, locate: Callable[[UploadInfo], Path | None]) -> FinishedUpload:
    upload = work.event.upload
    return FinishedUpload(
        id=upload.id,
        length=upload.offset,
        metadata=read_metadata(upload.metadata),
        path=locate(upload),
        created_at=upload.created_at,
        finished_at=work.event.at if upload.finished_at is None else upload.finished_at,
        attempt=work.attempt,
        idempotency_key=work.key,
        _report=work.report,
    )
