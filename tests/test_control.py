"""The socket by which another process asks a running server to do something."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import uvloop

from tests.support.waiting import until
from tusd_py import control
from tusd_py.control import LONGEST_LINE, MOST_CONNECTIONS, ControlSocket, Refused, Unreachable, ask
from tusd_py.errors import StoreError
from tusd_py.jobs.steps import JobStateError
from tusd_py.jobs.verbs import JobNotFound


class Verbs:
    """What can be asked for here."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cancelled: list[str] = []

    async def say(self, word: str) -> object:
        return {"said": word}

    async def nothing(self) -> None:
        pass

    async def hang(self) -> None:
        self.began.append("hang")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append("hang")
            raise

    async def fail(self, how: str) -> None:
        raise {
            "missing": JobNotFound("There is no job a:b"),
            "state": JobStateError("The job a:b is executing"),
            "store": StoreError("The disk is full"),
            "fault": ZeroDivisionError("inside"),
            "late": TimeoutError("inside"),
        }[how]

    async def odd(self) -> object:
        return object()

    def table(self) -> dict[str, Callable[..., Awaitable[object]]]:
        return {name: getattr(self, name) for name in ("say", "nothing", "hang", "fail", "odd")}


@asynccontextmanager
async def listening(path: Path, verbs: Verbs | None = None) -> AsyncIterator[Verbs]:
    """Listen on a path for the time of the block."""
    verbs = verbs or Verbs()
    server = ControlSocket(path, verbs.table())
    await server.start()
    try:
        yield verbs
    finally:
        await server.close()


async def asked(path: Path, verb: str, **args: str) -> object:
    """Ask from another thread, as `ask` blocks."""
    return await asyncio.to_thread(ask, path, verb, **args)


async def refusal(path: Path, verb: str, **args: str) -> tuple[str, str]:
    """Ask for something that is refused; return the code and the sentence."""
    with pytest.raises(Refused) as caught:
        await asked(path, verb, **args)
    return caught.value.code, str(caught.value)


async def raw(path: Path, line: bytes) -> dict[str, dict[str, str]]:
    """Send any bytes; return the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    answer = await reader.readline()
    writer.close()
    return msgspec.json.decode(answer)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def test_what_is_asked_for_is_done(path: Path) -> None:
    """A verb is called with texts by name, and what it returns comes back; afterwards nothing is left."""
    async with listening(path):
        assert {"said": "h\x1bé"} == await asked(path, "say", word="h\x1bé")
        assert await asked(path, "nothing") is None
    assert not path.exists()
    with pytest.raises(Unreachable, match="No such file"):
        ask(path, "nothing")


async def test_only_the_user_may_connect(path: Path) -> None:
    """The socket has mode 0600 from the first moment."""
    async with listening(path):
        status = path.lstat()
    assert stat.S_ISSOCK(status.st_mode)
    assert 0o600 == stat.S_IMODE(status.st_mode)


async def test_other_users_are_turned_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets through the modes is asked for by the kernel: neither this user nor root."""
    async with listening(path):
        monkeypatch.setattr(control.os, "geteuid", lambda: 12345)
        monkeypatch.setattr(control, "_ROOT", 12345)
        assert "forbidden" == (await refusal(path, "nothing"))[0]
        monkeypatch.undo()
        assert await asked(path, "nothing") is None


@pytest.mark.parametrize(
    ("how", "code", "sentence"),
    [
        ("missing", "not-found", "There is no job a:b"),
        ("state", "refused", "The job a:b is executing"),
        ("store", "failed", "The disk is full"),
    ],
)
async def test_refusals_are_told(path: Path, how: str, code: str, sentence: str) -> None:
    """The sentences of verbs reach whoever asked."""
    async with listening(path):
        assert (code, sentence) == await refusal(path, "fail", how=how)


@pytest.mark.parametrize("args", [("fail", {"how": "fault"}), ("fail", {"how": "late"}), ("odd", {})])
async def test_faults_stay_inside(
    path: Path, args: tuple[str, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """I20: a verb with a fault is logged with its traceback; whoever asked is told that, and the server goes on."""
    async with listening(path):
        assert ("failed", "a fault of the server; its log has the traceback") == await refusal(path, args[0], **args[1])
        assert await asked(path, "nothing") is None
    assert ["control_failed"] == [record.action for record in caplog.records]
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\n",
        b'{"verb": "\xff"}\n',
        b"[" * 60_000 + b"\n",
        b"x" * (LONGEST_LINE + 1),
        b"x" * LONGEST_LINE + b"\n",
        b"null\n",
        b"{}\n",
        b'{"verb": "nothing", "more": 1}\n',
        b'{"verb": "say", "args": {"word": 1}}\n',
        b'{"verb": "say", "args": {"wrong": "a"}}\n',
        b'{"verb": "say"}\n',
        b'{"verb": "nothing", "args": {"self": "a"}}\n',
        b'{"verb": "__class__"}\n',
        b'{"verb": "\\ud800"}\n',
    ],
    ids=range(17),
)
async def test_garbage_is_answered(path: Path, line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """I20: whatever comes in is answered with an error, and disturbs nothing."""
    async with listening(path):
        assert "bad-request" == (await raw(path, line))["error"]["code"]
        assert await asked(path, "nothing") is None
    assert [] == caplog.records


async def test_whoever_says_nothing_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that sends no line ends after a while, with an error."""
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    async with listening(path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"verb": ')
        answer = msgspec.json.decode(await reader.read())
        writer.close()
    assert "timeout" == answer["error"]["code"]


async def test_what_takes_too_long_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that hangs is cancelled, and whoever asked is told."""
    monkeypatch.setattr(control, "PATIENCE", 0.5)
    async with listening(path) as verbs:
        assert "timeout" == (await refusal(path, "hang"))[0]
        assert ["hang"] == verbs.cancelled


async def test_too_many_at_once_are_turned_away(path: Path) -> None:
    """Connections are bounded; when some have gone, others are served."""
    async with listening(path):
        writers = [(await asyncio.open_unix_connection(path))[1] for _ in range(MOST_CONNECTIONS)]
        assert "busy" == (await refusal(path, "nothing"))[0]
        writers.pop().close()

        async def served() -> bool:
            try:
                return await asked(path, "nothing") is None
            except Refused:
                return False

        await until(served)
        for writer in writers:
            writer.close()


async def test_closing_waits_for_nobody(path: Path) -> None:
    """What is under way is cancelled, and whoever asked learns that there is no answer."""
    server = ControlSocket(path, (verbs := Verbs()).table())
    await server.start()
    asking = asyncio.create_task(refusal(path, "hang"))

    async def begun() -> bool:
        return bool(verbs.began)

    await until(begun)
    await server.close()
    assert ("no-answer", "the server gave no answer") == await asking
    assert ["hang"] == verbs.cancelled
    await server.close()


async def test_socket_of_a_killed_server_is_replaced(path: Path) -> None:
    """What a kill leaves refuses connections; the next server takes its place."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(Unreachable, match="Connection refused"):
        ask(path, "nothing")
    async with listening(path):
        assert await asked(path, "nothing") is None


async def test_what_is_no_socket_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file in the way stays as it is; the server runs all the same and says that it cannot be asked."""
    path.write_text("mine")
    async with listening(path):
        with pytest.raises(Unreachable):
            await asked(path, "nothing")
    assert "mine" == path.read_text()
    assert ["control_unavailable"] == [record.action for record in caplog.records]


async def test_links_are_not_followed(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A symbolic link in the way stays, and so does the socket behind it."""
    other = tmp_path / "other.sock"
    async with listening(other):
        path.symlink_to(other)
        async with listening(path):
            pass
        assert path.is_symlink()
        assert await asked(other, "nothing") is None
    assert ["control_unavailable"] == [record.action for record in caplog.records]


async def test_a_server_that_cannot_be_asked_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever keeps the socket from being made is logged, not raised."""
    async with listening(tmp_path / "gone" / "control.sock"):
        pass
    assert ["control_unavailable"] == [record.action for record in caplog.records]


async def test_long_paths(tmp_path: Path) -> None:
    """The kernel takes 107 bytes of a path; data directories may be deeper."""
    deep = tmp_path / ("d" * 120) / ("é" * 60)
    deep.mkdir(parents=True)
    async with listening(deep / "control.sock"):
        assert {"said": "a"} == await asked(deep / "control.sock", "say", word="a")
        assert ["control.sock"] == [place.name for place in deep.iterdir()]
    assert [] == list(deep.iterdir())


def test_other_loops(tmp_path: Path) -> None:
    """An application may run on uvloop."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    path = deep / "control.sock"

    async def main() -> None:
        async with listening(path):
            assert {"said": "a"} == await asked(path, "say", word="a")
            assert "bad-request" == (await refusal(path, "say"))[0]
        assert not path.exists()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
