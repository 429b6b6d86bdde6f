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
        query = {"limit": "200"}
        while True:
            with self._document("/api/v1/models", query) as page:
                found += [str(model["name"]) for model in page["models"]]
                if page["next"] is None:
                    return sorted(found)
                query["after"] = str(page["next"])

    def version(self, ref: str) -> Version:
        with self._document(f"/api/v1/versions/{_quoted(ref)}") as found:
            return Version(str(found["ref"]), _checked_sha256(found["container"]))

    def checkpoint(self, ref: str, tau: float | None, advance: Advance) -> Path:
        version = self.version(ref)
        form = {} if tau is None else {"tau": str(tau)}
        path = f"/api/v1/versions/{_quoted(version.ref)}/files"
        with self._document(path, form) as listed:
            files = listed["files"]
            is_folder = len(files) > 1
            given = None if is_folder else files[0]["sha256"]
            sha256 = None if given is None else _checked_sha256(given)
        if is_folder:
            form["layout"] = "single-file"
        if sha256 is not None:
            output = self._cache.folder / f"{sha256}.safetensors"
        else:  # a form whose SHA-256 nobody has recorded
            output = self._cache.path_for("result", version.container, json.dumps(form))
        if not self._cache.has(output):
            self._download(f"/v1/materialize/{_quoted(version.ref)}", form, output, sha256, advance)
        return output

    def adapter(self, ref: str, advance: Advance) -> Path:
        version = self.version(ref)
        output = self._cache.path_for("comfyui", "fp32", version.container)
        if not self._cache.has(output):
            form = {"format": "comfyui", "dtype": "fp32"}
            self._download(f"/v1/adapters/{_quoted(version.ref)}", form, output, None, advance)
        return output

    def preview(self, ref: str) -> Picture:
        with self._answer(f"/api/v1/versions/{_quoted(ref)}/preview", {}) as answer:
            content = self._read(answer, LARGEST_PICTURE + 1)
            media_type = answer.headers.get_content_type()
        if len(content) > LARGEST_PICTURE:
            raise SubjectError(f"the preview of {ref} has more than {LARGEST_PICTURE} bytes.")
        return Picture(content, media_type)

    @contextmanager
    def _document(self, path: str, query: dict[str, str] | None = None) -> Iterator[Any]:
        """A JSON document; what it lacks in the block is a `SubjectError` too."""
        with self._answer(path, query or {}) as answer:
            text = self._read(answer, LARGEST_DOCUMENT + 1)
        if len(text) > LARGEST_DOCUMENT:
            raise SubjectError(f"{self._url}{path} has more than {LARGEST_DOCUMENT} bytes.")
        try:
            yield json.loads(text)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise SubjectError(
                f"{self._url}{path} is not what a registry's server says ({error!r}). Is {SERVER} right?"
            ) from error

    def _download(
        self, path: str, form: dict[str, str], output: Path, sha256: str | None, advance: Advance
    ) -> None:
        """Download a file, which gets its name if it is whole and has its SHA-256."""
        with self._answer(path, form) as answer:
            length = answer.headers.get("Content-Length", "")
            if not re.fullmatch("[0-9]{1,15}", length):
                raise SubjectError(f"{self._url}{path} does not say how long the file is.")
            size, done, digest = int(length), 0, hashlib.sha256()
            with self._cache.new_file(output, size) as file:
                while piece := self._read(answer, PIECE):
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
        """The answer to a GET."""
        url = f"{self._url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(url)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            answer = self._opener.open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                raise SubjectError(_refusal(error, url)) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreadable(error) from error
        with answer:
            yield answer

    def _read(self, answer: http.client.HTTPResponse, size: int) -> bytes:
        try:
            return answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> SubjectError:
        return SubjectError(
            f"the server at {self._url} cannot be read: {error}. Is `dsvd serve` running?"
        )


def _refusal(error: urllib.error.HTTPError, url: str) -> str:
    """The server's own words for an error, if it gave some."""
    try:
        document = json.loads(error.read(LARGEST_DOCUMENT))
        return f"{document['error']}. {document.get('hint') or ''}".strip()
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return f"{url} answered with the status {error.code}."


def _quoted(ref: str) -> str:
    return quote(ref, safe="@")


def _checked_sha256(text: object) -> str:
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise ValueError(f"{text!r} is no SHA-256")
    return text
