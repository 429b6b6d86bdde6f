"""The nodes in a real ComfyUI: what it saves after they ran, against the exact files."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts.original import State
from mount.conftest import Mount
from safetensors.torch import load_file
from server.running import serving

from dsvd_registry import Registry

from .conftest import LOWER_TAU, PACK, TAU, Shelf
from .running import RunningComfyUI, Workflow, comfyui

TOKEN = "b" * 40

# A pack that has the V1 classes of ours alone, as a ComfyUI without the V3 schema takes them.
V1_PACK = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("dsvd_pack", {str(PACK / "__init__.py")!r})
sys.modules["dsvd_pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
from dsvd_pack.nodes_v1 import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
"""


def prepared(folder: Path, shelf: Shelf) -> Path:
    """A folder for ComfyUI with the base in it. Returns the place for the pack."""
    checkpoints, pack = folder / "models" / "checkpoints", folder / "custom_nodes" / "dsvd"
    checkpoints.mkdir(parents=True)
    (checkpoints / "sd.safetensors").symlink_to(shelf.base)
    pack.parent.mkdir()
    return pack


@pytest.fixture(scope="module")
def beside_server(
    shelf: Shelf, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningComfyUI]:
    """ComfyUI with the pack as it is, in the V3 schema, which asks a server with a token."""
    folder, place = tmp_path_factory.mktemp("v3"), tmp_path_factory.mktemp("server")
    prepared(folder, shelf).symlink_to(PACK)
    tokens = place / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    with (
        serving(shelf.registry, place, "--token-file", str(tokens)) as server,
        comfyui(folder, DSVD_SERVER=server.url, DSVD_TOKEN=TOKEN) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def over_registry(
    shelf: Shelf, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningComfyUI]:
    """ComfyUI with the V1 classes, over the registry itself, which is mounted too."""
    folder = tmp_path_factory.mktemp("v1")
    pack = prepared(folder, shelf)
    pack.mkdir()
    (pack / "__init__.py").write_text(V1_PACK)
    for part in ("mnt", "home"):
        (folder / part).mkdir()
    mount = Mount(shelf.registry, folder / "mnt", folder / "home")
    try:
        mount.start()
        place = str(mount.folder)
        with comfyui(folder, DSVD_REGISTRY=str(shelf.registry), DSVD_MOUNT=place) as running:
            yield running
    finally:
        mount.end()


@pytest.fixture(params=["over_registry", "beside_server"], scope="module")
def running(request: pytest.FixtureRequest) -> RunningComfyUI:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, RunningComfyUI)
    return found


def saving(**nodes: dict[str, Any]) -> Workflow:
    """A workflow that loads the base, runs the node `made` and saves what it gives."""
    return {
        "base": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "sd.safetensors"},
        },
        **nodes,
        "model": {
            "class_type": "ModelSave",
            "inputs": {"model": ["made", 0], "filename_prefix": "model"},
        },
        "clip": {
            "class_type": "CLIPSave",
            "inputs": {"clip": ["made", 1], "filename_prefix": "clip"},
        },
    }


def applied(subject: str, strength: float, version: str = "latest") -> Workflow:
    inputs = {"subject": subject, "version": version, "strength": strength}
    loaded = {"model": ["base", 0], "clip": ["base", 1]}
    return saving(made={"class_type": "DsvdApplySubject", "inputs": loaded | inputs})


def found_in(running: RunningComfyUI) -> State:
    """What was saved, by the names of the checkpoint."""
    clip = {f"cond_stage_model.transformer.{k}": t for k, t in running.saved("clip_clip_l").items()}
    return running.saved("model") | clip


def test_load_checkpoint_gives_the_bits_of_the_source(
    shelf: Shelf, running: RunningComfyUI
) -> None:
    inputs = {"subject": "subject", "version": "1", "tau": 0.0}
    workflow = saving(made={"class_type": "DsvdLoadCheckpoint", "inputs": inputs})
    assert running.run(workflow) is None
    found = found_in(running)
    for name, tensor in load_file(shelf.tuned).items():
        assert torch.equal(found[name], tensor), name
    # A mounted file is loaded where it is; one from a server is kept under its SHA-256.
    cached = hashlib.sha256(shelf.tuned.read_bytes()).hexdigest() + ".safetensors"
    is_mounted = (running.folder / "mnt").exists()
    assert (running.folder / "models" / "dsvd" / cached).exists() is not is_mounted
    workflow["made"]["inputs"]["tau"] = LOWER_TAU
    assert running.run(workflow) is None
    found = found_in(running)
    for name, tensor in shelf.truth("subject", LOWER_TAU).items():
        assert torch.equal(found[name], tensor), name


def test_strength_one_gives_the_exact_file(shelf: Shelf, running: RunningComfyUI) -> None:
    assert running.run(applied("subject", 1.0)) is None
    found, truth = found_in(running), shelf.truth("subject", TAU)
    differing = {name for name, tensor in truth.items() if not torch.equal(found[name], tensor)}
    # The export decomposes a matrix that is stored dense: there a last bit may differ.
    assert differing <= {"model.diffusion_model.out.2.weight"}
    for name in differing:
        torch.testing.assert_close(found[name], truth[name], rtol=1e-6, atol=1e-8)


def test_subjects_add_up(shelf: Shelf, running: RunningComfyUI) -> None:
    rows = [("subject", 0.7), ("faint", -0.25), ("(none)", 1.0), ("(none)", 1.0)]
    inputs: dict[str, Any] = {"model": ["base", 0], "clip": ["base", 1]}
    for row, (name, weight) in enumerate(rows, 1):
        inputs |= {f"subject_{row}": name, f"version_{row}": "latest", f"weight_{row}": weight}
    assert running.run(saving(made={"class_type": "DsvdApplySubjects", "inputs": inputs})) is None
    check_sum(found_in(running), shelf, subject=0.7, faint=-0.25)


def check_sum(found: State, shelf: Shelf, **weights: float) -> None:
    """Compare with the sum in float64 of the exact files: within the rounding of each addition."""
    base = load_file(shelf.base)
    taus = {"subject": TAU, "faint": LOWER_TAU}
    truths = {name: shelf.truth(name, taus[name]) for name in weights}
    for name, tensor in base.items():
        added = sum(
            w * (truths[one][name].double() - tensor.double()) for one, w in weights.items()
        )
        assert isinstance(added, torch.Tensor)
        expected = tensor.double() + added
        torch.testing.assert_close(found[name].double(), expected, rtol=3e-7, atol=3e-8, msg=name)
        if name.endswith("to_q.weight"):
            assert added.abs().max() > 1e-5  # far above what rounding does


def test_a_subject_of_another_base_is_refused(beside_server: RunningComfyUI) -> None:
    message = beside_server.run(applied("stranger", 1.0))
    assert message is not None
    assert re.fullmatch(
        r"stranger@latest does not fit this model: (\d+) of the \d+ tensors that it changes are missing"
        r" or have other shapes\. Load the base that it was made from\.",
        message,
    )


def test_an_unknown_subject_is_said_in_the_registry_s_words(
    beside_server: RunningComfyUI,
) -> None:
    message = beside_server.run(applied("nobody", 1.0))
    assert message == "there is no model 'nobody'. `dsvd ls` lists them all."


def test_the_list_follows_the_registry(shelf: Shelf, running: RunningComfyUI) -> None:
    def menu() -> list[str]:
        node = running.ask("/object_info/DsvdApplySubject")["DsvdApplySubject"]
        options = node["input"]["required"]["subject"]
        return list(options[0] if isinstance(options[0], list) else options[1]["options"])

    before = menu()
    assert {"faint", "stranger", "subject"} <= set(before)
    with Registry.open(shelf.registry) as registry:
        registry.add(shelf.base.with_name("small-tuned.safetensors"), base="small", name="newcomer")
    try:
        assert set(menu()) == {*before, "newcomer"}
    finally:
        with Registry.open(shelf.registry) as registry:
            registry.remove_version("newcomer")


def test_the_preview_is_what_was_attached(shelf: Shelf, running: RunningComfyUI) -> None:
    def asked(subject: str) -> tuple[int, str, bytes]:
        try:
            with urllib.request.urlopen(f"{running.url}/dsvd/preview?subject={subject}") as answer:
                return answer.status, answer.headers.get_content_type(), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get_content_type(), error.read()

    assert asked("subject") == (200, "image/png", shelf.picture.read_bytes())
    for subject in ("stranger", "nobody", "../subject"):
        assert asked(subject)[0] == 404


@pytest.mark.parametrize("name", ["load_checkpoint", "apply_subject", "apply_subjects"])
def test_both_forms_of_a_workflow_are_one(beside_server: RunningComfyUI, name: str) -> None:
    """The editor's file, turned into the API's as the editor does by ComfyUI's own definitions."""
    editor = json.loads((PACK / "example_workflows" / f"{name}.json").read_text())
    links = {number: [str(node), slot] for number, node, slot, *_ in editor["links"]}
    found = {}
    for node in editor["nodes"]:
        known = beside_server.ask(f"/object_info/{node['type']}")[node["type"]]
        types = known["input"]["required"] | known["input"].get("optional", {})
        inputs = {one["name"]: links[one["link"]] for one in node["inputs"]}
        values = iter(node["widgets_values"])
        for title in (*known["input_order"]["required"], *known["input_order"].get("optional", ())):
            if title not in inputs:
                inputs[title] = next(values)
                if len(types[title]) > 1 and types[title][1].get("control_after_generate"):
                    next(values)
        assert list(values) == []
        found[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    assert found == json.loads((PACK / "api_workflows" / f"{name}.json").read_text())
