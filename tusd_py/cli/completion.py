"""`tusd-py completion`: what a shell needs to complete this command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_NAME = "tusd-py"
_VARIABLE = "_TUSD_PY_COMPLETE"

_WHERE_TO = """\
\b
For bash:  tusd-py completion bash > ~/.local/share/bash-completion/completions/tusd-py
For zsh:   put eval "$(tusd-py completion zsh)" into ~/.zshrc, after compinit
For fish:  tusd-py completion fish > ~/.config/fish/completions/tusd-py.fish
"""


@click.command(epilog=_WHERE_TO)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print a script that makes a shell complete commands, flags and files."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, _NAME, _VARIABLE).source())
