"""Rules of the source that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dsvd_registry"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Methods and functions that create, rename, remove or alter a file.
CHANGES = {
    "chmod",
    "copyfile",
    "copyfileobj",
    "hardlink_to",
    "link",
    "mkdir",
    "makedirs",
    "mkstemp",
    "rename",
    "rmdir",
    "rmtree",
    "symlink_to",
    "touch",
    "truncate",
    "unlink",
    "utime",
    "write_bytes",
    "write_text",
}


def changes(module: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        owner = node.func.value
        if name in CHANGES and not (isinstance(owner, ast.Name) and owner.id == "fs"):
            found.append(f"{name} in line {node.lineno}")
        if name == "open" and any(
            isinstance(mode, ast.Constant)
            and isinstance(mode.value, str)
            and set(mode.value) & set("wax+")
            for mode in node.args
            if isinstance(mode, ast.Constant) and mode.value != "rb"
        ):
            found.append(f"open for writing in line {node.lineno}")
    return found


def test_the_check_sees_what_fs_does() -> None:
    assert len(changes(ast.parse((PACKAGE / "fs.py").read_text()))) >= 5


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m.name != "fs.py"], ids=lambda m: str(m.relative_to(PACKAGE))
)
def test_only_fs_changes_files(module: Path) -> None:
    assert changes(ast.parse(module.read_text())) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_modules_are_short(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 500
