"""The URL of a registry in a bucket, such as `s3://studio/registries/dogs`, and the way to its service.

Credentials are no part of a URL: each service's usual variables and files give them, and nothing here
keeps, prints or logs one.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, MissingExtra

if TYPE_CHECKING:  # an extra, which a local registry does not need
    from obstore.store import AzureStore, GCSStore, S3Store

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{2,62}")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_SCHEMES = ("s3", "gs", "az")


@dataclass(frozen=True)
class Patience:
    """Seconds for which a service is waited for: to connect, for the next bytes, for one request.

    `retries`: how often one request is sent again, after a pause that begins at `pause`, grows and is
    drawn at random.
    """

    connect: float = 5
    read: float = 60
    request: float = 600
    retries: int = 4
    pause: float = 0.1


PATIENCE = Patience()


@dataclass(frozen=True)
class BucketUrl:
    """The place of a registry: the service ("s3", "gs" or "az"), its bucket, the prefix of all keys."""

    scheme: str
    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def store(self, patience: Patience) -> S3Store | GCSStore | AzureStore:
        """The client of the service. Raises `MissingExtra`, `InvalidArgument` for its settings."""
        try:
            from obstore import store
            from obstore.exceptions import BaseError
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"the registry {self} needs the package obstore",
                "Install it with `pip install 'dsvd-registry[cloud]'`.",
            ) from error
        options: Any = {
            "prefix": self.prefix or None,
            "client_options": {
                "connect_timeout": timedelta(seconds=patience.connect),
                "read_timeout": timedelta(seconds=patience.read),
                "timeout": timedelta(seconds=patience.request),
            },
            "retry_config": {
                "max_retries": patience.retries,
                "retry_timeout": timedelta(seconds=patience.request),
                "backoff": {
                    "init_backoff": timedelta(seconds=patience.pause),
                    "max_backoff": timedelta(seconds=5),
                },
            },
        }
        try:
            if self.scheme == "gs":
                return store.GCSStore(self.bucket, **options)
            if self.scheme == "az":
                return store.AzureStore(self.bucket, **options)
            if _endpoint(os.environ).startswith("http://"):
                options["client_options"]["allow_http"] = True
            options |= profile(os.environ)
            # The call for many keys at once is not known to all that are compatible with S3.
            return store.S3Store(self.bucket, disable_bulk_delete=True, **options)
        except (BaseError, ValueError) as error:
            # The text of the error is left out: it may have the value of a variable.
            raise InvalidArgument(
                f"the settings for {self} are not complete or not valid",
                "Set the variables of the service: docs/object-storage.md lists them.",
            ) from error


def is_url(text: str) -> bool:
    """True for a text that begins as a URL does, whatever its scheme; a path on Windows is none."""
    return _URL.fullmatch(text) is not None


def parse(text: str) -> BucketUrl:
    """The place that a URL names. Raises `InvalidArgument`; a credential in it is not repeated."""
    match = _URL.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", "")
    if scheme not in _SCHEMES:
        raise InvalidArgument(
            f"a registry's URL begins with s3://, gs:// or az://, and not with {scheme}://"
            if match
            else f"{text!r:.100} is not a URL",
            "Give one of these, or the path of a folder.",
        )
    if "@" in rest or "?" in rest:
        raise InvalidArgument(
            f"the {scheme}:// URL of a registry has a credential or a query in it",
            "Give the bucket and the prefix alone: the variables of the service have the credential.",
        )
    bucket, _, prefix = rest.partition("/")
    segments = prefix.strip("/").split("/") if prefix.strip("/") else []
    if not _BUCKET.fullmatch(bucket) or not all(_SEGMENT.fullmatch(s) for s in segments):
        raise InvalidArgument(
            f"{text!r:.200} does not name a bucket and a prefix",
            f"Give such as {scheme}://studio/registry: letters, digits, `.`, `_` and `-`.",
        )
    return BucketUrl(scheme, bucket, "/".join(segments))


def profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings from the files of the AWS command line, if the variables give no credential.

    The profile is AWS_PROFILE, or `default`. Files that are missing or cannot be read give nothing.
    """
    given = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    if any(environ.get(name) for name in given):
        return {}
    home = Path(environ.get("HOME") or Path.home()) / ".aws"
    name = environ.get("AWS_PROFILE") or "default"
    secrets = _section(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", name)
    config = environ.get("AWS_CONFIG_FILE") or home / "config"
    settings = _section(config, name if name == "default" else f"profile {name}")
    found = {
        "access_key_id": secrets.get("aws_access_key_id"),
        "secret_access_key": secrets.get("aws_secret_access_key"),
        "session_token": secrets.get("aws_session_token"),
    }
    if not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        found["region"] = settings.get("region")
    return {key: value for key, value in found.items() if value}


def _section(path: str | Path, name: str) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return parser[name] if parser.has_section(name) else {}


def _endpoint(environ: Mapping[str, str]) -> str:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    return next((environ[name] for name in names if environ.get(name)), "")
