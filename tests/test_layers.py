"""Rules of the source that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dsvd_registry"
MODULES = sorted(PACKAGE.rglob("*.py"))
DISK = PACKAGE / "fs" / "disk.py"

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
    "pwrite",
    "rename",
    "renames",
    "rmdir",
    "rmtree",
    "symlink",
    "symlink_to",
    "touch",
    "truncate",
    "unlink",
    "utime",
    "write_bytes",
    "write_text",
}
OURS = {"fs", "entries", "disk"}  # modules of `fs`, whose functions have such names too


def changes(module: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        owner = node.func.value
        if name in CHANGES and not (isinstance(owner, ast.Name) and owner.id in OURS):
            found.append(f"{name} in line {node.lineno}")
        modes = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if name == "open" and any(set(str(mode)) & set("wax+") for mode in modes):
            found.append(f"open for writing in line {node.lineno}")
    return found


def test_the_check_sees_what_the_disk_module_does() -> None:
    assert len(changes(ast.parse(DISK.read_text()))) >= 5


@pytest.mark.parametrize(
    "module", [m for m in MODULES if m != DISK], ids=lambda m: str(m.relative_to(PACKAGE))
)
def test_only_the_disk_module_changes_files(module: Path) -> None:
    """All that writes passes a few calls, which tests record and refuse (tests/faults)."""
    assert changes(ast.parse(module.read_text())) == []


def length(module: Path) -> int:
    """Lines of a module less those of its docstrings, which a reference is made of."""
    source = module.read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [
        node.body[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    ]
    return len(source.splitlines()) - sum((t.end_lineno or 0) - t.lineno + 1 for t in texts)


def test_modules_are_short() -> None:
    """None is over 500 lines, and most are under 200."""
    lengths = sorted(map(length, MODULES))
    assert lengths[-1] <= 500
    assert lengths[len(lengths) * 9 // 10] <= 200
