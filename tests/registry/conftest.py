"""Real registries: one made once and copied for every test that changes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import CONTEXT, ENVIRONMENT, ROOT, start_fork_server
from safetensors.torch import save_file
from trained_pair import one_thread, trained_pair

from dsvd_registry import Registry

TAU = 0.8
METADATA = {"title": "A dog", "modelspec.hash_sha256": "ab", "dsvd.tau": "0.3", "format": "pt"}

Weights = dict[str, torch.Tensor]


class Callback:
    """An object that trainers put into a checkpoint besides the weights."""


@dataclass(frozen=True)
class Pair:
    """A base and a fine-tune of it, in memory and as safetensors files."""

    base: Weights
    tuned: Weights
    base_file: Path
    tuned_file: Path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    start_fork_server()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A cheap pair with a tensor for every kind of record, and for every reason to be raw."""
    return write_pair(tmp_path_factory.mktemp("pair"), *every_kind())


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair of really trained models."""
    return write_pair(tmp_path_factory.mktemp("trained"), *trained_pair())


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """A closed registry with the base `sd15` and the version `subject@1`, to be copied."""
    path = tmp_path_factory.mktemp("template") / "registry"
    with one_thread(), Registry.init(path) as made:
        made.add_base("sd15", pair.base_file)
        made.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
    return path


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """The folder of a registry of the test's own: a copy of `template`."""
    shutil.copytree(template, tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def registry(root: Path) -> Iterator[Registry]:
    with Registry.open(root) as opened:
        yield opened


@pytest.fixture(scope="session")
def trained_registry(tmp_path_factory: pytest.TempPathFactory, trained: Pair) -> Iterator[Registry]:
    """The trained pair as `subject@1`. Tests only read it."""
    with Registry.init(tmp_path_factory.mktemp("trained") / "registry") as made:
        made.add_base("tiny", trained.base_file)
        with one_thread():
            made.add(trained.tuned_file, base="tiny", name="subject", tau=TAU)
        yield made


def every_kind() -> tuple[Weights, Weights]:
    """Base and fine-tune; the names tell what becomes of a tensor."""
    make = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=make)

    def tuned(weights: torch.Tensor, rank: int = 4) -> torch.Tensor:
        rows, columns = weights.shape[0], weights[0].numel()
        delta = 1e-3 * normal(rows, rank) @ normal(rank, columns) + 1e-5 * normal(rows, columns)
        return weights + delta.reshape(weights.shape)

    base = {
        "unet.down_blocks.0.low_rank": normal(48, 64),
        "unet.up_blocks.0.conv.low_rank": normal(16, 8, 3, 3),
        "unet.mid_block.low_rank_f32_f16": normal(32, 40),
        "unet.mid_block.low_rank_f16_f32": normal(32, 40).half(),
        "text_encoder.low_rank_f32_bf16": normal(24, 40),
        "text_encoder.low_rank_added_rows": normal(20, 32),
        "unet.conv_in.dense": normal(40),
        "unet.conv_out.dense_bf16": normal(40).bfloat16(),
        "vae.dense_scalar": torch.tensor(1.0),
        "vae.same": normal(6, 5),
        "vae.same_cast": normal(6, 5),
        "vae.same_int": torch.arange(7),
        "vae.same_fp8": normal(8).to(torch.float8_e4m3fn),
        "vae.same_empty": torch.zeros(0, 4),
        "raw_dtype_int": torch.arange(9),
        "raw_dtype_fp8": normal(8).to(torch.float8_e5m2),
        "raw_dtype_bool": torch.tensor([True, False]),
        "raw_base_dtype": torch.arange(4, dtype=torch.int32),
        "raw_shape": normal(4, 6),
        "raw_non_finite": normal(5),
        "raw_signed_zero": torch.tensor([-0.0, 1.0]),
        "raw_smaller": normal(100),
        "raw_range": torch.cat([torch.tensor([3e38]), normal(99)]),
        "constant_betas": torch.linspace(0.01, 0.2, 50),
        "tied": normal(12, 12),
        "not_taken": normal(3),
    }
    fine_tune = {name: base[name].clone() for name in base if name.startswith("vae.same")}
    fine_tune["vae.same_cast"] = base["vae.same_cast"].half()
    for name in ("unet.down_blocks.0.low_rank", "unet.up_blocks.0.conv.low_rank"):
        fine_tune[name] = tuned(base[name])
    fine_tune["unet.mid_block.low_rank_f32_f16"] = tuned(
        base["unet.mid_block.low_rank_f32_f16"]
    ).half()
    fine_tune["unet.mid_block.low_rank_f16_f32"] = tuned(
        base["unet.mid_block.low_rank_f16_f32"].float()
    )
    fine_tune["text_encoder.low_rank_f32_bf16"] = (
        base["text_encoder.low_rank_f32_bf16"] + 0.1 * normal(24, 1) @ normal(1, 40)
    ).bfloat16()
    added = base["text_encoder.low_rank_added_rows"]
    fine_tune["text_encoder.low_rank_added_rows"] = torch.cat([tuned(added, 1), normal(2, 32)])
    fine_tune["unet.conv_in.dense"] = base["unet.conv_in.dense"] + 1e-3 * normal(40)
    fine_tune["unet.conv_out.dense_bf16"] = base["unet.conv_out.dense_bf16"] + 0.1
    fine_tune["vae.dense_scalar"] = torch.tensor(1.0078125)
    fine_tune["raw_dtype_int"] = base["raw_dtype_int"] + 1
    fine_tune["raw_dtype_fp8"] = base["raw_dtype_fp8"].float().neg().to(torch.float8_e5m2)
    fine_tune["raw_dtype_bool"] = torch.tensor([True, True])
    fine_tune["raw_base_dtype"] = normal(4)
    fine_tune["raw_shape"] = normal(6, 4)
    fine_tune["raw_non_finite"] = torch.tensor([1.0, float("nan"), float("inf"), -0.0, 0.0])
    fine_tune["raw_signed_zero"] = torch.tensor([0.0, 1.0])
    fine_tune["raw_smaller"] = torch.zeros(100)
    fine_tune["raw_range"] = torch.cat([torch.tensor([-3e38]), base["raw_range"][1:]])
    fine_tune["constant_betas"] = base["constant_betas"].sqrt()
    fine_tune["raw_new"] = normal(3, 2)
    fine_tune["tied"] = tuned(base["tied"], 1).t()  # not contiguous
    fine_tune["tied_too"] = fine_tune["tied"]
    return base, fine_tune


def write_pair(folder: Path, base: Weights, tuned: Weights) -> Pair:
    """Both as safetensors files in `folder`."""
    write_safetensors(base, folder / "base.safetensors")
    write_safetensors(tuned, folder / "tuned.safetensors", METADATA)
    return Pair(base, tuned, folder / "base.safetensors", folder / "tuned.safetensors")


def write_safetensors(weights: Weights, path: Path, metadata: dict[str, str] | None = None) -> Path:
    # safetensors refuses tensors that share memory or are not contiguous.
    copies = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
    save_file(copies, path, metadata=metadata)
    return path


def write_pickle(weights: Weights, path: Path, *, legacy: bool = False) -> Path:
    """A checkpoint as trainers write it, with more in it than weights."""
    content = {
        "state_dict": weights,
        "epoch": 3,
        "optimizer": {"exp_avg": torch.ones(2)},
        "callbacks": {Callback: None},
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def header_of(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, in its order."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header


def object_path(root: Path, digest: str) -> Path:
    """The path of an object by the layout of the store."""
    return root / "objects" / digest[:2] / digest


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of a file, read-only or not."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    replace_bytes(path, bytes(data))


def flip_tensor(path: Path, name: str) -> None:
    """Change one bit of one tensor of a safetensors file."""
    flip(path, header_of(path)[name]["data_offsets"][0] - data_size(path))


def data_size(path: Path) -> int:
    """Bytes of a safetensors file after its header."""
    return path.stat().st_size - 8 - int.from_bytes(path.read_bytes()[:8], "little")


def replace_bytes(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def files_in(folder: Path) -> dict[str, bytes]:
    """Everything that a folder holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class Child:
    """A process that runs a function of `child.py`, and what it reports."""

    def __init__(self, function: Callable[..., None], *arguments: object) -> None:
        self._reports, theirs = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=function, args=(theirs, *arguments))
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def wait_for_report(self) -> None:
        """Until it has reported something, or has ended."""
        assert self._reports.poll(600)

    def reports(self) -> list[tuple[str | None, Any]]:
        """Everything that it reported until it ended."""
        found = []
        with contextlib.suppress(EOFError), self._reports:
            while True:
                found.append(self._reports.recv())
        self.process.join()
        return found


def run_python(code: str, *arguments: object) -> str:
    """The output of a program in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
