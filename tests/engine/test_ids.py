"""Ids: whoever knows one may use the upload, so nobody may guess one (CRE-POST-06, reliability 5.2 row 21)."""

from __future__ import annotations

from collections import Counter

from tests.engine.rooms import house
from tusd_py.engine.create import new_upload
from tusd_py.models.limits import Limits
from tusd_py.protocol.intents import Create


async def test_ids_are_random() -> None:
    """A hundred thousand ids have 128 bits each, none twice, and every digit everywhere equally often. (row 21)"""
    count = 100_000
    async with house() as rooms:
        ids = [new_upload(rooms.engine._ctx, Create(length=1), Limits()).id for _ in range(count)]
    assert len(set(ids)) == count
    assert {len(upload_id) for upload_id in ids} == {32}
    expected = count / 16
    for place in range(32):
        found = Counter(upload_id[place] for upload_id in ids)
        assert set(found) <= set("0123456789abcdef")
        # 15 degrees of freedom: 65 is passed by chance once in 3 * 10^7 times.
        assert sum((found[digit] - expected) ** 2 / expected for digit in "0123456789abcdef") < 65
