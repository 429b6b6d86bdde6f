"""What the program has is documented: commands, options, exit codes, variables, the Python API."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest
from cli.test_cli_help import LEAVES

import dsvd_registry
from dsvd_registry import errors, evaluation, registry, runtime
from dsvd_registry.cli.errors import exit_codes

from .conftest import DOCS, ROOT
from .pages import Page, read

PACKAGE = Path(dsvd_registry.__file__).parent


@pytest.fixture(scope="session")
def commands(site: Path) -> Page:
    return read(site / "commands.html")


@pytest.fixture(scope="session")
def api(site: Path) -> Page:
    return read(site / "api.html")


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_is_documented(words: str, commands: Page) -> None:
    assert words.replace(" ", "-") in commands.places
    assert f"{words} [OPTIONS]" in commands.text


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_is_documented(words: str, commands: Page) -> None:
    text = commands.text
    start = text.index(f"{words} [OPTIONS]")
    own = text[start : text.find(" [OPTIONS]", start + len(words) + 10)]
    shared = text[: text.index("dsvd init [OPTIONS]")]
    for option in LEAVES[words].params:
        if isinstance(option, click.Option):
            told = own if option.name not in ("as_json", "registry", "catalog") else shared
            assert option.opts[-1] in told, option.opts
            assert " ".join((option.help or "").replace("`", "").split()) in " ".join(told.split())


def test_every_exit_code_is_documented(site: Path) -> None:
    text = " ".join(read(site / "operators.html").text.split())
    for code, meaning in exit_codes():
        assert f"{code} {meaning.replace('`', '')}" in text
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.DsvdError):
            assert kind.exit_code in dict(exit_codes())


def test_every_environment_variable_is_documented() -> None:
    modules = [*PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    used = {name for path in modules for name in re.findall(r"\bDSVD_[A-Z_]+\b", path.read_text())}
    page = (DOCS / "operators.md").read_text(encoding="utf-8")
    assert len(used) >= 7
    assert used == set(re.findall(r"^\| `(DSVD_[A-Z_]+)` \|", page, re.MULTILINE))


@pytest.mark.parametrize(
    "name",
    [
        *(f"dsvd_registry.registry.{name}" for name in registry.__all__ if name != "Registry"),
        *(f"dsvd_registry.runtime.{name}" for name in runtime.__all__),
        *(f"dsvd_registry.evaluation.{name}" for name in evaluation.__all__),
        *(f"dsvd_registry.errors.{name}" for name in ("DsvdError", "InvalidArgument", "Conflict")),
        "dsvd_registry.Registry",
    ],
)
def test_every_exported_name_is_documented(name: str, api: Page) -> None:
    assert name in api.places


def test_every_name_of_the_package_is_on_the_page(api: Page) -> None:
    assert [name for name in dsvd_registry.__all__ if name not in api.text] == []


def test_every_method_is_documented(api: Page) -> None:
    methods = [name for name in dir(registry.Registry) if not name.startswith("_")]
    assert len(methods) > 20
    assert [name for name in methods if f"dsvd_registry.Registry.{name}" not in api.places] == []
    assert [name for name in methods if not inspect.getdoc(getattr(registry.Registry, name))] == []
