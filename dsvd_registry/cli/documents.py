"""JSON for programs: one document on stdout, with the field names of the Python API."""

from __future__ import annotations

import json

import click

from ..registry.accounts.documents import plain as plain
from ..registry.accounts.documents import settings as settings
from ..registry.accounts.documents import version_document as version_document


def print_document(value: object) -> None:
    """Print `value` as JSON."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))
