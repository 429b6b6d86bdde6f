"""What is in a bucket, read by the client library alone: none of the package's code looks at it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import obstore
from obstore.store import S3Store
from seaweed import BUCKET, Seaweed

NAMED = ("container", "file", "manifest", "residual", "attachment", "signature")


def contents(seaweed: Seaweed, url: str) -> dict[str, bytes]:
    """All keys below the URL, with their bytes."""
    store = S3Store(
        BUCKET,
        prefix=url.removeprefix(f"s3://{BUCKET}/"),
        endpoint=seaweed.endpoint,
        access_key_id="admin",
        secret_access_key="admin-secret",
        client_options={"allow_http": True},
    )
    keys = [found["path"] for chunk in obstore.list(store) for found in chunk]
    return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


def checked_changes(seaweed: Seaweed, url: str) -> list[dict[str, Any]]:
    """All changes of the log, after the promises of the bucket were looked at.

    One event for each number, without a gap; each has the SHA-256 of the one before it; an object has
    the bytes that its name says; what live versions and bases name is there.
    """
    found = contents(seaweed, url)
    events = sorted(key for key in found if key.startswith("events/"))
    assert events == [f"events/{n // 1000:06}/{n:09}.json" for n in range(1, len(events) + 1)]
    previous, changes = None, []
    for number, key in enumerate(events, 1):
        event = json.loads(found[key])
        assert (event["sequence"], event["previous"]) == (number, previous)
        previous = hashlib.sha256(found[key]).hexdigest()
        changes += event["changes"]
    for key, data in found.items():
        if key.startswith("objects/") and not key.endswith(".renewed"):
            digest = hashlib.sha256(data).hexdigest()
            assert key == f"objects/{digest[:2]}/{digest}"
    removed = {(c["model"], c["number"]) for c in changes if c["kind"] == "version-removed"}
    for change in changes:
        if (change.get("model"), change.get("number")) not in removed:
            for one in (change[name] for name in NAMED if change.get(name)):
                assert f"objects/{one[:2]}/{one}" in found, (change["kind"], one)
    return changes
