"""The reader notices what is wrong with a page; otherwise a green page would mean nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks_of
from tests.docs.reader import Reader, commands_and_output

UPLOAD = "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:8080/files/')\n"


def block(language: str, text: str) -> Block:
    return Block(Path("page.md"), 1, language, text, None)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("bash", "false\ntrue\n"),
        ("bash", "echo $unknown\n"),
        ("console", "$ echo one\ntwo\n"),
        ("console", "$ printf 'one\\ntwo\\n'\ntwo\none\n"),
        ("console", "tusd-py serve --no-such-flag\n"),
        ("python", "raise ValueError\n"),
        ("python", UPLOAD),
        ("python", "from aiohttp import web\napp = web.Application()\nsetup(app, '/files')\nweb.run_app(app)\n"),
        ("python", 'from aiohttp import web\n# setup(app, "/files")\nweb.run_app(web.Application())\n'),
    ],
)
def test_what_does_not_work_is_noticed(tmp_path: Path, language: str, text: str) -> None:
    """Commands that fail, answers that are others, servers that do not start or take no upload."""
    with pytest.raises((AssertionError, OSError)), Reader(tmp_path) as reader:
        reader.follow(block(language, text))


def test_variables_and_files_stay(tmp_path: Path) -> None:
    """A block goes on where the one before it ended, as in a terminal."""
    with Reader(tmp_path) as reader:
        reader.follow(block("bash", "name='a b'\necho 1 > file\n"))
        reader.follow(block("console", '$ echo "$name" $(cat file)\na b 1\n'))


def test_default_address_is_the_running_server(tmp_path: Path) -> None:
    """A page shows the default address, and gets an answer of its own server with the settings that it names."""
    with Reader(tmp_path) as reader:
        reader.follow(block("console", "$ tusd-py serve --max-size 10\n"))
        reader.follow(
            block(
                "console", "$ curl -sS -i -X OPTIONS http://127.0.0.1:8080/files/\nHTTP/1.1 200 OK\nTus-Max-Size: 10\n"
            )
        )


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """Every process that a page started has ended with it."""
    with Reader(tmp_path) as reader:
        reader.follow(block("console", "tusd-py serve\n"))
        server = reader._server
        assert isinstance(server, subprocess.Popen)
    assert server.poll() is not None


def test_typed_lines_and_shown_lines() -> None:
    """With `$`, the other lines are answers; a backslash joins lines; without `$` everything is typed."""
    assert (["a \\\n  b"], ["c"]) == commands_and_output("$ a \\\n  b\n\nc\n")
    assert (["a", "b"], []) == commands_and_output("a\n\nb\n")


def test_marks_are_read(tmp_path: Path) -> None:
    """A comment right above a block keeps it from being run; other comments do not."""
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: why -->\n```bash\na\n```\n\n<!-- note -->\n```bash\nb\n```\n\n```toml\nc = 1\n```\n")
    found = blocks_of(page)
    assert [("why", False), (None, True), (None, False)] == [(each.not_run, each.runs) for each in found]
    assert [3, 8, 12] == [each.line for each in found]
