"""Parts of pages that are made from the code, so that they cannot differ from it.

A comment `<!-- generated: NAME -->` in a page is replaced by the Markdown that the function in `PARTS`
gives: the command reference, the table of exit codes, the lists of the Python API.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import click
from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- generated: ([a-z ]+) -->$", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True}


def fill_in(_app: Sphinx, _docname: str, source: list[str]) -> None:
    source[0] = MARK.sub(lambda mark: PARTS[mark[1]](), source[0])


def exit_codes() -> str:
    """A table with a row for each exit code."""
    from dsvd_registry.cli.errors import exit_codes

    rows = [f"| {code} | {markdown(meaning)} |" for code, meaning in exit_codes()]
    return "\n".join(("| code | meaning |", "| --: | --- |", *rows))


def commands() -> str:
    """A section for each command: its usage, its help, and the options that are its own."""
    from dsvd_registry.cli.commands import dsvd

    found = list(leaves(dsvd, click.Context(dsvd, info_name="dsvd")))
    shared = [option for option in options(found[0]) if all(option in options(c) for c in found)]
    parts = ["## Options of every command", option_list(shared)]
    for context in found:
        command = context.command
        usage = command.get_usage(context).removeprefix("Usage: ")
        parts += [
            f"## {context.command_path}",
            f"```text\n{usage}\n```",
            markdown(inspect.cleandoc(command.help or "")),
            option_list(option for option in options(context) if option not in shared),
        ]
    return "\n\n".join(filter(None, parts))


def leaves(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """The context of every command that does something, in the order of `dsvd --help`."""
    if not isinstance(command, click.Group):
        yield context
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, click.Context(child, info_name=name, parent=context))


def options(context: click.Context) -> list[tuple[str, str]]:
    """Each option as `--help` writes it: its names, and what it does."""
    params = context.command.get_params(context)
    records = (
        param.get_help_record(context) for param in params if param.param_type_name == "option"
    )
    return [record for record in records if record is not None]


def option_list(chosen: Iterable[tuple[str, str]]) -> str:
    """A definition list of options."""
    return "\n\n".join(f"`{names}`\n: {markdown(text)}" for names, text in chosen)


def markdown(text: str) -> str:
    """Plain text in which single backticks quote code, with all else that Markdown knows escaped."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if number % 2 else re.sub(r"([\\*_<>\[\]|#])", r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )


def results() -> str:
    """Every type that the public class takes or gives."""
    from dsvd_registry import registry

    return "\n".join(entry(registry, name) for name in registry.__all__ if name != "Registry")


def entry(module: ModuleType, name: str) -> str:
    """The directive that documents one exported name."""
    kind = "autoclass" if isinstance(getattr(module, name), type) else "autodata"
    path = f"{module.__name__}.{name}"
    members = "   :members:\n   :inherited-members: Exception\n" if kind == "autoclass" else ""
    return f"```{{eval-rst}}\n.. {kind}:: {path}\n{members}```\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "exit codes": exit_codes,
    "results": results,
}
