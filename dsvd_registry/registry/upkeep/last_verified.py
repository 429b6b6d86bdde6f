"""The findings of the last verification of a whole registry, kept for people in `verified.json`.

Nothing rests on that file: without it, or with other bytes in it, no verification is known.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime

from ... import canonical, fs
from ...errors import DsvdError
from ...store import Home
from .findings import Finding, Verified

KEPT_FINDINGS, KEPT_SUBJECTS = 200, 50


@dataclass(frozen=True)
class LastVerified:
    """The last verification of a whole registry.

    `ended`: when, in UTC. `found`: the number of findings; `verified` has the first 200 of them, each
    with the first 50 versions that it affects.
    """

    ended: datetime
    found: int
    verified: Verified


def keep_verified(home: Home, verified: Verified) -> None:
    """Keep the findings of a verification that ended now, if a file can be written there."""
    kept = {
        "bases": verified.bases,
        "bytes_read": verified.bytes_read,
        "deep": verified.deep,
        "ended": datetime.now(UTC).isoformat(),
        "findings": [
            {"problem": one.problem, "subjects": list(one.subjects[:KEPT_SUBJECTS])}
            for one in verified.findings[:KEPT_FINDINGS]
        ],
        "found": len(verified.findings),
        "versions": verified.versions,
    }
    with contextlib.suppress(DsvdError):  # the findings themselves were told
        fs.write_file(home.verified, canonical.encode_small(kept), replace=True)


def last_verified(home: Home) -> LastVerified | None:
    """The findings that `keep_verified` kept last; None without them, or if the file is damaged."""
    try:
        with fs.storage_errors(home.verified), home.verified.open("rb") as file:
            kept = canonical.decode_small(file.read(canonical.MAX_SMALL + 1), str(home.verified))
        return _decoded(kept)
    except (DsvdError, TypeError, KeyError, ValueError):
        return None


def _decoded(kept: object) -> LastVerified:
    """Raises `TypeError`, `KeyError` or `ValueError` for other contents."""
    if not isinstance(kept, dict):
        raise TypeError
    findings = tuple(
        Finding(tuple(map(str, one["subjects"])), str(one["problem"])) for one in kept["findings"]
    )
    verified = Verified(
        int(kept["versions"]),
        int(kept["bases"]),
        int(kept["bytes_read"]),
        bool(kept["deep"]),
        findings,
    )
    return LastVerified(datetime.fromisoformat(kept["ended"]), int(kept["found"]), verified)
