"""Hooks and jobs that are programs: what they are told and what they say."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hooks.events import Attempt, event
from tusd_py.errors import HookFailed
from tusd_py.hooks.command import CommandHandler, CommandTask, FixedProgram, HooksDir
from tusd_py.hooks.delivery import Letter
from tusd_py.hooks.process import CommandFailed
from tusd_py.models.hook import HookEvent, HookReply, Moment


def program(place: Path, name: str, body: str) -> Path:
    """An executable shell script."""
    path = place / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def of_dir(place: Path, **options: Any) -> CommandHandler:
    return CommandHandler("dir", HooksDir(place), moments=list(Moment), **options)


def of_script(script: str, **options: Any) -> CommandHandler:
    command = FixedProgram((sys.executable, "-c", script))
    return CommandHandler("script", command, moments=list(Moment), **options)


async def ask(handler: CommandHandler, told: HookEvent | None = None) -> HookReply:
    return await handler.handle(told or event(Moment.PRE_CREATE), key="the-key", attempt=7)


async def test_program_is_told_and_answers(tmp_path: Path) -> None:
    """The payload on its input, the reply on its output, the directory as its place, as with tusd."""
    program(tmp_path, "pre-create", 'cat > told; printf \'{"RejectUpload":true,"HTTPResponse":{"StatusCode":418}}\'')
    reply = await ask(of_dir(tmp_path))
    assert HookReply(refuses=True, status=418) == reply
    assert "pre-create" == json.loads((tmp_path / "told").read_text())["Type"]


async def test_data_is_located() -> None:
    """The program learns where the data is, except before there is any."""
    letter = Letter(locate=lambda upload: Path("/data") / upload.id)
    script = (
        "import json, sys; told = json.load(sys.stdin);"
        " print(json.dumps({'HTTPResponse': {'Body': json.dumps(told['Event']['Upload']['Storage'])}}))"
    )
    reply = await ask(of_script(script, letter=letter), event(Moment.PRE_FINISH))
    assert {"Type": "filestore", "Path": "/data/abc123", "InfoPath": ""} == json.loads(reply.body or "")
    assert "null" == (await ask(of_script(script, letter=letter))).body


@pytest.mark.parametrize("moment", [Moment.PRE_CREATE, Moment.PRE_FINISH])
async def test_environment_is_an_allow_list(moment: Moment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 58: no secret of the server's environment, whatever a client calls its file (row 54)."""
    for name in ("TUSD_PY_HOOKS_SECRET", "AWS_SECRET_ACCESS_KEY", "LC_TIME", "MINE", "OTHER"):
        monkeypatch.setenv(name, "value")
    script = "import json, os; print(json.dumps({'HTTPResponse': {'Body': json.dumps(dict(os.environ))}}))"
    told = event(moment, metadata="filename JChpZCk7cm0gLXJmIC8=")
    seen = json.loads((await ask(of_script(script, env=("MINE", "NOT_SET")), told)).body or "")
    own = {
        "TUS_ID": "" if moment is Moment.PRE_CREATE else "abc123",
        "TUS_OFFSET": "11",
        "TUS_SIZE": "11",
        "TUSD_PY_IDEMPOTENCY_KEY": "the-key",
        "TUSD_PY_ATTEMPT": "7",
    }
    assert own | {"MINE": "value", "LC_TIME": "value", "PATH": os.environ["PATH"]} == {
        name: value for name, value in seen.items() if name not in ("HOME", "LANG", "TZ", "TMPDIR", "LC_CTYPE")
    }


async def test_metadata_is_never_an_argument(tmp_path: Path) -> None:
    """Row 54: `$(id)`, `;rm -rf`, newlines and options are text on standard input, and nowhere else."""
    nasty = "$(touch pwned); touch pwned\n`touch pwned`\n-rf"
    encoded = "JCh0b3VjaCBwd25lZCk7IHRvdWNoIHB3bmVkCmB0b3VjaCBwd25lZGAKLXJm"
    program(tmp_path, "pre-create", "tr '\\0' ' ' < /proc/$$/cmdline > argv; cat > told")
    await ask(of_dir(tmp_path), event(Moment.PRE_CREATE, metadata=f"filename {encoded}"))
    assert nasty == json.loads((tmp_path / "told").read_text())["Event"]["Upload"]["MetaData"]["filename"]
    assert "touch" not in (tmp_path / "argv").read_text()
    assert not (tmp_path / "pwned").exists()


async def test_directory_is_looked_at_each_time(tmp_path: Path) -> None:
    """No file: nobody is told, even if it went after it was wanted. A file that is added later is run."""
    handler = of_dir(tmp_path)
    told = event(Moment.PRE_CREATE)
    assert handler.heeds(Moment.PRE_CREATE)
    assert not handler.wants(told)
    assert HookReply() == await ask(handler)
    program(tmp_path, "pre-create.sh", "exit 1")
    program(tmp_path, "pre-finish", "exit 1")
    assert not handler.wants(told)
    program(tmp_path, "pre-create", "echo '{\"RejectUpload\":true}'")
    assert handler.wants(told)
    assert (await ask(handler)).refuses


@pytest.mark.parametrize("kind", ["not executable", "directory", "dangling link", "no interpreter", "fifo"])
async def test_a_program_that_cannot_be_run_is_a_failure(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pre-create hook that lost its x bit lets nothing in, and the log says why."""
    path = tmp_path / "pre-create"
    match kind:
        case "not executable":
            program(tmp_path, "pre-create", "exit 0").chmod(stat.S_IRUSR)
        case "directory":
            path.mkdir()
        case "dangling link":
            path.symlink_to("nowhere")
        case "no interpreter":
            path.write_text("#!/no/such/interpreter\n")
            path.chmod(0o755)
        case "fifo":
            os.mkfifo(path, 0o755)
    handler = of_dir(tmp_path)
    assert handler.wants(event(Moment.PRE_CREATE))
    with pytest.raises(HookFailed, match=r"executable|plain file|cannot be started"):
        await ask(handler)
    if kind != "no interpreter":
        [record] = caplog.records
        assert "hook_unusable" == record.__dict__["action"]
        assert "pre-create" in record.getMessage()


async def test_a_link_to_a_program_is_run(tmp_path: Path) -> None:
    """One script for several moments."""
    (tmp_path / "hooks").mkdir()
    program(tmp_path, "script", "echo '{\"RejectUpload\":true}'")
    (tmp_path / "hooks" / "pre-create").symlink_to("../script")
    assert (await ask(of_dir(tmp_path / "hooks"))).refuses


@pytest.mark.parametrize("output", ["", "\n", "{}"])
async def test_no_output_wants_nothing(output: str) -> None:
    """As with tusd."""
    assert HookReply() == await ask(of_script(f"print({output!r}, end='')"))


@pytest.mark.parametrize("output", ["ok", "[]", '{"ChangeFileInfo":{"ID":"../../etc/cron.d/x"}}'])
async def test_garbage_with_exit_0_is_a_failure(output: str) -> None:
    """Rows 22 and 57."""
    with pytest.raises(HookFailed):
        await ask(of_script(f"print({output!r})"))


@pytest.mark.parametrize("code", [0, 3])
async def test_standard_error_goes_to_the_log(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """One record, whatever it was; the failure has it too."""
    caplog.set_level(logging.INFO)
    handler = of_script(f"import sys; sys.stderr.write('one\\ntwo\\x1b'); sys.exit({code})")
    if code:
        with pytest.raises(CommandFailed, match="exited with 3") as caught:
            await ask(handler)
        assert "one\ntwo\x1b" == caught.value.output
    else:
        await ask(handler)
    [record] = [each for each in caplog.records if each.name.startswith("tusd_py")]
    assert "hook_output" == record.__dict__["action"]
    assert "script wrote: one\ntwo\x1b" == record.getMessage()


async def work(script: str, attempt: Attempt | None = None, **options: Any) -> object:
    task = CommandTask("task", (sys.executable, "-c", script), **options)
    return await task(attempt or Attempt(event()))


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("", None),
        ("print('{\"a\": [1, null]}')", {"a": [1, None]}),
        ("print('[1,'); print('2]')", [1, 2]),
        ("print('3')", 3),
        ("print('done')", None),
        ("print('{}'); print('done')", None),
        ("import sys; sys.stdout.write('{\"a\": 1}')", {"a": 1}),
    ],
)
async def test_output_of_a_job_is_its_result_when_it_is_json(script: str, result: object) -> None:
    """Anything else is no result, and no failure."""
    assert result == await work(script)


async def test_job_reports_progress_while_it_runs() -> None:
    """Each report arrives before the program goes on, and is no part of the result."""
    script = """
import json, os, signal, sys
told = json.load(sys.stdin)
print('{"size":')
for progress in (0, 0.25, 1):
    print(json.dumps({"progress": progress}), flush=True)
    signal.sigwait({signal.SIGUSR1})
print(f'{told["Event"]["Upload"]["Size"]}}}', end="")
"""
    script = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGUSR1}}){script}import os"
    children = Path("/proc/self/task").glob("*/children")
    known = {pid for path in children for pid in path.read_text().split()}

    def go_on(_: float) -> None:
        now = {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
        for pid in now - known:
            os.kill(int(pid), 10)

    attempt = Attempt(event(), on_report=go_on)
    assert {"size": 11} == await work(script, attempt)
    assert [0.0, 0.25, 1.0] == attempt.reports


@pytest.mark.parametrize(
    "line",
    [
        *('{"progress": 2}', '{"progress": -0.1}', '{"progress": true}', '{"progress": "0.5"}', '{"progress": null}'),
        *('{"progress": 0.5, "a": 1}', '[{"progress": 0.5}]', '"progress"', '{"progress": 1e999}', '{"progress": NaN}'),
    ],
)
async def test_only_a_report_is_a_report(line: str) -> None:
    """What looks like one but is none is output like any other."""
    attempt = Attempt(event())
    await work(f"print({line!r})", attempt)
    assert [] == attempt.reports


async def test_reports_do_not_count_against_the_output() -> None:
    """A job may report for hours."""
    attempt = Attempt(event())
    assert 1 == await work("for _ in range(10000): print('{\"progress\": 0.5}')\nprint(1)", attempt)
    assert 10000 == len(attempt.reports)


async def test_failed_job_keeps_what_it_wrote() -> None:
    """The end of both outputs is for people, the part of the output that was no report."""
    script = "import sys; print('out'); print('{\"progress\": 0.5}'); sys.stdout.flush(); sys.exit('err')"
    with pytest.raises(CommandFailed, match="exited with 1") as caught:
        await work(script)
    assert "out\nerr\n" == caught.value.output


async def test_unparsable_output_of_a_good_job_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It is no result, but somebody may look for it."""
    caplog.set_level(logging.INFO)
    assert await work("import sys; print('done'); sys.stdout.flush(); sys.stderr.write('err')") is None
    [record] = [each for each in caplog.records if each.name.startswith("tusd_py")]
    assert ("job_output", "task wrote: done\nerr") == (record.__dict__["action"], record.getMessage())


async def test_job_that_takes_too_long_fails() -> None:
    """Its own deadline."""
    async with asyncio.timeout(60):
        with pytest.raises(CommandFailed, match=r"longer than 0\.05 s"):
            await work("import time; time.sleep(1000)", timeout=0.05)
