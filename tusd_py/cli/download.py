"""`tusd-py download`: a file from a server, whole or not at all."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from tusd_py.cli.display import Display, open_display
from tusd_py.cli.ending import BY_SIGNAL, Interrupted, carry_out, interruptible
from tusd_py.cli.text import printable
from tusd_py.cli.transfer_options import EXIT_CODES, UrlType, explain, read_options, transfer_options
from tusd_py.client.download import download as fetch
from tusd_py.client.errors import DestinationUnusable
from tusd_py.client.naming import choose_name
from tusd_py.client.records import Downloaded, Event, Options

_PIPE = Path("-")


@click.command(epilog=EXIT_CODES)
@click.argument("url", type=UrlType())
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A file; a directory, for a file named as the server says; or - for standard output.  [.]",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there, when the new one is whole.")
@transfer_options
@click.pass_context
def download(ctx: click.Context, /, url: str, output: Path | None, overwrite: bool, **flags: Any) -> None:
    """Download a finished upload, or any other file, and go on with what an earlier run has begun.

    What fails is tried again. Until the file is whole, what has arrived is beside it in a file whose name ends with
    .part; the same command goes on with that, as long as the server has the same file.

    Prints where the file is.
    """
    if output == _PIPE and flags["as_json"]:
        raise click.UsageError("Standard output cannot have both the file and --json.", ctx)
    options = read_options(ctx)
    try:
        display = open_display([None], as_json=flags["as_json"], quiet=flags["quiet"])
        fetching = _Fetching(display, url, output, options, overwrite=overwrite, as_json=flags["as_json"])
        ctx.exit(carry_out(fetching.run(), display))
    except KeyboardInterrupt:
        ctx.exit(BY_SIGNAL + signal.SIGINT)


class _Fetching:
    def __init__(
        self, display: Display, url: str, output: Path | None, options: Options, *, overwrite: bool, as_json: bool
    ) -> None:
        self._display = display
        self._url = url
        self._output = output
        self._options = options
        self._overwrite = overwrite
        self._as_json = as_json
        self._shown = choose_name("", url) if output in (None, _PIPE) else str(output)

    async def run(self) -> int:
        """Download; return the exit code. Ended by a signal, it says what becomes of what has arrived."""
        try:
            return await interruptible(self._fetch(), abandon=self._display.close)
        except Interrupted as interrupted:
            self._display.say(self._farewell(), error=True)
            return interrupted.exit_code

    async def _fetch(self) -> int:
        async with self._display:
            self._display.begin(self._shown, None)
            try:
                done = await fetch(
                    self._url,
                    self._destination(),
                    options=self._options,
                    on_event=self._tell,
                    overwrite=self._overwrite,
                )
            except Exception as error:  # noqa: BLE001 - told in one line, whatever it is
                failure = explain(error)
                self._display.fail(self._shown, failure)
                return failure.exit_code
            self._tell_place(done)
            return 0

    def _destination(self) -> Path | int | None:
        if self._output != _PIPE:
            return self._output
        if sys.stdout is None:
            raise DestinationUnusable("standard output is closed")
        return sys.stdout.fileno()

    def _tell(self, event: Event) -> None:
        self._display.show(self._shown, event)

    def _tell_place(self, done: Downloaded) -> None:
        if self._as_json:
            shown, path = (os.fsencode(name).decode(errors="backslashreplace") for name in (self._shown, done.path))
            self._display.write(msgspec.json.encode({"event": "downloaded", "file": shown, "path": path}))
        elif self._output != _PIPE:
            self._display.result(printable(done.path))

    def _farewell(self) -> str:
        if self._output == _PIPE:
            return "interrupted; what went to standard output cannot be taken back, so the same command begins anew"
        return "interrupted; the same command goes on from there, if the server has the same file then"
