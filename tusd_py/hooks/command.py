"""Hooks and jobs that are programs: a fixed one, or those of a directory as tusd has it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from tusd_py.errors import HookFailed
from tusd_py.hooks.delivery import Letter, SelectiveHandler, Work, read_result
from tusd_py.hooks.payload import decode_reply, told_id, told_size
from tusd_py.hooks.process import CommandFailed, environment, run_command, tail
from tusd_py.models.hook import HookEvent, HookReply, Moment
from tusd_py.models.upload import short

log = logging.getLogger(__name__)


class Program(Protocol):
    """What is run at a moment."""

    @property
    def cwd(self) -> Path | None:
        """The directory in which it is run; None = that of the server."""

    def argv(self, moment: Moment) -> Sequence[str] | None:
        """Return the program and its arguments; None = nothing is run. Raises `HookFailed` when it cannot be."""


@dataclass(frozen=True, slots=True)
class FixedProgram:
    """The same program at every moment; its arguments come from the configuration, never from an upload."""

    command: Sequence[str]
    cwd: Path | None = None

    def argv(self, moment: Moment) -> Sequence[str] | None:
        """Return the command."""
        del moment
        return self.command


class HooksDir:
    """A directory with a program for each moment, named like it, without a suffix. It is looked at each time."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    @property
    def cwd(self) -> Path | None:
        """The directory itself."""
        return self._path

    def argv(self, moment: Moment) -> Sequence[str] | None:
        """Return the program of a moment; None when there is no such file.

        Raises:
            HookFailed: there is one that cannot be run. A `pre-` hook that lost its x bit must not let everything in.
        """
        path = self._path / moment
        # A link that leads nowhere is there, and cannot be run.
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            raise HookFailed(f"{path.name} is not a plain file")
        if not os.access(path, os.X_OK):
            raise HookFailed(f"{path.name} is not executable")
        return (str(path),)


class CommandHandler(SelectiveHandler):
    """Runs a program with every event: the payload on its standard input, the reply on its standard output.

    Args:
        timeout: seconds of one call.
        env: names of variables that it gets from the server's environment, beside the harmless ones.
    """

    def __init__(
        self,
        name: str,
        program: Program,
        *,
        moments: Collection[Moment],
        wants: Callable[[HookEvent], bool] = lambda _: True,
        timeout: float = 15.0,
        letter: Letter | None = None,
        env: Sequence[str] = (),
    ) -> None:
        super().__init__(name, moments=moments, wants=wants)
        self._program = program
        self._timeout = timeout
        self._letter = letter or Letter()
        self._env = tuple(env)

    def wants(self, event: HookEvent) -> bool:
        """Whether it wants the event and there is a program for it."""
        if not super().wants(event):
            return False
        try:
            return self._program.argv(event.moment) is not None
        except (HookFailed, OSError):
            # Better told that it failed than not asked at all.
            return True

    async def handle(self, event: HookEvent, *, key: str, attempt: int = 1) -> HookReply:
        """Run the program. Raises `HookFailed` with the end of its standard error as `output`."""
        argv = self._argv(event.moment)
        if argv is None:
            return HookReply()
        output = ""
        try:
            outcome = await run_command(
                argv,
                stdin=self._letter.write(event),
                env=environment(self._env, _told(event, key, attempt)),
                timeout=self._timeout,
                cwd=self._program.cwd,
            )
            output = outcome.output
        except CommandFailed as error:
            output = error.output
            raise
        finally:
            _log_output(self.name, event, output, {"action": "hook_output"})
        return decode_reply(outcome.stdout, event.moment)

    def _argv(self, moment: Moment) -> Sequence[str] | None:
        try:
            return self._program.argv(moment)
        except (HookFailed, OSError) as error:
            message = error.message if isinstance(error, HookFailed) else f"cannot be looked at: {error.strerror}"
            log.error("hook %s cannot be run: %s", self.name, message, extra={"action": "hook_unusable"})  # noqa: TRY400
            raise HookFailed(message) from error


class CommandTask:
    """Runs a program as the work of a job, usable as the `run` of a task.

    A line of its standard output that is `{"progress": 0.5}` is a report while it runs. The rest is the result when
    it is JSON; otherwise there is none.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        timeout: float = 3600.0,
        letter: Letter | None = None,
        env: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._command = tuple(command)
        self._timeout = timeout
        self._letter = letter or Letter()
        self._env = tuple(env)

    async def __call__(self, work: Work) -> object:
        """Return the result. Raises `HookFailed`; its `output` has what the program wrote, the end of it.

        Cancelling ends the program.
        """
        try:
            outcome = await run_command(
                self._command,
                stdin=self._letter.write(work.event),
                env=environment(self._env, _told(work.event, work.key, work.attempt)),
                timeout=self._timeout,
                sieve=lambda line: _report(work, line),
            )
        except CommandFailed as error:
            raise CommandFailed(error.message, output=_result_of(error.stdout, error.output)[1]) from error
        result, output = _result_of(outcome.stdout, outcome.output)
        _log_output(self._name, work.event, output, {"action": "job_output"})
        return result


def _result_of(stdout: bytes, output: str) -> tuple[object, str]:
    """Return the result, and for people what was written that is none."""
    try:
        return read_result(stdout), output
    except HookFailed:
        return None, tail(stdout + output.encode())


def _report(work: Work, line: bytes) -> bool:
    """Pass a report of progress on; False when the line is none."""
    if b'"progress"' not in line:
        return False
    try:
        progress = msgspec.json.decode(line, type=dict[str, float])
    except (ValueError, RecursionError):
        return False
    fraction = progress.pop("progress", -1.0)
    if progress or not 0.0 <= fraction <= 1.0:
        return False
    work.report(fraction)
    return True


def _told(event: HookEvent, key: str, attempt: int) -> dict[str, str]:
    """Return the variables that say what happened: those of tusd, and two of ours."""
    return {
        "TUS_ID": told_id(event),
        "TUS_OFFSET": str(event.upload.offset),
        "TUS_SIZE": str(told_size(event)),
        "TUSD_PY_IDEMPOTENCY_KEY": key,
        "TUSD_PY_ATTEMPT": str(attempt),
    }


def _log_output(name: str, event: HookEvent, output: str, kind: dict[str, str]) -> None:
    if output.strip():
        log.info("%s wrote: %s", name, output, extra={**kind, "upload_id": short(event.upload.id)})
