"""The command `dsvd serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .documents import print_document
from .options import catalog_url, common_options, open_registry
from .tables import print_line


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8411,
    show_default=True,
    help="The port to listen at; 0 takes a free one.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file with one token per line; a request must carry one of them.",
)
@click.option(
    "--open", "open_to_all", is_flag=True, help="Let other machines read without a token."
)
@click.option(
    "--write",
    is_flag=True,
    help="Let those who sign in with a token change notes, tags, aliases, metadata and pictures.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 256),
    default=4,
    show_default=True,
    help="The number of requests that make bytes at the same time.",
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 3600),
    default=10.0,
    show_default=True,
    help="How long other requests wait for their turn.",
)
@common_options
def serve(
    host: str,
    port: int,
    token_file: Path | None,
    open_to_all: bool,
    write: bool,
    at_once: int,
    wait: float,
    as_json: bool,
) -> None:
    """Serve versions and bases over HTTP: pages, files, a JSON API.

    A browser shows the pages; all is read only, unless --write is given. Clients of the Hugging
    Face hub load from it when HF_ENDPOINT is its address. The JSON API is described at
    /api/v1/openapi.json. Ctrl-C ends it.
    """
    from ..server.run import serve as serve_registry
    from ..server.settings import Settings, Tokens, check_settings

    tokens = None if token_file is None else Tokens.from_file(token_file)
    settings = Settings(host, port, tokens, at_once, wait, write)
    check_settings(settings, open_to_all=open_to_all)
    with open_registry() as registry:

        def listening(url: str) -> None:
            if as_json:
                print_document({"url": url, "registry": registry.name})
            else:
                print_line(f"serving {registry.name} at {url}")
            sys.stdout.flush()

        serve_registry(registry, settings, listening, catalog_url())
