"""The command line as people and scripts see it: help, exit codes, flags made from settings."""

import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

import tusd_py
from tusd_py.cli import main
from tusd_py.settings import declared


def _run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, args, env=env)


def test_bare_command_prints_help() -> None:
    """Nothing starts by accident: the bare command explains itself and ends well."""
    result = _run()
    assert 0 == result.exit_code
    assert "serve" in result.stdout
    assert result.stdout == _run("--help").stdout


def test_version() -> None:
    """One line: name and version."""
    assert f"tusd-py {tusd_py.__version__}\n" == _run("--version").stdout


def test_module_is_the_command() -> None:
    """`python -m tusd_py` works where the script is not on the path."""
    done = subprocess.run([sys.executable, "-m", "tusd_py", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tusd-py ")


def test_help_shows_every_setting_in_its_group() -> None:
    """`serve --help` lists all flags below the titles of their groups, with their defaults."""
    text = _run("serve", "--help").stdout
    for setting in declared():
        assert not setting.flag or f"  {setting.flag} " in text
        assert f"{setting.doc.group}:" in text
    assert "[8080]" in text


def test_secret_has_no_flag() -> None:
    """Row 58: every user of the machine sees command lines, so a secret cannot be written into one."""
    assert "--hooks-secret " not in _run("serve", "--help").stdout
    result = _run("config", "--hooks-secret", "correct horse battery")
    assert (2, False) == (result.exit_code, "correct horse" in result.output)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["serve", "--nope"], 2, "No such option"),
        (["serve", "--durability", "both"], 2, "'both' is not one of"),
        (["config", "--port", "x"], 2, "Error: --port: 'x' is not a whole number\n"),
        (["config", "--config", "/nonexistent.toml"], 2, "Error: --config: /nonexistent.toml cannot be read"),
        (["serve", "--cors-allow-credentials"], 2, "Error: --cors-allow-credentials: true would let any page"),
        (["uploads", "ls", "--data-dir", "/nonexistent"], 1, "Error: there is no upload database /nonexistent/"),
        (["uploads", "rm"], 2, "Missing argument"),
    ],
)
def test_exit_codes(args: list[str], code: int, message: str) -> None:
    """2 for what was typed or set wrongly, 1 for what cannot be done; a sentence, never a traceback."""
    result = _run(*args)
    assert code == result.exit_code
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_bad_variable_is_one_line() -> None:
    """An error in a setting is exactly one line on stderr, nothing on stdout."""
    result = _run("serve", env={"TUSD_PY_MAX_SISE": "1"})
    assert 2 == result.exit_code
    assert "" == result.stdout
    assert "Error: TUSD_PY_MAX_SISE: there is no such setting; did you mean TUSD_PY_MAX_SIZE?\n" == result.stderr
