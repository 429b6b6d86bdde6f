"""Subjects of a registry that `dsvd serve` gives over HTTP, by the standard library alone."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .file_cache import FileCache
from .source import SERVER, Advance, Picture, SubjectError, Version

SECONDS = 60  # without an answer, or without a byte of one
LARGEST_DOCUMENT = 64 * 2**20
LARGEST_PICTURE = 32 * 2**20
PIECE = 2**20

_SHA256 = re.compile(r"[0-9a-f]{64}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuse redirects: the token is for this server alone."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Server:
    """A server of a registry."""

    def __init__(self, url: str, token: str, cache: FileCache) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise SubjectError(f"{SERVER} is {url!r}. Set it to a URL as http://127.0.0.1:8411.")
        self._url, self._token, self._cache = url.rstrip("/"), token, cache
        self._opener = urllib.request.build_opener(_NoRedirects)

    def names(self) -> list[str]:
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = self._document(
                "/api/v1/models", limit="200", **({"after": after} if after else {})
            )
            found += [str(model["name"]) for model in page["models"]]
            after = page["next"]
        return sorted(found)

    def version(self, ref: str) -> Version:
        found = self._document(f"/api/v1/versions/{quote(ref, safe='@')}")
        return Version(str(found["ref"]), _checked_sha256(found["container"]))

    def checkpoint(self, ref: str, tau: float | None, advance: Advance) -> Path:
        version = self.version(ref)
        form = {} if tau is None else {"tau": str(tau)}
        path = f"/api/v1/versions/{quote(version.ref, safe='@')}/files"
        files = self._document(path, **form)["files"]
        if len(files) != 1:
            form["layout"] = "single-file"
            files = self._document(path, **form)["files"]
        sha256 = files[0]["sha256"]
        if sha256 is not None:
            output = self._cache.folder / f"{_checked_sha256(sha256)}.safetensors"
        else:  # a form whose digest nobody has recorded
            output = self._cache.path_for("result", version.container, json.dumps(form))
        if not self._cache.has(output):
            self._download(
                f"/v1/materialize/{quote(version.ref, safe='@')}", form, output, sha256, advance
            )
        return output

    def adapter(self, ref: str, advance: Advance) -> Path:
        version = self.version(ref)
        output = self._cache.path_for("comfyui", "fp32", version.container)
        if not self._cache.has(output):
            form = {"format": "comfyui", "dtype": "fp32"}
            self._download(
                f"/v1/adapters/{quote(version.ref, safe='@')}", form, output, None, advance
            )
        return output

    def preview(self, ref: str) -> Picture:
        path = f"/api/v1/versions/{quote(ref, safe='@')}/preview"
        with self._answer(path, {}) as answer:
            content = answer.read(LARGEST_PICTURE + 1)
            media_type = answer.headers.get_content_type()
        if len(content) > LARGEST_PICTURE:
            raise SubjectError(f"the preview of {ref} has more than {LARGEST_PICTURE} bytes.")
        return Picture(content, media_type)

    def _document(self, path: str, **query: str) -> Any:
        with self._answer(path, query) as answer:
            text = answer.read(LARGEST_DOCUMENT + 1)
        if len(text) > LARGEST_DOCUMENT:
            raise SubjectError(
                f"{self._url}{path} answered with more than {LARGEST_DOCUMENT} bytes."
            )
        return json.loads(text)

    def _download(
        self, path: str, form: dict[str, str], output: Path, sha256: str | None, advance: Advance
    ) -> None:
        """Download a file, and give it its name if it is whole and has its SHA-256."""
        with self._answer(path, form) as answer:
            length = answer.headers.get("Content-Length", "")
            if not re.fullmatch("[0-9]{1,15}", length):
                raise SubjectError(f"{self._url}{path} does not say how long the file is.")
            size, done, digest = int(length), 0, hashlib.sha256()
            with self._cache.new_file(output, size) as file:
                while piece := answer.read(PIECE):
                    file.write(piece)
                    digest.update(piece)
                    done += len(piece)
                    advance(done, size)
                if done != size:
                    raise SubjectError(f"{path} ended after {done} of {size} bytes. Try again.")
                if sha256 is not None and digest.hexdigest() != sha256:
                    raise SubjectError(f"{path} does not have the SHA-256 {sha256}. Try again.")

    @contextmanager
    def _answer(self, path: str, query: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        """The answer to a GET; any failure as `SubjectError`."""
        url = f"{self._url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=SECONDS) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            with error:
                raise SubjectError(_refusal(error, url)) from error
        except (OSError, http.client.HTTPException) as error:
            raise SubjectError(
                f"the server at {self._url} cannot be read: {error}. Is `dsvd serve` running?"
            ) from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SubjectError(
                f"{url} gave an answer that is not a registry's: {error!r}"
            ) from error


def _refusal(error: urllib.error.HTTPError, url: str) -> str:
    """The server's own words for an error, if it gave some."""
    try:
        document = json.loads(error.read(LARGEST_DOCUMENT))
        return f"{document['error']}. {document.get('hint') or ''}".strip()
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return f"{url} answered with the status {error.code}."


def _checked_sha256(text: object) -> str:
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise SubjectError("the server gave a SHA-256 that is none. Is it a server of dsvd?")
    return text
