"""The gate itself: every fault still fits the tree, and one that nobody notices is told."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants import __main__ as gate


@pytest.mark.parametrize("mutant", gate.mutants(), ids=lambda mutant: mutant.name)
def test_fault_fits_the_tree(mutant: gate.Mutant, tmp_path: Path) -> None:
    """A fault changes a line of the server that can still be read, and asks tests that are there."""
    copied = gate.copy_to(tmp_path, mutant)
    changed = [path for path in (copied / "tusd_py").rglob("*.*") if path.read_bytes() != _original(path, copied)]
    assert changed
    for path in changed:
        if path.suffix == ".py":
            ast.parse(path.read_text())
    assert all((gate.ROOT / test).exists() for test in mutant.tests)


def test_fault_that_fits_no_more(tmp_path: Path) -> None:
    """A patch that has been left behind is an error of the gate, not a fault that was caught."""
    patch = tmp_path / "old.patch"
    patch.write_text("diff --git a/pyproject.toml b/pyproject.toml\n--- a/pyproject.toml\n+++ b/pyproject.toml\n"
                     "@@ -1,1 +1,1 @@\n-never there\n+never\n")  # fmt: skip
    with pytest.raises(gate.GateBroken, match="does not fit"):
        gate.copy_to(tmp_path / "tree", gate.Mutant("old", "", (), patch))


def test_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that fails is named; a fault that slips through makes the command fail."""
    tests = tmp_path / "test_it.py"
    tests.write_text("def test_one(): pass\ndef test_two(): assert False\n")
    assert gate.run_tests(tmp_path, ["test_it.py"]) == "test_it.py::test_two"
    assert gate.run_tests(tmp_path, ["test_it.py::test_one"]) == ""
    with pytest.raises(gate.GateBroken, match="could not be run"):
        gate.run_tests(tmp_path, ["test_other.py"])
    one, *_ = gate.mutants()
    monkeypatch.setattr(gate, "mutants", lambda names: [one])
    monkeypatch.setattr(gate, "run_tests", lambda place, chosen: "")
    assert gate.main([]) == 1
    assert "mutants caught 0/1" in capsys.readouterr().out


def test_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that no fault has is told, exit code 2."""
    assert gate.main(["nothing"]) == 2
    assert capsys.readouterr().err == "there is no mutant nothing\n"


def _original(path: Path, copied: Path) -> bytes:
    return (gate.ROOT / path.relative_to(copied)).read_bytes()
