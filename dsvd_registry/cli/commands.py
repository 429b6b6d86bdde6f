"""The table of commands, and the group that imports a command when it is used.

`dsvd --help` reads only the table, because the modules of the commands take long to import.
"""

from __future__ import annotations

import importlib
import keyword
from pathlib import Path

import click

from .. import __version__
from ..errors import InvalidArgument
from .errors import exit_codes
from .registry_place import RegistryPlace

# Command -> the first line of its help. The module and the object in it have the name of the command,
# with an underscore for a hyphen, and after a keyword of Python.
COMMANDS = {
    "init": "Make a registry.",
    "base": "Add, list, show and remove bases.",
    "add": "Store fine-tuned checkpoints as deltas against their base.",
    "merge": "Store a weighted sum of versions of one base.",
    "subtract": "Store version A without the change of version B.",
    "archive": "Add the checkpoints below a folder, then delete them.",
    "restore": "Put archived files back where they were.",
    "curve": "Show the size and the error of several taus; store nothing.",
    "evaluate": "Compare pictures by versions with those by their fine-tunes.",
    "ls": "List versions.",
    "find": "Find versions by a digest, a file or a picture.",
    "show": "Show a version and the account of its tensors.",
    "log": "Show every version that a model ever had.",
    "diff": "Compare two versions, or one with its base.",
    "verify": "Look for damage.",
    "sign": "Sign a version.",
    "materialize": "Write the full checkpoint of a version.",
    "cat": "Write the bytes of a full checkpoint to standard output.",
    "serve": "Serve versions and bases over HTTP: pages, files, a JSON API.",
    "mount": "Show the registry as a read-only folder of checkpoints.",
    "umount": "End a mount, and clear one whose program was killed.",
    "webui-hashes": "Tell A1111 or Forge the SHA-256 of mounted checkpoints.",
    "import": "Add a version from a .dsvd file.",
    "export": "Write a version as a LoRA or as a .dsvd file.",
    "remote": "Name other registries to exchange versions with.",
    "push": "Copy versions to another registry.",
    "pull": "Copy versions from another registry.",
    "clone": "Make a registry with the history of another.",
    "alias": "Set and remove aliases of versions.",
    "tag": "Add and remove tags of versions.",
    "note": "Replace the note of a version.",
    "meta": "Set, show and remove metadata of versions.",
    "attach": "Attach pictures and texts to a version.",
    "detach": "Remove attachments of a version.",
    "attachments": "List the attachments of a version.",
    "thin": "Drop what makes a version lossless.",
    "rm": "Remove a version.",
    "gc": "Remove objects that no version or base needs.",
    "du": "Show the bytes of models and bases.",
    "catalog": "Rebuild or copy the catalog.",
}


class CommandGroup(click.Group):
    """A group that shows its help without a command, and suggests names for an unknown one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(InvalidArgument.exit_code)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None:
            import difflib  # imported only when needed, for the sake of `dsvd --version`

            near = difflib.get_close_matches(name, self.list_commands(ctx))
            question = f"Did you mean {' or '.join(near)}? " if near else ""
            raise InvalidArgument(
                f"{ctx.command_path} has no command {name!r}",
                f"{question}`{ctx.command_path} --help` lists them.",
            )
        return super().resolve_command(ctx, args)


class LazyGroup(CommandGroup):
    """The group of all commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f".{name}", __package__), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in exit_codes()])


@click.group(cls=LazyGroup)
@click.option(
    "--registry",
    type=RegistryPlace(),
    help="The registry's folder, or its URL (s3://, gs://, az://)."
    "  [default: DSVD_REGISTRY, a .dsvd folder here or above, the user's own]",
)
@click.option(
    "--catalog",
    metavar="URL",
    help="The database of the catalog, sqlite: or postgresql:.  "
    "[default: DSVD_CATALOG, SQLite in the registry's folder]",
)
@click.version_option(__version__, message="dsvd %(version)s")
def dsvd(registry: Path | str | None, catalog: str | None) -> None:
    """A versioned registry for fine-tuned diffusion checkpoints.

    Each fine-tune is stored as a small delta to its base. A version is written as NAME (the latest),
    NAME@3 or NAME@ALIAS.
    """
