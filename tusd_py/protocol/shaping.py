"""What a hook wants to add to an answer, added to it."""

from __future__ import annotations

from msgspec.structs import replace

from tusd_py.models.hook import NOTHING, HookReply
from tusd_py.protocol.messages import Reply

_TEXT = ("Content-Type", "text/plain; charset=utf-8")


def shaped(reply: Reply, wanted: HookReply) -> Reply:
    """Return an answer with the status, body and headers of a hook.

    A status counts only when it says the same as ours: a success stays one, and so does a refusal. Where the status is
    204 there is no body. Headers of ours give way to those of the same name.
    """
    if wanted is NOTHING:
        return reply
    status = reply.status
    if wanted.status is not None and (wanted.status >= 400) == (status >= 400):
        status = wanted.status
    body = reply.body if wanted.body is None else wanted.body.encode(errors="replace")
    body = b"" if status == 204 else body
    names = {name.lower() for name, _ in wanted.headers}
    headers = [(name, value) for name, value in reply.headers if name.lower() not in names] + [*wanted.headers]
    if body and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(_TEXT)
    return replace(reply, status=status, headers=headers, body=body)
