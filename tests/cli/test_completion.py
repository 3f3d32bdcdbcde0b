"""`tusd-py completion`."""

import pytest
from click.testing import CliRunner

from tests.cli.commands import Command
from tusd_py.cli import main


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef tusd-py"), ("fish", "complete --no-files --command tusd-py")],
)
def test_script_is_for_this_command(shell: str, words: str) -> None:
    """Each shell gets a script of its own that asks `tusd-py`."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert 0 == result.exit_code
    assert words in result.stdout
    assert "_TUSD_PY_COMPLETE" in result.stdout


async def test_bash_is_told_commands_and_flags(command: Command) -> None:
    """The variable that the script sets is the one that the command reads."""
    expectations = [("upload --rec", 2, ["plain,--recursive"]), ("upl", 1, ["plain,upload", "plain,uploads"])]
    for words, place, expected in expectations:
        asked = {"_TUSD_PY_COMPLETE": "bash_complete", "COMP_WORDS": f"tusd-py {words}", "COMP_CWORD": str(place)}
        done = await command.run(env=command.env | asked)
        assert (0, expected) == (done.code, done.lines)
