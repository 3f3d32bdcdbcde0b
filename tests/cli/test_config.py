"""`tusd-py config`: what is in force, and why."""

import tomllib
from pathlib import Path

import msgspec
from click.testing import CliRunner, Result

from tusd_py.cli import main
from tusd_py.settings import declared


def _run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["config", *args], env=env, catch_exceptions=False)


def test_prints_a_toml_file_with_origins() -> None:
    """Every setting is there, and beside it who set it."""
    result = _run("--port", "0", "--behind-proxy", env={"TUSD_PY_MAX_SIZE": "1GiB"})
    assert 0 == result.exit_code
    settings = tomllib.loads(result.stdout)
    assert {setting.name for setting in declared()} == set(settings)
    assert (0, True, "1GiB") == (settings["port"], settings["behind_proxy"], settings["max_size"])
    lines = result.stdout.splitlines()
    for name, origin in [("port", "--port"), ("max_size", "TUSD_PY_MAX_SIZE"), ("host", "default")]:
        assert any(line.startswith(f"{name} = ") and line.endswith(f" # {origin}") for line in lines)


def test_switch_can_be_taken_back(tmp_path: Path) -> None:
    """A flag can say no to what a file says."""
    path = tmp_path / "t.toml"
    path.write_text("behind_proxy = true\ndisable_cors = true\n")
    settings = tomllib.loads(_run("--config", str(path), "--behind-proxy=false").stdout)
    assert (False, True) == (settings["behind_proxy"], settings["disable_cors"])


def test_list_flags_add_up() -> None:
    """A repeated flag is a list."""
    result = _run("--trusted-proxy", "10.0.0.1", "--trusted-proxy", "10.0.0.2,10.0.0.3")
    assert ["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"] == tomllib.loads(result.stdout)["trusted_proxy"]


def test_json_has_values_and_origins() -> None:
    """Machines get numbers, nulls and lists."""
    record = msgspec.json.decode(_run("--json", "--lock-timeout", "500ms").stdout)
    assert {"value": 0.5, "origin": "--lock-timeout"} == record["lock_timeout"]
    assert {"value": None, "origin": "default"} == record["max_size"]
    assert {"value": "data", "origin": "default"} == record["data_dir"]
    assert [] == record["disable_extension"]["value"]


def test_reference_needs_no_valid_settings() -> None:
    """The page is about all settings, not about those in force."""
    result = _run("--reference", env={"TUSD_PY_PORT": "x"})
    assert result.stdout.startswith("# Settings\n")
