"""A place for examples, and files to upload."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.examples.place import Place

pytest.importorskip("tusclient.client", reason="NOT RUN: needs tuspy")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A copy of the examples, with a file of 9 MiB and a bit: more than two of the client's chunks."""
    place = Place(tmp_path)
    (place.root / "big.iso").write_bytes(os.urandom(9 * 2**20 + 17))
    return place
