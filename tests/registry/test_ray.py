"""Many files encoded on a real Ray cluster: two nodes of one core, of which one is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from dsvd_registry import Registry
from dsvd_registry.cli import main
from dsvd_registry.errors import CheckpointError, InvalidArgument

from .conftest import ENVIRONMENT, Pair, write_safetensors
from .dying_on_ray import HeldOnNode

COUNT = 8
ONE_CORE = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        made = Cluster(initialize_head=True, head_node_args=ONE_CORE)
        yield made
        made.shutdown()


@pytest.fixture
def folder(pair: Pair, tmp_path: Path) -> Path:
    made = tmp_path / "files"
    made.mkdir()
    for number in range(COUNT):
        tuned = {name: t.clone() for name, t in pair.tuned.items()}
        tuned["unet.conv_in.dense"] += 1e-3 * number
        write_safetensors(tuned, made / f"ft-{number}.safetensors")
    return made


def test_a_node_dies(
    cluster: Cluster, registry: Registry, folder: Path, pair: Pair, tmp_path: Path
) -> None:
    """The files that it had are encoded by the other one; all containers are those of one process."""
    doomed = cluster.add_node(**ONE_CORE)
    cluster.wait_for_nodes()
    held = tmp_path / "held"
    held.mkdir()

    def kill(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("files", 1):
            deadline = time.monotonic() + 60
            while not list(held.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.05)
            cluster.remove_node(doomed, allow_graceful=False)

    with HeldOnNode(cluster.address, doomed.node_id, held) as executor:
        found = registry.add_many([folder], base="sd15", tau=0.7, executor=executor, progress=kill)
    assert found.refused == ()
    assert len(list(held.iterdir())) == 1  # the one that was lost, and tried again elsewhere
    assert [(file.path.stem, file.outcome) for file in found.files] == [
        (f"ft-{number}", "added") for number in range(COUNT)
    ]
    with Registry.init(tmp_path / "other") as other:
        other.add_base("sd15", pair.base_file)
        assert other.add_many([folder], base="sd15", tau=0.7).files == found.files
    assert registry.verify(deep=True).is_well


def test_the_command(
    cluster: Cluster, registry: Registry, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.safetensors").write_bytes(b"no checkpoint")
    words = ["add", str(folder), "--base", "sd15", "--json", "--registry", str(registry.folder)]
    assert main([*words, "--ray", cluster.address]) == CheckpointError.exit_code
    said = json.loads(capsys.readouterr().out)
    assert (said["added"], said["refused"]) == (COUNT, 1)
    assert {version.model for version in registry.versions("ft-*")} == {
        f"ft-{number}" for number in range(COUNT)
    }
    assert main([*words, "--ray", cluster.address, "--workers", "2"]) == InvalidArgument.exit_code
    assert not ray.is_initialized()
