"""A disk that fails outside of a PATCH."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Answer, Client
from tests.support.servers import embedded


async def test_is_no_fault_of_the_program(
    tmp_path: Path, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """POST, GET and DELETE on a failing disk are answered 500, and the log says what failed (I20)."""

    async def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async with embedded(tmp_path / "data") as server:
        client = Client(session, server.url)
        url = await client.upload(b"hello")
        assert server.tus is not None
        answers: list[Answer] = []
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            for name in ("create", "read_from", "remove"):
                patch.setattr(server.tus._data, name, fail)
            answers.append(await client.post({"Upload-Length": "0"}))
            answers.append(await client.get(url))
            answers.append(await client.delete(url))
    assert [500] * 3 == [answer.status for answer in answers]
    assert {"ERR_INTERNAL_SERVER_ERROR"} == {answer.code for answer in answers}
    assert ["store_failed"] * 3 == [vars(record).get("action") for record in caplog.records]
