"""Bodies that are certainly moved: their heads come first, and their bytes when the server waits for them."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.servers import Target
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.web.body import RequestBody

MIB = 2**20


def ways(target: Target) -> tuple[int, int]:
    """Return how many bytes were moved, and how many were read."""
    assert target.tus is not None
    received = target.tus.engine.received
    return received["moved"], received["read"]


async def is_moving(target: Target, url: str) -> bool:
    """Whether a body is being moved into an upload."""
    assert target.tus is not None
    body = target.tus.engine._ctx.receiving.get(url.rpartition("/")[2])
    return isinstance(body, RequestBody) and body._transfer is not None and not body._transfer.is_over


async def start_moved(
    target: Target,
    url: str,
    length: int,
    *,
    offset: int = 0,
    headers: Mapping[str, str] | None = None,
    wire: Wire | None = None,
) -> Wire:
    """Send the head of a PATCH and wait until its body is awaited by the data plane."""
    wire = wire or await Wire.open(url)
    wire.start_patch(url, offset, {"Content-Length": str(length), **(headers or {})})
    await until(lambda: is_moving(target, url))
    return wire
