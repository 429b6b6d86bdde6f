"""Help, and the table of commands. What documents them is tested in tests/docs."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from dsvd_registry import __version__, errors
from dsvd_registry.cli.commands import COMMANDS, dsvd
from dsvd_registry.cli.errors import exit_codes

from .conftest import Dsvd

PROGRAM = click.Context(dsvd, info_name="dsvd")


def leaves(group: click.Group, path: str = "dsvd") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    for name in group.list_commands(PROGRAM):
        command = group.get_command(PROGRAM, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


LEAVES = dict(leaves(dsvd))


def test_every_command_of_the_design_is_there() -> None:
    assert set(LEAVES) == {
        f"dsvd {words}"
        for words in (
            *("init", "add", "ls", "show", "log", "diff", "verify", "materialize", "note", "rm"),
            *("base add", "base ls", "base show", "base rm", "alias set", "alias rm"),
            *("tag add", "tag rm", "gc", "du", "catalog rebuild", "catalog backup", "curve"),
            *("merge", "subtract", "evaluate"),
            *("import", "export", "sign", "thin", "serve", "mount", "umount", "cat"),
            *("archive", "restore", "find", "webui-hashes"),
            *("remote add", "remote ls", "remote rm", "push", "pull", "clone"),
            *("meta set", "meta get", "meta rm", "attach", "detach", "attachments"),
        )
    }


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_takes_json_and_registry(words: str) -> None:
    names = {name for option in LEAVES[words].params for name in option.opts}
    assert names >= {"--json", "--registry"}


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_is_explained(words: str) -> None:
    options = [option for option in LEAVES[words].params if isinstance(option, click.Option)]
    assert all(option.help for option in options)
    assert LEAVES[words].help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_what_the_command_says(name: str) -> None:
    command = dsvd.get_command(PROGRAM, name)
    assert command is not None
    assert command.help is not None
    assert command.help.split("\n")[0] == COMMANDS[name]


def test_help_lists_commands_and_exit_codes(dsvd: Dsvd) -> None:
    shown = dsvd("--help")
    assert shown.code == 0
    widest = max(map(len, COMMANDS))
    for name, help_text in COMMANDS.items():
        assert f"{name:<{widest}}  {help_text}" in shown.out
    codes = dict(exit_codes())
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.DsvdError):
            assert kind.exit_code in codes
    assert all(f"  {code} " in shown.out for code in codes)


def test_help_of_every_command(dsvd: Dsvd) -> None:
    for words in LEAVES:
        shown = dsvd(*words.split()[1:], "--help")
        assert shown.code == 0
        assert shown.out.startswith(f"Usage: {words} ")


def test_alone_it_shows_help(dsvd: Dsvd) -> None:
    for words in ((), ("base",), ("catalog",)):
        alone = dsvd(*words)
        assert (alone.code, alone.out) == (2, "")
        assert alone.err.startswith("Usage: dsvd")


def test_version(dsvd: Dsvd) -> None:
    assert dsvd("--version").out == f"dsvd {__version__}\n"
