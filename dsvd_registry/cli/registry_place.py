"""The parameter that names a registry. It imports nothing of the package, as `dsvd --help` reads it."""

from __future__ import annotations

from pathlib import Path

import click


class RegistryPlace(click.ParamType):  # type: ignore[type-arg]  # of click 8.2 on
    """The path of a folder, as a `Path`, or a URL, which stays a text."""

    name = "path"

    def convert(
        self,
        value: str | Path,
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str | Path:
        return value if "://" in str(value) else Path(value)
