"""Several data planes, so that more than one processor moves bodies."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack

from tusd_py.abc import Rest
from tusd_py.stores.descriptor import Descriptor
from tusd_py.stores.plane import Plane, PlaneTransfer

log = logging.getLogger(__name__)

MOST = 4
"""Planes at most: more would wait for the same disk and the same network."""


class Planes:
    """A data plane for each processor that this process may use, at most `MOST`."""

    def __init__(self) -> None:
        """Get them ready; their threads begin with the first body each. Raises `OSError` as a plane does."""
        with ExitStack() as undo:
            self._planes: list[Plane] = []
            for _ in range(min(len(os.sched_getaffinity(0)), MOST)):
                self._planes.append(Plane())
                undo.callback(self._planes[-1].close)
            undo.pop_all()

    @staticmethod
    def make() -> Planes | None:
        """Return planes, or None where the operating system cannot do it."""
        if sys.platform != "linux":
            return None
        try:
            return Planes()
        except OSError as error:
            log.warning("bodies are received without the data plane: %s", error, extra={"action": "data_plane_off"})
            return None

    def begin(self, data: Descriptor, offset: int, rest: Rest, *, last: bool = False) -> PlaneTransfer:
        """Begin to move a body, on the plane that has the fewest; see `Plane.begin`."""
        return min(self._planes, key=lambda plane: plane.load).begin(data, offset, rest, last=last)

    def close(self) -> None:
        """Close all of them; see `Plane.close`."""
        for plane in self._planes:
            plane.close()
