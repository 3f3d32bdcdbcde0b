"""The group of all commands."""

from __future__ import annotations

import click

import tusd_py
from tusd_py.cli.completion import completion
from tusd_py.cli.config import config
from tusd_py.cli.download import download
from tusd_py.cli.fsck import fsck
from tusd_py.cli.jobs import jobs
from tusd_py.cli.serve import serve
from tusd_py.cli.upload import upload
from tusd_py.cli.uploads import uploads


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(tusd_py.__version__, prog_name="tusd-py", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, /) -> None:
    """A tus-compatible resumable upload server, and an uploader for any such server.

    Start a server with: tusd-py serve. Send a file with: tusd-py upload FILE URL
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


main.add_command(serve)
main.add_command(upload)
main.add_command(download)
main.add_command(config)
main.add_command(uploads)
main.add_command(jobs)
main.add_command(fsck)
main.add_command(completion)
