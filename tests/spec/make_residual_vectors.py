"""Makes spec/vectors/residual: `cd tests && ../.venv/bin/python -m spec.make_residual_vectors [FOLDER]`.

The same bytes every time with the zstandard of constraints.txt. See with git which files change: once
version 1 is released, none may.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

from .building import base_files
from .readers import SPEC
from .residual_building import BuiltResidual, told
from .residual_vectors_invalid import INVALID
from .residual_vectors_valid import VALID

VECTORS = SPEC / "vectors" / "residual"


@functools.cache
def built_vectors() -> dict[str, BuiltResidual]:
    """The valid ones by name."""
    return {name: make() for name, make in VALID.items()}


def files() -> dict[str, bytes]:
    """Every file of the set, by its path within it."""
    built = built_vectors()
    found: dict[str, bytes] = {}
    listing: dict[str, list[dict[str, Any]]] = {"valid": [], "invalid": []}
    for name, one in built.items():
        found[f"valid/{name}.dsvdr"] = one.file
        found[f"valid/{name}.dsvd"] = one.container.file
        for path, data in base_files(one.container).items():
            found[f"valid/{name}.base/{path}" if path else f"valid/{name}.base.safetensors"] = data
        about = (VALID[name].__doc__ or "").strip()
        source = [told(path, file) for path, file in sorted(one.files.items())]
        listing["valid"].append({"name": name, "about": about, "source": source})
    for name, (of, error, rule, make_invalid) in INVALID.items():
        found[f"invalid/{name}.dsvdr"] = make_invalid(built[of])
        listing["invalid"].append({"name": name, "of": of, "error": error, "rule": rule})
    lists = (
        f'"{key}": [\n' + ",\n".join(map(json.dumps, vectors)) + "\n]"
        for key, vectors in listing.items()
    )
    found["vectors.json"] = ("{" + ",\n".join(lists) + "}\n").encode()
    return found


def main(folder: Path) -> None:
    for path, data in files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS)
