"""Whatever has a name for users has a line in the reference, and what is gone is gone from it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import tusd_py
import tusd_py.abc
import tusd_py.testing
from tests.docs.blocks import PAGES, ROOT
from tusd_py import client
from tusd_py.errors import TusError
from tusd_py.models.limits import EXTENSIONS
from tusd_py.settings import Settings, declared

REFERENCE = ROOT / "docs" / "reference"
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def actions_in_code() -> set[str]:
    """Return every action of the package: in `"action": ...`, and in calls of functions that take it as an argument."""
    found: set[str] = set()
    for path in (ROOT / "tusd_py").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        takers = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef) and "action" in names_of(node)}
        for node in nodes:
            if isinstance(node, ast.Dict):
                written = [
                    value
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant) and key.value == "action"
                    if not (takers and ast.unparse(value) == "action")
                ]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in takers:
                written = [action_of(node, takers[node.func.id])]
            else:
                continue
            for value in written:
                assert isinstance(value, ast.Constant), f"{path}: an action that is not written out"
                found.add(value.value)
    return found


def names_of(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]


def action_of(call: ast.Call, taker: ast.FunctionDef) -> ast.expr:
    by_name = {keyword.arg: keyword.value for keyword in call.keywords}
    return by_name["action"] if "action" in by_name else call.args[names_of(taker).index("action")]


def test_every_log_action_is_documented() -> None:
    """People can look up each action that they meet in a log, and filter for each that is listed."""
    assert actions_in_code() == set(re.findall(r"^\| `(\w+)` \|", page("log-actions.md"), re.MULTILINE))


def test_every_public_name_is_documented() -> None:
    """The page of the Python API has an entry for each name of `tusd_py.__all__` and `tusd_py.client.__all__`."""
    entry = r"^\.\. (?:auto)?(?:class|function|exception):: tusd_py\.((?:client\.)?\w+)"
    entries = re.findall(entry, page("api.md"), re.MULTILINE)
    assert sorted([*tusd_py.__all__, *(f"client.{name}" for name in client.__all__)]) == sorted(entries)


def test_every_suite_for_plug_ins_is_named() -> None:
    """Plug-in authors learn of each suite that is shipped."""
    suites = {name for name in tusd_py.testing.__all__ if name.endswith("Tests")}
    assert suites == set(re.findall(r"`(\w+Tests)`", page("plug-ins.md")))


def test_every_setting_is_documented() -> None:
    """Each setting has a row with its name and its flag, or says that it has none."""
    rows = re.findall(r"^\| `(\w+)`<br>(?:`(--[a-z-]+)`|no flag) \|", page("settings.md"), re.MULTILINE)
    assert [(setting.name, setting.flag) for setting in declared()] == rows


def test_page_of_commands_is_the_generated_one() -> None:
    """`make docs` was run after the last change of a command."""
    script = ROOT / "docs" / "command_line.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == page("command-line.md")


def test_every_extension_is_in_the_page_of_the_protocol() -> None:
    """The table lists what `Tus-Extension` does."""
    text = TEXTS["docs/topics/protocol.md"]
    assert list(EXTENSIONS) == re.findall(r"^\| ([a-z-]+) \|", text.split("## Where tus")[0], re.MULTILINE)[1:]


def kinds_of(error: type[TusError]) -> set[type[TusError]]:
    return {error}.union(*(kinds_of(kind) for kind in error.__subclasses__()))


def test_pages_name_real_codes_settings_and_variables() -> None:
    """No page sends its reader after an error code, a setting or a variable that does not exist."""
    codes = {kind.code for kind in kinds_of(TusError)}
    names = set(Settings.__struct_fields__)
    for name, text in TEXTS.items():
        assert set() == set(re.findall(r"\bERR_[A-Z_]+\b", text)) - codes, name
        variables = {variable.lower() for variable in re.findall(r"\bTUSD_PY_([A-Z_]+)\b", text)}
        assert set() == variables - names - {"config", "idempotency_key", "attempt"}, name  # the last two are for hooks


def test_pages_name_real_flags() -> None:
    """Flags after `tusd-py serve` exist."""
    flags = {setting.flag for setting in declared()} | {"--config"}
    for name, text in TEXTS.items():
        for command in re.findall(r"^(?:\$ )?tusd-py serve(.*)$", text, re.MULTILINE):
            assert set() == set(re.findall(r"(?<=\s)--[a-z-]+", command.split("#")[0])) - flags, name


def test_links_of_pages_to_files_exist() -> None:
    """Links out of the pages, to examples and source files, lead to a file of this repository."""
    for found in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", found.read_text(encoding="utf-8")):
            assert (found.parent / target).is_file(), f"{found}: {target}"
