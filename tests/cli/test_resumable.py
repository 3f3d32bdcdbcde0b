"""`tusd-py uploads resumable`: what was begun from here and would go on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec

from tests.cli.commands import Command, Done
from tests.support.servers import Target
from tusd_py.client.source import Fingerprint
from tusd_py.client.urlstore import Stored, UrlStore

BODY = os.urandom(3 * 2**20)


def store_of(command: Command) -> UrlStore:
    return UrlStore(command.home / "state" / "tusd-py" / "resumable.sqlite3")


async def remember(
    command: Command, path: Path, endpoint: str = "https://example.org/files/", begun: float = 0
) -> None:
    there = path.stat() if path.exists() else os.stat_result([0] * 10)
    stored = Stored(
        path=str(path),
        endpoint=endpoint,
        fingerprint=Fingerprint(there.st_size, there.st_mtime_ns, there.st_ino, "ab" * 32),
        key="0" * 32,
        urls=(f"{endpoint}1", None),
        created_at=begun,
        updated_at=0.0,
    )
    await store_of(command).remember(stored)


async def listed(command: Command) -> list[dict[str, object]]:
    done = await command.run("uploads", "resumable", "--json")
    assert (0, "") == (done.code, done.err)
    found: list[dict[str, object]] = msgspec.json.decode(done.out)["resumable"]
    return found


async def test_an_upload_that_was_cut_off_is_listed(command: Command, uploads_server: Target, tmp_path: Path) -> None:
    """It is there until it has arrived, by its full path."""
    path = tmp_path / "film"
    path.write_bytes(BODY)
    upload = ("upload", "film", uploads_server.url)
    async with await command.start(*upload, "--json", "--limit-rate=2MiB", cwd=tmp_path) as running:
        await running.until_moving()
        running.process.send_signal(signal.SIGKILL)
        await running.process.wait()
    (found,) = await listed(command)
    assert (str(path), uploads_server.url, len(BODY), "same") == tuple(
        found[name] for name in ("path", "endpoint", "size", "file")
    )
    done = await command.run("uploads", "resumable")
    assert done.lines[0].split() == ["BEGUN", "SIZE", "FILE", "NOW", "SERVER", "FILE"]
    assert ["3.0", "MiB", "same", uploads_server.url, str(path)] == done.lines[1].split()[1:]
    assert 0 == (await command.run(*upload, cwd=tmp_path)).code
    assert [] == await listed(command)


async def test_nothing_is_known(command: Command) -> None:
    """An empty list is no failure, and leaves nothing behind."""
    done = await command.run("uploads", "resumable")
    assert (0, "", "no unfinished uploads\n") == (done.code, done.out, done.err)
    assert [] == await listed(command)
    assert not (command.home / "state").exists()


async def test_files_that_changed_since(command: Command, tmp_path: Path) -> None:
    """The oldest comes first, and each says what has become of its file."""
    for begun, name in ((3, "same"), (2, "changed"), (1, "gone")):
        (tmp_path / name).write_text(name)
        await remember(command, tmp_path / name, begun=begun)
    (tmp_path / "changed").write_text("now")
    (tmp_path / "gone").unlink()
    assert ["gone", "changed", "same"] == [each["file"] for each in await listed(command)]


async def test_a_file_is_forgotten(command: Command, tmp_path: Path) -> None:
    """By whatever path it is named, there or not, with all servers it was on its way to; others stay."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("a")
    await remember(command, tmp_path / "a")
    await remember(command, tmp_path / "a", "https://example.net/files/")
    await remember(command, tmp_path / "b")
    assert 0 == (await command.run("uploads", "resumable", "--forget", "link", cwd=tmp_path)).code
    assert [str(tmp_path / "b")] == [each["path"] for each in await listed(command)]
    (tmp_path / "b").unlink()
    assert 0 == (await command.run("uploads", "resumable", "--forget", tmp_path / "b")).code
    again = await command.run("uploads", "resumable", "--forget", tmp_path / "b")
    assert (1, f"Error: no unfinished upload of {tmp_path / 'b'} is known\n") == (again.code, again.err)


async def test_names_of_every_kind(command: Command, tmp_path: Path) -> None:
    """A name that is no text, or would move the cursor, is shown harmlessly, and can be forgotten."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[2J"))
    path.touch()
    await remember(command, path)
    assert f"{tmp_path}/\\xff\x1b[2J" == (await listed(command))[0]["path"]
    assert (await command.run("uploads", "resumable")).lines[1].endswith(f"{tmp_path}/\\udcff\\x1b[2J")
    assert 0 == (await command.run("uploads", "resumable", "--forget", path)).code
    assert [] == await listed(command)


async def test_a_store_that_is_damaged_is_told(command: Command) -> None:
    """In one line, with the name of the file."""
    place = store_of(command).path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * 5000)
    answers: list[Done] = [
        await command.run("uploads", "resumable"),
        await command.run("uploads", "resumable", "--forget", "x"),
    ]
    assert [(1, f"Error: {place} cannot be used: file is not a database\n")] * 2 == [
        (done.code, done.err) for done in answers
    ]
