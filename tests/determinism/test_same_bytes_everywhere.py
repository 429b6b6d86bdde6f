"""One container and one base give one file: on every path, thread count, CPU and library setting.

And a float product of the same factors does not, in the same processes: what is shown can fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from trained_pair import one_thread

from .golden import Golden, make_golden
from .worker import CALLERS

HERE = Path(__file__).parent
DECODER = HERE.parents[1] / "spec" / "reference_decoder.py"
TWO_THREADS = {"OMP_NUM_THREADS": "2"}

# name -> environment, arguments of worker.py
PROCESSES: dict[str, tuple[dict[str, str], list[str]]] = {
    "one_thread": ({"OMP_NUM_THREADS": "1"}, ["--threads", "1"]),
    "two_threads": (TWO_THREADS, ["--threads", "2", "--every-caller"]),
    "no_vectors": ({**TWO_THREADS, "ATEN_CPU_CAPABILITY": "default"}, ["--every-caller"]),
    "avx2": ({**TWO_THREADS, "ATEN_CPU_CAPABILITY": "avx2"}, []),
    "mkl_compatible": ({**TWO_THREADS, "MKL_CBWR": "COMPATIBLE"}, []),
    "flush_first": (TWO_THREADS, ["--threads", "2", "--flush-first"]),
}
REFERENCES: dict[str, dict[str, str]] = {
    "reference": {},
    "reference_nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
}
SETTINGS = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "MKL_CBWR", "OPENBLAS_CORETYPE")
Outputs = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    with one_thread():
        return make_golden(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="session")
def outputs(golden: Golden) -> Outputs:
    """What each process printed. Two at a time: most of it is importing torch."""
    files = [str(golden.container), str(golden.base)]
    runs = {
        name: (environment, [str(HERE / "worker.py"), *files, *arguments])
        for name, (environment, arguments) in PROCESSES.items()
    }
    for name, environment in REFERENCES.items():
        runs[name] = (environment, [str(HERE / "reference_worker.py"), str(DECODER), *files])
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(runs, pool.map(run, runs.values()), strict=True))


def run(process: tuple[dict[str, str], list[str]]) -> dict[str, Any]:
    environment, arguments = process
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, "OMP_WAIT_POLICY": "passive", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_process_that_flushed_before_it_imported_this_package(golden: Golden) -> None:
    code = "import runpy, sys, torch; torch.set_flush_denormal(True); sys.argv = sys.argv[1:]; "
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    files = [str(golden.container), str(golden.base)]
    found = run((TWO_THREADS, ["-c", code, str(HERE / "worker.py"), *files]))
    assert found["exact"]["plain"] == [golden.sha256] * 2


def test_the_pair_has_every_kind_of_tensor_and_both_paths(outputs: Outputs) -> None:
    found = outputs["one_thread"]
    assert (
        min(
            found["kinds"].get(kind, 0)
            for kind in ("SameRecord", "LowRankRecord", "DenseRecord", "RawRecord")
        )
        > 0
    )
    assert min(found["paths"].get(path, 0) for path in ("float32", "float64")) > 1


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_gives_the_recorded_bytes(process: str, golden: Golden, outputs: Outputs) -> None:
    assert outputs[process]["exact"]["plain"] == [golden.sha256] * 2


@pytest.mark.parametrize("process", ["two_threads", "no_vectors"])
@pytest.mark.parametrize("caller", CALLERS)
def test_a_callers_settings_give_the_recorded_bytes(
    caller: str, process: str, golden: Golden, outputs: Outputs
) -> None:
    assert outputs[process]["exact"][caller] == [golden.sha256] * 2


@pytest.mark.parametrize("process", REFERENCES)
def test_the_decoder_of_the_spec_gives_the_recorded_bytes(
    process: str, golden: Golden, outputs: Outputs
) -> None:
    assert outputs[process]["exact"] == golden.sha256


def test_a_float_product_differs_between_these_settings(outputs: Outputs) -> None:
    assert len({outputs[process]["float"] for process in PROCESSES}) > 1


def test_a_float_product_by_numpy_differs_between_these_settings(outputs: Outputs) -> None:
    assert len({outputs[process]["float"] for process in REFERENCES}) > 1
