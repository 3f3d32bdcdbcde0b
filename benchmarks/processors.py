"""Which processors the servers have: all of them, or so many, with those of the load generator beside them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator


def shared_out(count: int | None) -> tuple[frozenset[int], frozenset[int]]:
    """Return the processors for servers, and those for the load generator.

    Args:
        count: how many the servers have; None = everybody has all of them.
    """
    there = sorted(os.sched_getaffinity(0))
    if count is None:
        return frozenset(there), frozenset(there)
    servers = there[-count:]
    # Where nothing is left they have to share.
    return frozenset(servers), frozenset(there) - set(servers) or frozenset(there)


@contextlib.contextmanager
def on(processors: Collection[int]) -> Iterator[None]:
    """Let this thread, and what it starts, run on some processors only until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
