"""The golden containers of the repository give their golden SHA-256 under every setting of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_same_bytes_everywhere import SETTINGS, TWO_THREADS

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "spec" / "vectors"
PROGRAM = """
import hashlib, json, sys
from pathlib import Path
from tests.spec.readers import package_gives
folder = Path(sys.argv[1])
found = {}
for vector in json.loads((folder.parent / "vectors.json").read_text())["valid"]:
    name = vector["name"]
    files = folder / f"{name}.dsvd", folder / f"{name}.base.safetensors"
    for tau in [vector["tau"], *(lower["tau"] for lower in vector["lower"])]:
        found[f"{name} {tau}"] = hashlib.sha256(package_gives(*files, tau)).hexdigest()
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
    command = [sys.executable, "-c", PROGRAM, str(VECTORS / "valid")]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    expected = {}
    for vector in json.loads((VECTORS / "vectors.json").read_text())["valid"]:
        expected[f"{vector['name']} {vector['tau']}"] = vector["result"]["sha256"]
        for lower in vector["lower"]:
            expected[f"{vector['name']} {lower['tau']}"] = lower["sha256"]
    assert json.loads(ended.stdout) == expected
