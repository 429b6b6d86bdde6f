"""Makes spec/vectors: `cd tests && ../.venv/bin/python -m spec.make_vectors [FOLDER]`.

The same bytes every time with the zstandard of constraints.txt. See with git which files change: once
version 1 is released, none may.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from .building import Built, base_files
from .invalid_quantised import INVALID
from .quantised_vectors import VALID
from .readers import SPEC
from .sealing import header_of, with_frames, with_zstd, zstd

VECTORS = SPEC / "vectors"


def built_vectors() -> dict[str, Built]:
    """The valid ones by name, compressed here: the package's writer may choose another level."""
    built = {name: resealed(make().build()) for name, (make, _) in VALID.items()}
    return built | {name: make(built[of]) for name, (make, of, _) in DERIVED.items()}


def resealed(built: Built) -> Built:
    return _with_file(built, with_frames(built, lambda *_: None))


def _with_file(built: Built, file: bytes) -> Built:
    return replace(built, file=file, header=header_of(file))


def other_zstd(built: Built) -> Built:
    """Valid frames that the package's writer does not make: other levels, content checksums."""
    options = ({"level": 19}, {"write_checksum": True}, {"level": -5, "write_checksum": True})
    for number in range(len(built.header["frames"])):
        file = with_zstd(built, number, lambda data, n=number: zstd(data, **options[n % 3]))
        built = _with_file(built, file)
    return built


# Valid ones made of others: how, of which, and lower values of tau.
DERIVED: dict[str, tuple[Callable[[Built], Built], str, tuple[float, ...]]] = {
    "other-zstd": (other_zstd, "many-frames", (0.5,)),
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
    found["rules.md"] = _rules(listing).encode()
    return found


def _rules(listing: dict[str, list[dict[str, Any]]]) -> str:
    """The vectors that try each rule of the text."""
    tried: dict[str, list[str]] = {rule: [] for rule in rules_of_the_text()}
    for vector in listing["invalid"]:
        tried[vector["rule"]].append(f"`{vector['name']}`")
    for vector in listing["valid"]:
        if vector["not_served"]:
            tried["N4"].append(f"`{vector['name']}` at {', '.join(map(str, vector['not_served']))}")
    rows = (f"| {rule} | {', '.join(names)} |" for rule, names in tried.items())
    return "\n".join(
        (
            "# The files that try each rule of `../dsvd-container-v1.md`",
            "",
            "Made by `tests/spec/make_vectors.py`. Each file of `invalid/` breaks one rule; N4 is tried",
            "by files of `valid/`, at a tau that they do not serve.",
            "",
            "| rule | files |",
            "| --- | --- |",
            *rows,
            "",
        )
    )


def rules_of_the_text() -> list[str]:
    """The numbers of all rules, in the order of the text."""
    text = (SPEC / "dsvd-container-v1.md").read_text()
    return re.findall(r"^\* \*\*([A-Z]\d+)\*\* ", text, re.MULTILINE)


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
