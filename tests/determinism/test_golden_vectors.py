"""The golden containers of the repository give their golden SHA-256 under every setting of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from spec.readers import golden_digests

from .test_same_bytes_everywhere import SETTINGS, TWO_THREADS

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "spec" / "vectors"
PROGRAM = """
import hashlib, json, sys
from pathlib import Path
from tests.spec.readers import golden_digests, package_gives_files, valid_files
found = {}
for vector in json.loads(Path(sys.argv[1]).read_text())["valid"]:
    name = vector["name"]
    for tau, _ in golden_digests(vector):
        for path, data in package_gives_files(*valid_files(name), tau).items():
            found[f"{name} {tau} {path}"] = hashlib.sha256(data).hexdigest()
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    "setting",
    [
        {"OMP_NUM_THREADS": "1"},
        TWO_THREADS,
        {**TWO_THREADS, "ATEN_CPU_CAPABILITY": "default"},
        {**TWO_THREADS, "ATEN_CPU_CAPABILITY": "avx2"},
        {**TWO_THREADS, "MKL_CBWR": "COMPATIBLE"},
    ],
    ids=lambda setting: " ".join(f"{name}={value}" for name, value in setting.items()),
)
def test_golden_digests(setting: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"PYTHONPATH": str(ROOT), **setting}
    command = [sys.executable, "-c", PROGRAM, str(VECTORS / "vectors.json")]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    expected = {}
    for vector in json.loads((VECTORS / "vectors.json").read_text())["valid"]:
        for tau, digests in golden_digests(vector):
            for path, digest in digests.items():
                expected[f"{vector['name']} {tau} {path}"] = digest
    assert json.loads(ended.stdout) == expected
