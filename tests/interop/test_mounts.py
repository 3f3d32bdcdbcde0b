"""The host that clients meet is as strict as it is said to be."""

from __future__ import annotations

import aiohttp

from tests.interop.mounts import Member, Mount
from tests.support.client import Client


async def test_who_has_no_token_does_not_get_in(session: aiohttp.ClientSession, server: Mount) -> None:
    """A host's own middleware stands before the uploads; where there is none, everybody may upload."""
    answer = await Client(session, server.url).post({"Upload-Length": "1"})
    assert answer.status == (401 if server.mode == "guest" else 201)


async def test_other_paths_are_the_hosts(client: Member, server: Mount) -> None:
    """Only what is below the prefix is ours: a catch-all route that was there before keeps the rest."""
    answer = await client.get(server.url.replace("/files/", "/filesystem/x"))
    assert answer.status == (200 if server.mode == "guest" else 404)
    assert (b"the host's own page" in answer.body) == (server.mode == "guest")
