"""Makes spec/vectors: `cd tests && ../.venv/bin/python -m spec.make_vectors [FOLDER]`.

The same bytes every time with the zstandard of constraints.txt. The committed files are FROZEN: run
this to add vectors, and see with git that no old file changes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .building import Built, base_files
from .invalid_merges import INVALID
from .readers import SPEC
from .sealing import text_of, with_budget, with_frames, with_zstd, zstd
from .valid_vectors import VALID

VECTORS = SPEC / "vectors"


def built_vectors() -> dict[str, Built]:
    """The valid ones by name, compressed here: the package's writer may choose another level."""
    built = {name: resealed(make().build()) for name, (make, _) in VALID.items()}
    return built | {name: make(built[of]) for name, (make, of, _) in DERIVED.items()}


def resealed(built: Built) -> Built:
    return _with_file(built, with_frames(built, lambda *_: None))


def _with_file(built: Built, file: bytes) -> Built:
    return replace(built, file=file, header=json.loads(text_of(file)))


def other_zstd(built: Built) -> Built:
    """Valid frames that the package's writer does not make: other levels, content checksums."""
    options = ({"level": 19}, {"write_checksum": True}, {"level": -5, "write_checksum": True})
    for number in range(len(built.header["frames"])):
        file = with_zstd(built, number, lambda data, n=number: zstd(data, **options[n % 3]))
        built = _with_file(built, file)
    return built


def whole_budget(built: Built) -> Built:
    """Feature `fidelity`: a file of exactly as many bytes as its budget."""
    return _with_file(built, with_budget(built, 0))


# Valid ones made of others: how, of which, and lower values of tau.
DERIVED: dict[str, tuple[Callable[[Built], Built], str, tuple[float, ...]]] = {
    "other-zstd": (other_zstd, "many-frames", (0.5,)),
    "fidelity-whole-budget": (whole_budget, "fidelity-budget", (0.5,)),
    "packed-other-zstd": (other_zstd, "packed-many-frames", (0.5,)),
}


def files() -> dict[str, bytes]:
    """Every file of the set, by its path within it."""
    built = built_vectors()
    found: dict[str, bytes] = {}
    listing: dict[str, list[dict[str, Any]]] = {"valid": [], "invalid": []}
    for name, one in built.items():
        make, taus = (DERIVED[name][0], DERIVED[name][2]) if name in DERIVED else VALID[name]
        found[f"valid/{name}.dsvd"] = one.file
        for path, data in base_files(one).items():
            found[f"valid/{name}.base/{path}" if path else f"valid/{name}.base.safetensors"] = data
        told = {x: _told(one, x) for x in taus}
        listing["valid"].append(
            {
                "name": name,
                "about": (make.__doc__ or "").strip(),
                "tau": one.tau,
                **({"files": _told(one)} if one.source_headers else {"result": _told(one)}),
                "lower": [
                    {"tau": x, **({"files": result} if one.source_headers else result)}
                    for x, result in told.items()
                    if result
                ],
                "not_served": [x for x, result in told.items() if not result],
            }
        )
    for name, (of, error, rule, make_invalid) in INVALID.items():
        found[f"invalid/{name}.dsvd"] = make_invalid(built[of])
        listing["invalid"].append({"name": name, "base": of, "error": error, "rule": rule})
    lists = (
        f'"{key}": [\n' + ",\n".join(map(json.dumps, vectors)) + "\n]"
        for key, vectors in listing.items()
    )
    found["vectors.json"] = ("{" + ",\n".join(lists) + "}\n").encode()
    return found


def _told(built: Built, x: float | None = None) -> dict[str, Any] | None:
    """Of the result; of a tree, by path of every file."""
    if built.source_headers:
        files = built.files(x)
        return None if files is None else {path: _digest(data) for path, data in files.items()}
    result = built.result(x)
    return None if result is None else _digest(result)


def _digest(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def main(folder: Path) -> None:
    for path, data in files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS)
